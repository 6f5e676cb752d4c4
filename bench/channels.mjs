#!/usr/bin/env node
// What cutting channels costs and saves without retraining, with and without reconstruction, on one model.
//
//   npm run build && node bench/channels.mjs <model.onnx> <data> [--data-root <folder>] [--budgets 0.7] [--unit macs]
//     [--methods 'channel pruner;uniform l1, no refit'] [--limit <n>] [--latency] [--save <folder>]
//
// Prints a Markdown table. "no refit" is the same pass with the same cut but without least squares afterwards. Latency is the
// median of interleaved runs against the uncut model on one thread; with --latency only.
import { parseArgs } from 'node:util';
import { batches } from '../dist/data/batch.js';
import { openData } from '../dist/data/open.js';
import { readModel, writeModel } from '../dist/graph/file.js';
import { encodeModel } from '../dist/graph/model.js';
import { modelInputs } from '../dist/graph/query.js';
import { openMetrics } from '../dist/metrics/index.js';
import { channelPruner } from '../dist/passes/prune/structure/channel_pruner.js';
import { openInstruments } from '../dist/run/context.js';
import { latency } from '../dist/runtime/time.js';

const methods = {
  'channel pruner': {},
  'multiple of 16': { multiple: 16 },
  'multiple of 16, no refit': { multiple: 16, reconstruct: false },
  'multiple of 8': { multiple: 8 },
  'multiple of 8, no refit': { multiple: 8, reconstruct: false },
  'channel pruner, no refit': { reconstruct: false },
  'uniform reconstruction': { allocation: 'uniform' },
  'uniform l1': { allocation: 'uniform', criterion: 'l1' },
  'uniform l1, no refit': { allocation: 'uniform', criterion: 'l1', reconstruct: false },
  'uniform random, no refit': { allocation: 'uniform', criterion: 'random', reconstruct: false },
};
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'data-root': { type: 'string' },
    budgets: { type: 'string', default: '0.9,0.8,0.7,0.6,0.5' },
    unit: { type: 'string', default: 'macs' },
    methods: { type: 'string', default: Object.keys(methods).join(';') },
    limit: { type: 'string' },
    latency: { type: 'boolean', default: false },
    save: { type: 'string' },
  },
});
const [path, config] = positionals;
if (path === undefined || config === undefined) {
  console.error('usage: node bench/channels.mjs <model.onnx> <data> [--budgets 0.7,0.5] [--unit macs] [--limit n]');
  process.exit(2);
}
const model = await readModel(path);
const data = await openData(config, modelInputs(model), {
  ...(values['data-root'] === undefined ? {} : { root: values['data-root'] }),
  ...(values.limit === undefined ? {} : { validationSamples: Number(values.limit) }),
});
const metrics = (await openMetrics(data)).slice(0, 1);
const { signal } = new AbortController();
const batchSize = data.batchSize ?? 32;
const instruments = openInstruments({
  reference: model,
  data,
  metrics,
  batchSize,
  threads: 1,
  memoryLimit: undefined,
  signal,
  progress: () => undefined,
});
const float = (await instruments.measure(model))[0];
const bytes = encodeModel(model).length;
console.log(`${path}: ${float.name} ${float.value.toFixed(2)} on ${float.samples} samples, ${bytes} bytes\n`);
console.log(`| ${values.unit} left | method | ${float.name} | drop | MACs | bytes of float | speed | seconds |`);
console.log('|---|---|---|---|---|---|---|---|');
for (const budget of values.budgets.split(',').map(Number))
  for (const name of values.methods.split(';')) {
    const options = channelPruner.options.parse({ budget: { [values.unit]: budget }, ...methods[name] });
    const clock = { epoch: 0, start: 0, end: 1, frequency: 1 };
    const context = instruments.context({ plan: new Map(), twin: undefined, memory: new Map(), clock });
    const from = Date.now();
    const result = await channelPruner.apply(model, options, context);
    const seconds = (Date.now() - from) / 1000;
    const found = (await instruments.measure(result.model))[0];
    const size = encodeModel(result.model).length;
    const macs = /\(([\d.]+ %)\)/.exec(result.notes.find((note) => note.startsWith('MACs')))[1];
    if (values.save !== undefined)
      await writeModel(result.model, `${values.save}/${name.replaceAll(/\W+/g, '_')}_${budget}.onnx`);
    const cells = [`${100 * budget} %`, name, found.value.toFixed(2), (float.value - found.value).toFixed(2), macs];
    console.log(
      `| ${[...cells, `${((100 * size) / bytes).toFixed(1)} %`, await speed(result.model), seconds.toFixed(1)].join(' | ')} |`,
    );
  }
await instruments.close();

async function speed(pruned) {
  if (!values.latency) return '';
  for await (const batch of batches(data.validation, { batchSize, limit: batchSize })) {
    const found = await latency(pruned, model, batch.feeds, { signal });
    return found.map((l) => `${l.ratio.toFixed(2)}× (batch ${l.batch})`).join(', ');
  }
}
