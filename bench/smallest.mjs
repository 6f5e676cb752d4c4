#!/usr/bin/env node
// The smallest archive of a model within a loss of accuracy, without retraining: a search over what the passes that are there can do.
//
//   npm run build && node bench/smallest.mjs examples/mnist/lenet-5.onnx configs/mnist.yaml --drop 0.5 [--margin 0.2]
//     [--data-root <folder>] [--samples 2048] [--sparsities 0.85,0.9,…] [--criteria magnitude,obs] [--bits 5,4,3,2]
//     [--roundings nearest,descent] [--layers <how many of the largest>] [--limit <validation samples>] [-o <folder>]
//
// 1. prune    GlobalPruner with a refit, each criterion at each sparsity, in rising order, until too much is lost.
// 2. share    a codebook of each number of bits, weighed by the inputs, rounded to the nearest and by descent, on the sparsest models first.
//             The weights stay float32 of few values (storage: values): an archive needs no nodes to decode them.
// 3. layers   of the smallest: each layer with a bit less or as ternary, the largest first, kept where the archive becomes smaller.
// 4. biases   rounded to float16's precision.
// A candidate holds where the loss on half of the validation samples (the even ones) is at most --drop less --margin: the best of many looks better
// than it is. The other half, which nothing was chosen by, judges the end. Prints every candidate, the two figures, and the columns of the paper.
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { packModel } from '../dist/archive/pack.js';
import { openData } from '../dist/data/open.js';
import { edit } from '../dist/graph/edit.js';
import { readModel } from '../dist/graph/file.js';
import { layers } from '../dist/graph/layer.js';
import { encodeModel } from '../dist/graph/model.js';
import { modelInputs } from '../dist/graph/query.js';
import { dimsOf, floatData, makeTensor, typeOf } from '../dist/graph/tensor.js';
import { openMetrics } from '../dist/metrics/index.js';
import { fromFloat16, toFloat16 } from '../dist/numerics/float16.js';
import { passes } from '../dist/passes/index.js';
import { noStage, openInstruments } from '../dist/run/context.js';
import { generalSizes } from '../dist/run/size.js';

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    drop: { type: 'string', default: '0.5' },
    margin: { type: 'string', default: '0.2' },
    'data-root': { type: 'string' },
    samples: { type: 'string', default: '2048' },
    sparsities: { type: 'string', default: '0.8,0.85,0.875,0.9,0.92,0.94,0.95,0.96,0.97' },
    criteria: { type: 'string', default: 'magnitude,obs' },
    bits: { type: 'string', default: '5,4,3,2' },
    roundings: { type: 'string', default: 'nearest,descent' },
    limit: { type: 'string' },
    layers: { type: 'string', default: '1000' },
    output: { type: 'string', short: 'o' },
  },
});
const [path, config] = positionals;
if (path === undefined || config === undefined) {
  console.error('usage: node bench/smallest.mjs <model.onnx> <data> [--drop 0.5] [--sparsities 0.8,0.9] [--bits 5,4]');
  process.exit(2);
}
const drop = Number(given.drop);
const margin = Number(given.margin);
const samples = Number(given.samples);
const list = (text) => text.split(',');
const numbers = (text) => list(text).map(Number);
const began = Date.now();
const float = await readModel(path);
const data = await openData(config, modelInputs(float), {
  ...(given['data-root'] === undefined ? {} : { root: given['data-root'] }),
  ...(given.limit === undefined ? {} : { validationSamples: Number(given.limit) }),
  calibrationSamples: samples,
});

/** Every second sample. */
const half = (set, parity) => ({
  info: { ...set.info, samples: Math.floor((set.info.samples + 1 - parity) / 2) },
  async *samples(limit = Infinity, reuse = false) {
    let [seen, told] = [0, 0];
    for await (const sample of set.samples(undefined, reuse)) {
      if (seen++ % 2 !== parity) continue;
      if (told++ >= limit) return;
      yield sample;
    }
  },
});
const metrics = (await openMetrics(data)).slice(0, 1);
const instrumentsOf = (validation) =>
  openInstruments({
    reference: float,
    data: { ...data, validation },
    metrics,
    batchSize: data.batchSize ?? 32,
    signal: new AbortController().signal,
    progress: () => undefined,
  });
const chooser = instrumentsOf(half(data.validation, 0));
const judge = instrumentsOf(half(data.validation, 1));
const measured = async (instruments, model) => (await instruments.measure(model))[0].value;
const [floatChosen, floatJudged] = [await measured(chooser, float), await measured(judge, float)];

async function apply(name, model, options) {
  const pass = passes.find(({ classes }) => classes.includes(name));
  return (await pass.apply(model, pass.options.parse(options), chooser.context(noStage()))).model;
}

/** Vectors of floats at float16's precision, where all of them are within its range. */
const roundedBiases = (model) =>
  edit(model, (draft) => {
    for (const tensor of model.graph.initializer) {
      if (typeOf(tensor) !== 'float32' || tensor.dims.length !== 1) continue;
      const short = fromFloat16(toFloat16(floatData(tensor)));
      if (short.every(Number.isFinite))
        draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dimsOf(tensor), short));
    }
  });

const pack = (model) => packModel(encodeModel(model), { open: () => Promise.reject(new Error('external data')) });
const bytes = async (model) => (await pack(model)).archive.length;

