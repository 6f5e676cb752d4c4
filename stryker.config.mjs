/**
 * Mutation tests, `make mutants`: how much of what is changed by hand in these folders do the tests notice? Hours for all of it,
 * minutes for a file: `make mutants FILES=src/run/gate.ts`. All tests that reach a file are tried on it, and those of the command
 * line reach nearly all: `TESTS=test/run/gate.test.ts` tries these only, and its survivors may be noticed by others. Results are kept in .stryker/, so that the next run only tries what
 * changed since.
 */
const tests = (process.env.TESTS ?? '').split(/[\s,]+/).filter((text) => text !== '');

export default {
  testRunner: 'jest',
  // Jest runs the tests as ES modules.
  testRunnerNodeArgs: ['--experimental-vm-modules', '--no-warnings'],
  jest: {
    projectType: 'custom',
    configFile: 'jest.config.mjs',
    enableFindRelatedTests: true,
    config: tests.length === 0 ? {} : { testMatch: tests.map((path) => `<rootDir>/${path}`) },
  },
  coverageAnalysis: 'perTest',
  mutate: ['src/graph/ops.ts', 'src/graph/layer.ts', 'src/passes/quantize/**', 'src/run/**', 'src/passes/allocate/**'],
  concurrency: 2,
  timeoutMS: 20_000,
  // What is known of all the files does not mix with a run of some of them, or of some of the tests.
  incremental: process.env.SUBSET !== 'yes',
  incrementalFile: '.stryker/incremental.json',
  jsonReporter: { fileName: '.stryker/mutants.json' },
  htmlReporter: { fileName: '.stryker/mutants.html' },
  reporters: ['progress-append-only', 'json', 'html'],
  tempDirName: '.stryker/tmp',
  ignorePatterns: ['/runs', '/dist', '/coverage', '/bench', '/.stryker'],
};
