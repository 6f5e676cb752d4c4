// `npm test`: every check of the project, ending with one plain line `N passed, N failed`. Jest's tests are counted one by
// one, a failed check as one failure. Arguments go to jest (`npm test -- test/cli`).
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name) => join(root, 'node_modules', '.bin', name);

const checks = [
  { name: 'typecheck', command: [bin('tsc'), '-p', 'tsconfig.json'] },
  { name: 'eslint', command: [bin('eslint'), '.', '--max-warnings', '0'] },
  { name: 'prettier', command: [bin('prettier'), '--check', '--log-level', 'warn', '.'] },
  {
    name: 'dependency rule',
    command: [bin('depcruise'), 'src', '--config', '.dependency-cruiser.cjs', '--output-type', 'err'],
  },
  { name: 'unused code', command: [bin('knip'), '--no-progress'] },
  {
    name: 'code that only tests use',
    command: [bin('knip'), '--no-progress', '--production', '--config', 'knip.production.json'],
  },
];

/** Runs one command in the project's root; resolves with its exit code and everything it printed. */
function execute([file, ...args], { live = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => {
      if (live) process.stderr.write(chunk);
      else output += chunk;
    });
    child.on('error', (error) => resolve({ code: 1, output: `${output}${error.message}\n` }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

async function runCheck({ name, command }) {
  const started = performance.now();
  const { code, output } = await execute(command);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${code === 0 ? 'ok  ' : 'FAIL'}  ${name}  ${seconds} s`);
  if (code !== 0) console.log(output.trimEnd());
  return code === 0;
}

/** Two at a time: each is one busy process, and the project promises its time on two cores. */
async function runChecks() {
  const waiting = [...checks];
  let failed = 0;
  const lane = async () => {
    for (let check = waiting.shift(); check; check = waiting.shift()) if (!(await runCheck(check))) failed += 1;
  };
  await Promise.all([lane(), lane()]);
  return failed;
}

/** Jest's own counts, read from its result file. A file that cannot be run counts as one failure, a crash of jest too. */
async function runJest(args) {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-test-'));
  const file = join(folder, 'jest.json');
  const jest = [
    'node_modules/jest/bin/jest.js',
    '--json',
    `--outputFile=${file}`,
    '--ci',
    '--maxWorkers=100%',
    ...args,
  ];
  const { code } = await execute([process.execPath, '--experimental-vm-modules', '--no-warnings', ...jest], {
    live: true,
  });
  const result = await readFile(file, 'utf8').then(JSON.parse, () => undefined);
  await rm(folder, { recursive: true, force: true });
  if (!result) {
    console.log(`jest ended without a result (exit ${code})`);
    return { passed: 0, failed: 1 };
  }
  const failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
  if (failed === 0 && code !== 0) console.log(`jest exited ${code} although no test failed`);
  return { passed: result.numPassedTests, failed: failed === 0 && code !== 0 ? 1 : failed };
}

const failedChecks = await runChecks();
const jest = await runJest(process.argv.slice(2));
const failed = failedChecks + jest.failed;
console.log(`${jest.passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
