#!/usr/bin/env node
// What feature quantization does for an image classifier on distorted images:
//
//   npm run build && node bench/distortion.mjs <model.onnx> <data config> mean=0.485,0.456,0.406 deviation=0.229,0.224,0.225
//     [images=2000] [root=<folder>] [only=<parts of settings' names, with | between>]
//
// mean and deviation are those of the model's preprocessing, RGB/255: images are brought back to bytes, distorted, rounded to bytes and
// normalized again. Every second image chooses among the settings, the others judge the best of each kind beside the float model.
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { modelInputs } from '../dist/graph/query.js';
import { openMetrics } from '../dist/metrics/index.js';
import { featureQuantization } from '../dist/passes/recover/feature_quantization.js';
import { openInstruments } from '../dist/run/context.js';
import { openSession } from '../dist/runtime/session.js';
import { uniform } from '../dist/util/uniform.js';

const [path, source, ...rest] = process.argv.slice(2);
const given = Object.fromEntries(rest.map((word) => word.split(/=(.*)/s).slice(0, 2)));
if (path === undefined || source === undefined || given.mean === undefined || given.deviation === undefined) {
  console.error(
    'usage: node bench/distortion.mjs <model.onnx> <data> mean=r,g,b deviation=r,g,b [images=2000] [root=] [only=]',
  );
  process.exit(2);
}
const [mean, deviation] = [given.mean, given.deviation].map((text) => text.split(',').map(Number));

/** A plane convolved with a small kernel, edges repeated. */
function filtered(plane, height, width, kernel) {
  const [rows, columns] = [kernel.length, kernel[0].length];
  return plane.map((_, at) => {
    const [y, x] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        const row = Math.min(height - 1, Math.max(0, y + i - (rows >> 1)));
        const column = Math.min(width - 1, Math.max(0, x + j - (columns >> 1)));
        sum += plane[row * width + column] * kernel[i][j];
      }
    return sum;
  });
}

function gaussian(sigma) {
  const reach = Math.ceil(3 * sigma);
  const row = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const sum = row.reduce((a, b) => a + b, 0);
  return row.map((a) => row.map((b) => (a * b) / (sum * sum)));
}

// The luminance table of JPEG's annex K.
const table = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]; // prettier-ignore
const cosine = Array.from({ length: 8 }, (_, u) =>
  Array.from({ length: 8 }, (_, x) => (u === 0 ? Math.SQRT1_2 : 1) * 0.5 * Math.cos(((2 * x + 1) * u * Math.PI) / 16)),
);

/** JPEG's loss on one plane: the cosine transform of each block of 8 × 8 rounded by the table (no colour transform, no subsampling). */
function blocks(plane, height, width, quality) {
  const scale = (quality < 50 ? 5000 / quality : 200 - 2 * quality) / 100;
  const out = plane.slice();
  for (let top = 0; top < height; top += 8)
    for (let left = 0; left < width; left += 8) {
      const transform = (block, back) => {
        const half = block.map((_, at) => {
          const [r, c] = [at >> 3, at & 7];
          let sum = 0;
          for (let k = 0; k < 8; k++) sum += block[r * 8 + k] * (back ? cosine[k][c] : cosine[c][k]);
          return sum;
        });
        return half.map((_, at) => {
          const [r, c] = [at >> 3, at & 7];
          let sum = 0;
          for (let k = 0; k < 8; k++) sum += half[k * 8 + c] * (back ? cosine[k][r] : cosine[r][k]);
          return sum;
        });
      };
      const place = (at) => Math.min(height - 1, top + (at >> 3)) * width + Math.min(width - 1, left + (at & 7));
      const block = table.map((_, at) => plane[place(at)] - 128);
      const coded = transform(block, false).map((v, at) => {
        const step = Math.max(1, Math.round(table[at] * scale));
        return Math.round(v / step) * step;
      });
      for (const [at, v] of transform(coded, true).entries()) out[place(at)] = v + 128;
    }
  return out;
}

