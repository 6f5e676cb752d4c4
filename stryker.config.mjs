/**
 * Mutation tests, `make mutants`: how much of what is changed by hand in these folders do the tests notice? Hours for all of it,
 * minutes for a file: `make mutants FILES=src/run/gate.ts`. Results are kept in .stryker/, so that the next run only tries what
 * changed since.
 */
export default {
  testRunner: 'jest',
  // Jest runs the tests as ES modules.
  testRunnerNodeArgs: ['--experimental-vm-modules', '--no-warnings'],
  jest: { projectType: 'custom', configFile: 'jest.config.mjs', enableFindRelatedTests: true },
  coverageAnalysis: 'perTest',
  mutate: ['src/graph/ops.ts', 'src/graph/layer.ts', 'src/passes/quantize/**', 'src/run/**', 'src/passes/allocate/**'],
  concurrency: 2,
  timeoutMS: 20_000,
  incremental: true,
  incrementalFile: '.stryker/incremental.json',
  jsonReporter: { fileName: '.stryker/mutants.json' },
  htmlReporter: { fileName: '.stryker/mutants.html' },
  reporters: ['progress-append-only', 'json', 'html'],
  tempDirName: '.stryker/tmp',
  ignorePatterns: ['/runs', '/dist', '/coverage', '/bench', '/.stryker'],
};
