#!/usr/bin/env node
// What each recovery pass wins back, alone and together: accuracy, agreement with float and SQNR of the outputs.
//
//   npm run build && node bench/recovery.mjs <model.onnx> <data: folder or config> [root=<folder>] [bits=8] [act=8] [samples=512] [steps=1000]
//     [limit=<validation samples>] [seed=0] [threads=1] [only=<parts of row names, comma-separated>] [against=gptq]
//
// Every row quantizes the float model anew with the same calibration data and settings; losing rows stay in the table. Of several
// seeds (seed=0,1,2: as many choices of calibration samples) each row's means are printed, ± the standard deviation between
// seeds, and by how much it differs from the row `against`, seed by seed, ± the 95 % interval of that difference's mean.
// With `limit` each seed judges other images too.
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { modelInputs } from '../dist/graph/query.js';
import { openMetrics } from '../dist/metrics/index.js';
import { passes } from '../dist/passes/index.js';
import { openInstruments } from '../dist/run/context.js';

const [path, source, ...rest] = process.argv.slice(2);
if (path === undefined || source === undefined) {
  console.error('usage: node bench/recovery.mjs <model.onnx> <data> [root=] [bits=8] [samples=512] [limit=] [only=]');
  process.exit(2);
}
const given = Object.fromEntries(
  rest.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]),
);
const bits = Number(given.bits ?? 8);
const act = Number(given.act ?? 8);
const samples = Number(given.samples ?? 512);
const steps = Number(given.steps ?? 1000);

const equalize = { class: 'CrossLayerEqualization', samples };
const absorb = { class: 'BiasAbsorption', samples };
const int8 = {
  class: 'PostTrainLinearQuantizer',
  bits_weights: bits,
  bits_activations: act,
  calibration: { method: 'minmax', samples },
};
const ranges = (method) => ({ ...int8, calibration: { method, samples } });
const bias = (method) => ({ class: 'BiasCorrection', method, samples });
const scales = (rounding) => ({ class: 'WeightScaleSearch', rounding, samples });
const gptq = { class: 'GptqRounding', samples };
const rounding = (more = {}) => ({ class: 'AdaRound', samples, ...more });
// The product of steps and rate stays that of the defaults.
const blocks = (more = {}) => ({ class: 'BlockReconstruction', samples, steps, lr: 30 / steps, ...more });

const rows = [
  ['round to nearest', [int8]],
  ['mse ranges of activations', [ranges('mse')]],
  ['entropy ranges of activations', [ranges('entropy')]],
  ['equalization', [equalize, int8]],
  ['equalization and bias absorption', [equalize, absorb, int8]],
  ['bias correction, analytic', [int8, bias('analytic')]],
  ['bias correction, empirical', [int8, bias('empirical')]],
  ['mse scales of weights', [int8, scales('nearest')]],
  ['gptq', [int8, gptq]],
  ['mse scales and gptq', [int8, scales('nearest'), gptq]],
  ['adaround at the scales given', [int8, rounding({ scales: 0 })]],
  ['adaround without what residuals lack', [int8, rounding({ residual: false })]],
  ['adaround', [int8, rounding()]],
  ['adaround and 1000 steps of the paper', [int8, rounding({ iterations: 1000 })]],
  ['blocks', [int8, blocks()]],
  ['blocks, half dropped', [int8, blocks({ drop: 0.5 })]],
  ['adaround, then blocks', [int8, rounding(), blocks({ trust: 0.7 })]],
  ['adaround, then blocks, half dropped', [int8, rounding(), blocks({ trust: 0.7, drop: 0.5 })]],
  ['together: equalization, minmax ranges, adaround', [equalize, int8, rounding()]],
  ['together: equalization, mse ranges, adaround', [equalize, ranges('mse'), rounding()]],
  ['together: equalization, entropy ranges, adaround', [equalize, ranges('entropy'), rounding()]],
];
const wanted = given.only?.split(',');
// `=name` takes that row alone.
const takes = (words, name) => (words.startsWith('=') ? name === words.slice(1) : name.includes(words));
const chosen = rows.filter(([name]) => wanted === undefined || wanted.some((words) => takes(words, name)));

