import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

describe('bin/qtool', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'qtool-bin-'));
    mkdirSync(join(folder, 'bin'));
    copyFileSync(fileURLToPath(new URL('../../bin/qtool', import.meta.url)), join(folder, 'bin/qtool'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const started = () => spawnSync(process.execPath, [join(folder, 'bin/qtool'), 'a', 'b'], { encoding: 'utf8' });

  it('says in a clone without a build how to make one', () => {
    const { status, stderr, stdout } = started();
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toBe(
      'qtool: this copy of the source is not built: there is no dist/\n  hint: npm install && npm run build\n',
    );
  });

  it('hands its arguments on, and the exit code back', () => {
    mkdirSync(join(folder, 'dist/cli'), { recursive: true });
    writeFileSync(
      join(folder, 'dist/cli/main.js'),
      'export const main = async (args) => (console.log(args.join()), 70);',
    );
    expect(started()).toMatchObject({ status: 70, stdout: 'a,b\n', stderr: '' });
  });
});
