#!/usr/bin/env node
// What packing saves: weights of a model at several shares of zeros, float or quantized, stored plainly and by WeightEncoder.
//
//   npm run build && node bench/encode.mjs <model.onnx> <data: config, folder or "random"> [data root]
//
// Prunes by magnitude, one level for all layers, without looking at accuracy: a table of bytes, gzip -9 and brotli -6 beside.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { encodeModel } from '../dist/graph/model.js';
import { modelInputs } from '../dist/graph/query.js';
import { passes } from '../dist/passes/index.js';
import { openInstruments } from '../dist/run/context.js';
import { compressedSizes } from '../dist/run/size.js';

const [path, data, root] = process.argv.slice(2);
if (path === undefined || data === undefined) {
  console.error('usage: node bench/encode.mjs <model.onnx> <data> [data root]');
  process.exit(2);
}
const float = await readModel(path);
const opened = await openData(data, modelInputs(float), { calibrationSamples: 64, ...(root ? { root } : {}) });
const instruments = openInstruments({
  reference: float,
  data: opened,
  metrics: [],
  batchSize: 16,
  threads: 1,
  memoryLimit: undefined,
  signal: new AbortController().signal,
  progress: () => undefined,
});
const clock = { epoch: 0, start: 0, end: 1, frequency: 1 };
const apply = async (name, model, options) => {
  const pass = passes.find((p) => p.classes.includes(name));
  const context = instruments.context({ plan: new Map(), twin: undefined, memory: new Map(), clock });
  return (await pass.apply(model, pass.options.parse(options), context)).model;
};
const folder = await mkdtemp(join(tmpdir(), 'qtool-encode-'));
const sizes = async (model) => {
  const file = join(folder, 'model.onnx');
  const bytes = encodeModel(model);
  await writeFile(file, bytes);
  const { gzip, brotli } = await compressedSizes(file);
  return [bytes.length, gzip, brotli].map((n) => n.toLocaleString('en-US'));
};
console.log('| weights | zeros | plain | gzip | brotli | packed | gzip | brotli |');
console.log('|---|--:|--:|--:|--:|--:|--:|--:|');
for (const bits of [32, 8, 4])
  for (const zeros of [0, 0.5, 0.8, 0.9]) {
    const levels = { levels: { '*': zeros } };
    const pruned = zeros === 0 ? float : await apply('SparsityLevelParameterPruner', float, levels);
    const model =
      bits === 32
        ? pruned
        : await apply('PostTrainLinearQuantizer', pruned, { bits_weights: bits, bits_activations: 8 });
    const row = [...(await sizes(model)), ...(await sizes(await apply('WeightEncoder', model, {})))];
    console.log(`| ${bits === 32 ? 'float32' : `${bits} bits`} | ${100 * zeros} % | ${row.join(' | ')} |`);
  }
await instruments.close();
await rm(folder, { recursive: true, force: true });
