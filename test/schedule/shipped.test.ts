import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { passes } from '../../src/passes/index.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folders = ['schedules', 'examples/mnist', 'examples/cifar10'];
const files = folders.flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => join(folder, name)),
);

describe('schedules that come with qtool', () => {
  it.each(files)('%s is right, runs something, and says what it is for', (file) => {
    const text = readFileSync(join(root, file), 'utf8');
    const { stages, waiting } = parseSchedule(text, file, { passes });
    expect(stages.length).toBeGreaterThan(0);
    expect(waiting).toEqual([]);
    expect(text).toContain('# Purpose');
    expect(text).toContain('# Command');
  });
});
