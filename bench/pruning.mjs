#!/usr/bin/env node
// What pruning methods cost without retraining: the metric at each sparsity, for every method, on one model.
//
//   npm run build && node bench/pruning.mjs examples/mnist/lenet-5.onnx configs/mnist.yaml
//     [--data-root <folder>] [--levels 0.5,0.6,0.7,0.8,0.9] [--methods 'level;wanda;…'] [--limit <n>] [--samples <n>]
//
// Prints a Markdown table: the metric and, in brackets, its drop as a share of what plain magnitude (level: the same share of every
// layer) loses at the same sparsity. Every other option of the classes is its default.
import { parseArgs } from 'node:util';
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { modelInputs } from '../dist/graph/query.js';
import { openMetrics } from '../dist/metrics/index.js';
import { passes } from '../dist/passes/index.js';
import { openInstruments } from '../dist/run/context.js';
import { zeroShare } from '../dist/analyze/zero_share.js';

const of = (name, more = {}) => ({ name, options: (share) => ({ levels: { '*': share }, ...more }) });
const all = (more) => ({ name: 'GlobalPruner', options: (sparsity) => ({ sparsity, ...more }) });
const methods = {
  level: of('SparsityLevelParameterPruner'),
  'wanda, as published': of('WandaPruner', { refit: false, scope: 'row' }),
  'wanda by row': of('WandaPruner', { scope: 'row' }),
  wanda: of('WandaPruner'),
  'sparsegpt, as published': of('SparseGptPruner', { refit: false }),
  'sparsegpt by row': of('SparseGptPruner', { scope: 'row' }),
  sparsegpt: of('SparseGptPruner'),
  'global magnitude': all({ criterion: 'magnitude', refit: false }),
  'global magnitude, refit': all({ criterion: 'magnitude' }),
  'global obs': all({ criterion: 'obs' }),
};
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'data-root': { type: 'string' },
    levels: { type: 'string', default: '0.5,0.6,0.7,0.8,0.9' },
    methods: { type: 'string', default: Object.keys(methods).join(';') },
    limit: { type: 'string' },
    samples: { type: 'string' },
  },
});
const [path, config] = positionals;
if (path === undefined || config === undefined) {
  console.error(
    'usage: node bench/pruning.mjs <model.onnx> <data> [--levels 0.7,0.8] [--methods "level;sparsegpt"] [--limit n]',
  );
  process.exit(2);
}
const model = await readModel(path);
const data = await openData(config, modelInputs(model), {
  ...(values['data-root'] === undefined ? {} : { root: values['data-root'] }),
  ...(values.limit === undefined ? {} : { validationSamples: Number(values.limit) }),
  ...(values.samples === undefined ? {} : { calibrationSamples: Number(values.samples) }),
});
const metrics = (await openMetrics(data)).slice(0, 1);
const instruments = openInstruments({
  reference: model,
  data,
  metrics,
  batchSize: data.batchSize ?? 32,
  threads: 1,
  memoryLimit: undefined,
  signal: new AbortController().signal,
  progress: () => undefined,
});
const measured = async (candidate) => (await instruments.measure(candidate))[0];
const float = await measured(model);
const levels = values.levels.split(',').map(Number);
const chosen = values.methods.split(';');
console.log(`${path}: ${float.name} ${float.value.toFixed(2)} on ${float.samples} samples\n`);
console.log(`| method | ${levels.map((s) => `${100 * s} %`).join(' | ')} | seconds |`);
console.log(`|---|${levels.map(() => '---|').join('')}---|`);
const base = [];
for (const name of chosen) {
  const method = methods[name];
  const pass = passes.find((p) => p.classes.includes(method.name));
  const cells = [];
  let spent = 0;
  for (const [i, share] of levels.entries()) {
    const more = values.samples !== undefined && name !== 'level' ? { samples: Number(values.samples) } : {};
    const options = pass.options.parse({ ...method.options(share), ...more });
    const context = instruments.context({
      plan: new Map(),
      twin: undefined,
      memory: new Map(),
      clock: { epoch: 0, start: 0, end: 1, frequency: 1 },
    });
    const from = Date.now();
    const result = await pass.apply(model, options, context);
    spent += Date.now() - from;
    const found = await measured(result.model);
    const drop = float.value - found.value;
    if (name === 'level') base[i] = drop;
    const zeros = zeroShare(result.model);
    if (Math.abs(zeros - share) > 0.005) console.error(`${name} at ${share}: ${zeros} zeros`);
    cells.push(
      `${found.value.toFixed(2)}${name === 'level' || base[i] === undefined ? '' : ` (${(drop / base[i]).toFixed(2)})`}`,
    );
  }
  console.log(`| ${name} | ${cells.join(' | ')} | ${(spent / 1000).toFixed(1)} |`);
}
await instruments.close();
