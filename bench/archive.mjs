#!/usr/bin/env node
// What qtool pack makes of models beside brotli -11, and how fast it is decoded: as they are, and pruned and shared as Deep Compression does.
//
//   npm run build && node bench/archive.mjs <model.onnx>=<zeros>:<values> ...
//
// `=0.9:32` prunes each layer to 90 % zeros by magnitude and shares 32 values a layer (k-means from evenly spread ones), without looking at
// accuracy; without it the model is packed as it is. Decoding is of the tensors alone, in processor time of one thread: opening, in which all
// else is decoded, has a column of its own.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { packModel } from '../dist/archive/pack.js';
import { openArchive } from '../dist/archive/reader.js';
import { edit } from '../dist/graph/edit.js';
import { readModel } from '../dist/graph/file.js';
import { layers } from '../dist/graph/layer.js';
import { encodeModel } from '../dist/graph/model.js';
import { makeTensor } from '../dist/graph/tensor.js';
import { generalSizes } from '../dist/run/size.js';

/** Values that stand for weights other than 0: Lloyd's iteration on the sorted ones. */
function shared(weights, count) {
  const sorted = weights.filter((weight) => weight !== 0).sort();
  if (sorted.length === 0) return [0];
  const step = (sorted.at(-1) - sorted[0]) / Math.max(1, count - 1);
  let centers = Array.from({ length: count }, (_, i) => sorted[0] + i * step);
  for (let round = 0; round < 30; round++) {
    const sums = new Float64Array(count);
    const sizes = new Float64Array(count);
    let k = 0;
    for (const weight of sorted) {
      while (k < count - 1 && Math.abs(centers[k + 1] - weight) <= Math.abs(centers[k] - weight)) k++;
      sums[k] += weight;
      sizes[k]++;
    }
    centers = centers.map((center, i) => (sizes[i] > 0 ? sums[i] / sizes[i] : center));
  }
  return centers.map(Math.fround);
}

function nearest(centers, weight) {
  let low = 0;
  let high = centers.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((centers[middle] + centers[middle + 1]) / 2 < weight) low = middle + 1;
    else high = middle;
  }
  return centers[low];
}

/** Each layer's weights pruned and shared. */
const compressed = (model, zeros, count) =>
  edit(model, (draft) => {
    const tensors = new Map(layers(model).layers.map(({ weight }) => [weight.tensor.name, weight]));
    for (const [name, weight] of tensors) {
      const rows = Float32Array.from(weight.rows());
      const least = rows.map(Math.abs).sort()[Math.floor(zeros * rows.length)] ?? 0;
      const kept = rows.map((value) => (Math.abs(value) < least ? 0 : value));
      const centers = shared(kept, count);
      const values = kept.map((value) => (value === 0 ? 0 : nearest(centers, value)));
      draft.replace(name, makeTensor(name, 'float32', weight.dims, weight.fromRows(values)));
    }
  });

/** Milliseconds of processor time that work takes, in the best of some rounds: other programs do not count. */
function fastest(work) {
  let best = Infinity;
  for (let round = 0; round < 4; round++) {
    const start = process.cpuUsage().user;
    let runs = 0;
    do {
      work();
      runs++;
    } while (process.cpuUsage().user - start < 300_000);
    best = Math.min(best, (process.cpuUsage().user - start) / runs / 1000);
  }
  return best;
}

const jobs = process.argv.slice(2);
if (jobs.length === 0) {
  console.error('usage: node bench/archive.mjs <model.onnx>[=<zeros>:<values>] ...');
  process.exit(2);
}
const folder = await mkdtemp(join(tmpdir(), 'qtool-archive-'));
const grouped = (value) => Math.round(value).toLocaleString('en-US');
console.log('| model | zeros | values | bytes | brotli -11 | packed | against brotli | opens | weights decoded |');
console.log('|---|--:|--:|--:|--:|--:|--:|--:|--:|');
for (const job of jobs) {
  const [path, how] = job.split('=');
  const [zeros, values] = (how ?? '').split(':').map(Number);
  const float = await readModel(path);
  const model = encodeModel(how === undefined ? float : compressed(float, zeros, values));
  const file = join(folder, 'model.onnx');
  await writeFile(file, model);
  const { brotli } = await generalSizes([file]);
  const { archive, tensors } = await packModel(model, { open: () => Promise.reject(new Error('external data')) });
  const opens = fastest(() => openArchive(archive));
  const parts = openArchive(archive).files[0].parts.filter(({ owner }) => owner !== undefined);
  // Of four bytes each, as which they are used, codes too.
  const weights = tensors.reduce((sum, { facts }) => sum + 4 * facts.elements, 0);
  const decodes = fastest(() => parts.forEach((part) => part.bytes()));
  const row = [
    ...[basename(path), how === undefined ? '' : `${100 * zeros} %`, how === undefined ? '' : values],
    ...[grouped(model.length), grouped(brotli), grouped(archive.length)],
    `${(100 * (archive.length / brotli - 1)).toFixed(1)} %`,
    `${opens.toFixed(0)} ms`,
    `${(weights / decodes / 1000).toFixed(0)} MB/s`,
  ];
  console.log(`| ${row.join(' | ')} |`);
}
await rm(folder, { recursive: true });