const model = await readModel(path);
const seeds = given.seed === undefined ? [undefined] : given.seed.split(',').map(Number);

async function open(seed) {
  const data = await openData(source, modelInputs(model), {
    root: given.root,
    seed,
    calibrationSamples: samples,
    validationSamples: given.limit === undefined ? undefined : Number(given.limit),
  });
  return openInstruments({
    reference: model,
    data,
    metrics: await openMetrics(data),
    batchSize: data.batchSize ?? 32,
    threads: Number(given.threads ?? 1),
    memoryLimit: undefined,
    signal: new AbortController().signal,
    progress: () => undefined,
  });
}

async function apply(tools, stages) {
  let [now, twin] = [model, undefined];
  for (const { class: name, ...options } of stages) {
    const pass = passes.find((p) => p.classes.includes(name));
    const clock = { epoch: 0, start: 0, end: 1, frequency: 1 };
    const context = tools.context({ plan: new Map(), twin, memory: new Map(), clock });
    const result = await pass.apply(now, pass.options.parse(options), context);
    [now, twin] = [result.model, result.twin ?? twin];
  }
  return now;
}

const names = ['top1', 'agreement', 'sqnr'];
const show = (measured) =>
  measured
    .filter(({ name }) => names.includes(name))
    .map(({ name, value, drop, dropInterval }) => {
      const loss = name === 'top1' && drop ? ` (${(-drop).toFixed(2)} ±${dropInterval.toFixed(2)})` : '';
      return `${Number.isFinite(value) ? value.toFixed(name === 'sqnr' ? 1 : 2) : '∞'}${loss}`;
    })
    .join(' | ');

const all = new Map(chosen.map(([name]) => [name, []]));
for (const seed of seeds) {
  const tools = await open(seed);
  const float = await tools.measure(model);
  if (seeds.length > 1) console.log(`\nseed ${seed}\n`);
  console.log(`| passes (${bits}-bit weights) | top-1 % (drop) | agreement % | SQNR dB | seconds |`);
  console.log('|---|---|---|---|---|');
  console.log(`| float | ${show(float)} | |`);
  for (const [name, stages] of chosen) {
    const began = performance.now();
    const result = await apply(tools, stages);
    const seconds = (performance.now() - began) / 1000;
    const measured = await tools.measure(result);
    all.get(name).push(Object.fromEntries(measured.map((m) => [m.name, m.value])));
    console.log(`| ${name} | ${show(measured)} | ${seconds.toFixed(1)} |`);
  }
  await tools.close();
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
const deviation = (list) => Math.sqrt(list.reduce((a, b) => a + (b - mean(list)) ** 2, 0) / (list.length - 1));
// Student's t, 97.5 %, by degrees of freedom.
const student = [NaN, 12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];
if (seeds.length > 1) {
  const other = all.get(given.against ?? 'gptq');
  const less = other ? ` | top-1 less ${given.against ?? 'gptq'} | agreement less it` : '';
  console.log(`\n| means of ${seeds.length} seeds | top-1 % | agreement % | SQNR dB${less} |`);
  console.log(`|---|---|---|---${other ? '|---|---' : ''}|`);
  const t = student[seeds.length - 1] ?? 2;
  for (const [name, runs] of all) {
    const cells = names.map((key) => {
      const list = runs.map((run) => run[key]);
      return `${mean(list).toFixed(2)} ±${deviation(list).toFixed(2)}`;
    });
    for (const key of other ? ['top1', 'agreement'] : []) {
      const list = runs.map((run, i) => run[key] - other[i][key]);
      cells.push(`${mean(list).toFixed(2)} ±${((t * deviation(list)) / Math.sqrt(list.length)).toFixed(2)}`);
    }
    console.log(`| ${name} | ${cells.join(' | ')} |`);
  }
}
