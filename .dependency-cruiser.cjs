'use strict';

// The order of docs/architecture.md: a folder may import those left of it, never those right of it.
const order = [
  'util',
  'numerics',
  'graph',
  'autodiff',
  'archive',
  'data',
  'metrics',
  'passes',
  'schedule',
  'runtime',
  'analyze',
  'run',
  'report',
  'api',
  'cli',
];

// And within passes: a folder may import those left of it; the files directly in it stand before all, index.ts after all.
const families = ['fold', 'prune', 'quantize', 'recover', 'encode', 'allocate', 'train'];

module.exports = {
  forbidden: [
    ...families.slice(0, -1).map((family, i) => ({
      name: `passes/${family}-imports-only-what-stands-left-of-it`,
      severity: 'error',
      from: { path: `^src/passes/${family}/` },
      to: { path: `^src/passes/(${families.slice(i + 1).join('|')})/` },
    })),
    {
      name: 'what-all-passes-share-imports-none-of-them',
      severity: 'error',
      from: { path: '^src/passes/[^/]+\\.ts$', pathNot: '^src/passes/index\\.ts$' },
      to: { path: '^src/passes/[^/]+/' },
    },
    {
      name: 'no-pass-imports-the-list-of-passes',
      severity: 'error',
      from: { path: '^src/passes/', pathNot: '^src/passes/index\\.ts$' },
      to: { path: '^src/passes/index\\.ts$' },
    },
    ...order.slice(0, -1).map((folder, i) => ({
      name: `${folder}-imports-only-what-stands-left-of-it`,
      severity: 'error',
      from: { path: `^src/${folder}/` },
      to: { path: `^src/(${order.slice(i + 1).join('|')})/` },
    })),
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'only-runtime-imports-onnxruntime',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/runtime/' },
      to: { path: 'node_modules/onnxruntime-(node|common)' },
    },
    {
      name: 'only-cli-uses-terminal-packages',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(cli|report)/' },
      to: { path: 'node_modules/(chalk|cli-progress|commander|cli-table3)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'default'] },
  },
};
