// `make mutants`: runs Stryker (stryker.config.mjs) and prints the share of mutants that the tests noticed, a line a folder, and
// every survivor. Arguments are files or patterns to mutate instead of all: `make mutants FILES=src/run/gate.ts`.
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = process.argv
  .slice(2)
  .flatMap((text) => text.split(/[\s,]+/))
  .filter((text) => text !== '');
const stryker = join(root, 'node_modules', '@stryker-mutator', 'core', 'bin', 'stryker.js');
const only = files.length > 0 ? ['--mutate', files.join(',')] : [];
const subset = files.length > 0 || (process.env.TESTS ?? '') !== '';
const env = { ...process.env, SUBSET: subset ? 'yes' : 'no' };
const { status } = spawnSync(process.execPath, [stryker, 'run', ...only], { cwd: root, env, stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);

const report = JSON.parse(await readFile(join(root, '.stryker', 'mutants.json'), 'utf8'));
const folders = new Map();
for (const [file, { mutants, source }] of Object.entries(report.files)) {
  const folder = dirname(file);
  const sum = folders.get(folder) ?? { noticed: 0, valid: 0 };
  folders.set(folder, sum);
  for (const { status, mutatorName, replacement, location } of mutants) {
    const noticed = status === 'Killed' || status === 'Timeout';
    const missed = status === 'Survived' || status === 'NoCoverage';
    if (noticed) sum.noticed++;
    if (noticed || missed) sum.valid++;
    if (!missed) continue;
    const { line, column } = location.start;
    const [was] = (source.split('\n')[line - 1] ?? '').slice(column - 1).split('\n');
    const how =
      status === 'NoCoverage'
        ? 'no test runs it'
        : `${mutatorName}: ${was?.slice(0, 60)} → ${replacement?.slice(0, 60)}`;
    console.log(`${file}:${line}:${column} ${how}`);
  }
}
console.log('\nshare of mutants that a test noticed');
for (const [folder, { noticed, valid }] of [...folders].sort())
  console.log(`${((100 * noticed) / Math.max(1, valid)).toFixed(1).padStart(6)} %  ${noticed} of ${valid}  ${folder}`);
