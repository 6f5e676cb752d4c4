'use strict';

// The order of docs/architecture.md: a folder may import those left of it, never those right of it.
const order = [
  'util',
  'numerics',
  'graph',
  'data',
  'metrics',
  'passes',
  'schedule',
  'runtime',
  'analyze',
  'run',
  'report',
  'cli',
];

module.exports = {
  forbidden: [
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