let best;
/** Measures a candidate and keeps the smallest that holds. The archive is made first where that is the cheaper question. */
async function tried(what, model) {
  const size = await bytes(model);
  if (best !== undefined && size >= best.size) {
    console.log(`- ${what}: ${size} bytes, no smaller`);
    return { size };
  }
  const value = await measured(chooser, model);
  const holds = floatChosen - value <= drop - margin + 1e-9;
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(`- ${what}: ${size} bytes, ${value.toFixed(2)}${holds ? '' : ', too much lost'} (${seconds} s)`);
  if (holds) best = { what, model, size, value };
  return { size, value, holds };
}

console.log(
  `${path}: ${floatChosen.toFixed(2)} on the half that chooses, ${floatJudged.toFixed(2)} on the half that judges; at most ${drop} - ${margin} lost\n`,
);
const pruned = [];
for (const criterion of list(given.criteria))
  for (const sparsity of numbers(given.sparsities)) {
    const model = sparsity > 0 ? await apply('GlobalPruner', float, { sparsity, criterion, samples }) : float;
    const value = await measured(chooser, model);
    const seconds = Math.round((Date.now() - began) / 1000);
    console.log(`- pruned by ${criterion} to ${sparsity}: ${value.toFixed(2)} (${seconds} s)`);
    if (floatChosen - value > drop) break;
    pruned.push({ criterion, sparsity, model, value });
  }

const shared = (model, bits, rounding, overrides = {}) =>
  apply('FormatQuantizer', model, {
    format: { name: 'codebook', bits },
    importance: 'inputs',
    rounding,
    samples,
    storage: 'values',
    overrides,
  });
// The sparsest first: what is larger than the best so far need not be measured.
for (const { criterion, sparsity, model } of pruned.toSorted((a, b) => b.sparsity - a.sparsity))
  for (const rounding of list(given.roundings))
    for (const bits of numbers(given.bits)) {
      const what = `${criterion} ${sparsity}, ${bits} bits, ${rounding}`;
      const outcome = await tried(what, await shared(model, bits, rounding));
      if (outcome.holds === false) break;
      if (outcome.holds) Object.assign(best, { from: model, bits, rounding });
    }
if (best === undefined) throw new Error('nothing holds');

const large = layers(best.model)
  .layers.map(({ name, weight }) => ({ name, size: weight.dims.reduce((a, b) => a * b, 1) }))
  .toSorted((a, b) => b.size - a.size)
  .slice(0, Number(given.layers));
const { from, bits, rounding } = best;
const overrides = {};
for (const { name } of large)
  for (const format of [...[1, 2].map((less) => ({ name: 'codebook', bits: bits - less })), { name: 'ternary' }]) {
    if (format.bits < 1) continue;
    const next = { ...overrides, [name]: { format } };
    const what = `${name} as ${format.name}${format.bits === undefined ? '' : `, ${format.bits} bits`}`;
    const { holds } = await tried(what, await shared(from, bits, rounding, next));
    if (!holds) break;
    overrides[name] = { format };
  }
await tried('biases at float16’s precision', roundedBiases(best.model));

const packed = await pack(best.model);
const file = encodeModel(best.model);
if (given.output !== undefined) {
  await mkdir(given.output, { recursive: true });
  await writeFile(join(given.output, 'model.onnx'), file);
  await writeFile(join(given.output, 'model.qpack'), packed.archive);
  const { brotli } = await generalSizes([join(given.output, 'model.onnx')]);
  console.log(`\nbrotli -11 of it: ${brotli} bytes`);
}
const judged = await measured(judge, best.model);
const size = encodeModel(float).length;
console.log(`
${basename(path)}: ${packed.archive.length} bytes of ${size} (${((100 * packed.archive.length) / size).toFixed(2)} %, ${(size / packed.archive.length).toFixed(1)}×)
chosen by ${best.value.toFixed(2)} of ${floatChosen.toFixed(2)}; on the other half ${judged.toFixed(2)} of ${floatJudged.toFixed(2)}, ${(floatJudged - judged).toFixed(2)} lost
${criterionOf()}
`);
console.log('| layer | weights | kept | weight bits | → coded | index bits | → coded | rate |');
console.log('|---|--:|--:|--:|--:|--:|--:|--:|');
const sums = { elements: 0, kept: 0, bytes: 0 };
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
for (const { tensor, bytes, facts, length } of packed.tensors) {
  const [elements, kept] = [facts.elements, facts.kept];
  sums.elements += elements;
  sums.kept += kept;
  sums.bytes += bytes;
  row([
    ...[tensor.name, elements.toLocaleString('en-US'), `${((100 * kept) / elements).toFixed(1)} %`],
    ...[facts.weightBits, facts.indexBits].flatMap(([before, after]) => [before, after.toFixed(2)]),
    `${((100 * bytes) / length).toFixed(2)} %`,
  ]);
}
row([
  ...['all', sums.elements.toLocaleString('en-US'), `${((100 * sums.kept) / sums.elements).toFixed(1)} %`],
  ...['', ((8 * sums.bytes) / sums.kept).toFixed(2), '', '', `${((100 * packed.archive.length) / size).toFixed(2)} %`],
]);
await chooser.close();
await judge.close();

function criterionOf() {
  const changed = Object.entries(overrides).map(([name, { format }]) => `${name}: ${format.name} ${format.bits ?? ''}`);
  return `${best.what}; codebooks of ${bits} bits, ${rounding}${changed.length > 0 ? `; ${changed.join(', ')}` : ''}`;
}