const noisy = (sigma) => (plane, h, w, random) =>
  plane.map((v) => v + sigma * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
const peppered = (share) => (plane, h, w, random, drawn) =>
  plane.map((v, at) => (drawn[at] < share / 2 ? 0 : drawn[at] < share ? 255 : v));
const blurred = (kernel) => (plane, h, w) => filtered(plane, h, w, kernel);
const distortions = [
  ['none', (plane) => plane],
  ['Gaussian noise, σ 10', noisy(10)],
  ['Gaussian noise, σ 20', noisy(20)],
  ['salt and pepper, 2 %', peppered(0.02)],
  ['Gaussian blur, σ 0.8', blurred(gaussian(0.8))],
  ['motion blur, 4 pixels', blurred([[0, 0.25, 0.25, 0.25, 0.25]])],
  ['JPEG-like, quality 30', (plane, h, w) => blocks(plane, h, w, 30)],
];

/** A normalized image [1, 3, H, W], distorted as bytes. */
function distorted({ data, dims }, apply, seed) {
  const [, channels, height, width] = dims;
  const size = height * width;
  const random = uniform(seed);
  const drawn = Array.from({ length: size }, random);
  const out = new Float32Array(data.length);
  for (let c = 0; c < channels; c++) {
    const plane = Array.from(data.subarray(c * size, (c + 1) * size), (v) =>
      Math.round((v * deviation[c] + mean[c]) * 255),
    );
    for (const [i, v] of apply(plane, height, width, random, drawn).entries())
      out[c * size + i] = (Math.min(255, Math.max(0, Math.round(v))) / 255 - mean[c]) / deviation[c];
  }
  return out;
}

const settings = [];
for (const [where, more] of [
  ['conv', {}],
  ['activation', { after: 'activation' }],
]) {
  for (const resolution of [4, 8, 16])
    settings.push(['floor', `floor, ${resolution} steps, ${where}`, { resolution, ...more }]);
  for (const resolution of [2, 4]) settings.push(['nearest', `nearest, ${resolution} steps, ${where}`, { resolution, nearest: true, ...more }]); // prettier-ignore
  for (const exponent of [0.85, 0.95, 1.05, 1.15])
    settings.push(['power', `power ${exponent}, ${where}`, { exponent, ...more }]);
}
for (const exponent of [0.7, 0.85, 1.15])
  settings.push(['power', `power ${exponent}, conv1`, { exponent, layers: ['*conv1/Conv'] }]);
settings.push(['both', 'nearest, 4 steps, and power 0.95, conv', { resolution: 4, nearest: true, exponent: 0.95 }]);
const chosen = settings.filter(
  ([, name]) => given.only === undefined || given.only.split('|').some((part) => name.includes(part)),
);

const model = await readModel(path);
const count = Number(given.images ?? 2000);
const data = await openData(source, modelInputs(model), { root: given.root, validationSamples: count });
const tools = await openInstruments({
  ...{ reference: model, data, metrics: await openMetrics(data), batchSize: 32, threads: 1, memoryLimit: undefined },
  ...{ signal: new AbortController().signal, progress: () => undefined },
});
const context = tools.context({ plan: new Map(), twin: undefined, memory: new Map(), clock: { epoch: 0, start: 0, end: 1, frequency: 1 } }); // prettier-ignore
const [input] = modelInputs(model);
const [choice, judges] = [[], []];
for await (const { feeds, target } of data.validation.samples(count))
  (choice.length <= judges.length ? choice : judges).push({ tensor: feeds[input.name], label: target.label[0] });

/** Images of one distortion as batches of 50. */
function batches(images, apply) {
  const made = [];
  for (let start = 0; start < images.length; start += 50) {
    const part = images.slice(start, start + 50);
    const size = part[0].tensor.data.length;
    const joined = new Float32Array(size * part.length);
    part.forEach(({ tensor }, i) => joined.set(distorted(tensor, apply, start + i + 1), i * size));
    made.push({
      data: joined,
      dims: [part.length, ...part[0].tensor.dims.slice(1)],
      labels: part.map(({ label }) => label),
    });
  }
  return made;
}

async function accuracies(candidate, sets) {
  const session = await openSession(candidate);
  const found = [];
  for (const set of sets) {
    let [right, all] = [0, 0];
    for (const { data, dims, labels } of set) {
      const out = Object.values(await session.run({ [input.name]: { type: 'float32', dims, data } }))[0];
      const classes = out.dims.at(-1);
      labels.forEach((label, i) => {
        const row = out.data.subarray(i * classes, (i + 1) * classes);
        if (row.indexOf(Math.max(...row)) === label) right++;
        all++;
      });
    }
    found.push((100 * right) / all);
  }
  await session.close();
  return found;
}

const line = (name, values) => `| ${name} | ${values.map((v) => v.toFixed(1)).join(' | ')} | ${(values.slice(1).reduce((a, b) => a + b, 0) / (values.length - 1)).toFixed(2)} |`; // prettier-ignore
const head = `${distortions.map(([name]) => name).join(' | ')} | mean of the distorted |`;
const rule = `|---|${distortions.map(() => '---|').join('')}---|`;

console.log(`\n${choice.length} images that choose, top-1 %\n\n| model | ${head}\n${rule}`);
const choosing = distortions.map(([, apply]) => batches(choice, apply));
console.log(line('float', await accuracies(model, choosing)));
const best = new Map();
for (const [kind, name, options] of chosen) {
  const parsed = featureQuantization.options.parse(options);
  const { model: made } = await featureQuantization.apply(model, parsed, context);
  const values = await accuracies(made, choosing);
  console.log(line(name, values));
  const score = values.slice(1).reduce((a, b) => a + b, 0);
  if (score > (best.get(kind)?.score ?? -1)) best.set(kind, { score, name, made });
}
await tools.close();

console.log(`\n${judges.length} others, top-1 %\n\n| model | ${head}\n${rule}`);
const judging = distortions.map(([, apply]) => batches(judges, apply));
console.log(line('float', await accuracies(model, judging)));
for (const { name, made } of best.values()) console.log(line(name, await accuracies(made, judging)));
