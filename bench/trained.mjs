#!/usr/bin/env node
// The table of quantizers that learn: each method on a network, trained on the set `training:` of a data config and judged on its validation samples.
//
//   npm run build && node bench/trained.mjs <model.onnx> <data> --net lenet5|resnet20 [--rows 'LSQ W4A4,TTQ'] [--epochs 3] [--seeds 0,1,2]
//     [--lr 0.01] [--teacher <model.onnx>] [--data-root <folder>] [--limit <validation samples>] [--threads 1] [-o <folder>]
//
// First and last layers are held in 8 bits, or in float where the method's paper has them so. A net without batch norms is given them (RestoreBatchNorm)
// where `--net` is resnet20. Every row is trained with the float model as teacher beside the labels. Prints the table; with -o it
// is added to <folder>/<net>.json and what was there before stays.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    net: { type: 'string' },
    rows: { type: 'string' },
    epochs: { type: 'string', default: '3' },
    seeds: { type: 'string', default: '0' },
    lr: { type: 'string' },
    teacher: { type: 'string' },
    'data-root': { type: 'string' },
    limit: { type: 'string' },
    threads: { type: 'string' },
    output: { type: 'string', short: 'o' },
  },
});
const [model, data] = positionals;
const nets = {
  lenet5: { ends: ['conv1', 'fc2'], lr: 0.01, norm: false },
  resnet20: { ends: ['/conv1/Conv', '/linear/Gemm'], lr: 0.01, norm: true },
};
const net = nets[given.net ?? ''];
if (model === undefined || data === undefined || !net) {
  console.error('usage: node bench/trained.mjs <model.onnx> <data> --net lenet5|resnet20 [--rows …] [--epochs 3]');
  process.exit(2);
}

/** What is done to the first and the last layer. */
const bytes = { bits_weights: 8, bits_activations: 8 };
const float = { bits_weights: null, bits_activations: null };
const adam = (lr) => ({ name: 'adam', lr });
/** The methods: options of the quantizer, what the ends are held in, the optimizer where it is not SGD, and what the paper has for the nearest net. */
const methods = {
  INT8: {
    q: { class: 'QuantAwareTrainRangeLinearQuantizer', bits_weights: 8, bits_activations: 8, per_channel_wts: true },
    ends: bytes,
  },
  'LSQ W4A4': { q: { class: 'LSQQuantizer', bits_weights: 4, bits_activations: 4 }, ends: bytes },
  'LSQ W3A4': { q: { class: 'LSQQuantizer', bits_weights: 3, bits_activations: 4 }, ends: bytes },
  'LSQ W2A2': { q: { class: 'LSQQuantizer', bits_weights: 2, bits_activations: 2 }, ends: bytes },
  'PACT W4A4': {
    q: { class: 'PACTQuantizer', bits_weights: 4, bits_activations: 4 },
    ends: float,
    paper: 'ResNet-20: 91.3 of 91.6',
  },
  'DoReFa W3A8': {
    q: { class: 'DorefaQuantizer', bits_weights: 3, bits_activations: 8 },
    ends: float,
    paper: 'Distiller, ResNet-20: 91.44 of 92.13',
  },
  TWN: {
    q: { class: 'QuantAwareTrainFormatQuantizer', format: 'ternary:threshold=0.7', sharing: 'tensor' },
    ends: {},
    paper: 'LeNet-5: 99.35 of 99.41',
  },
  'ternary, exact, by channel': { q: { class: 'QuantAwareTrainFormatQuantizer', format: 'ternary' }, ends: {} },
  TTQ: { q: { class: 'TTQQuantizer' }, ends: float, paper: 'ResNet-20: 91.13 of 91.77' },
  'INQ 5 bits': { q: { class: 'INQQuantizer', bits_weights: 5 }, ends: {} },
  'APoT 4 bits': {
    q: { class: 'QuantAwareTrainFormatQuantizer', format: 'apot:bits=4' },
    ends: {},
    paper: 'ResNet-20, A4 too: 92.45 of 92.96',
  },
  'codebook 4 bits': { q: { class: 'TrainedCodebookQuantizer', bits_weights: 4 }, ends: {} },
  BWN: {
    q: { class: 'XNORQuantizer', bits_weights: 1 },
    ends: float,
    optimizer: adam,
    paper: 'ResNet-20, MetaQuant: 90.47',
  },
  BinaryConnect: { q: { class: 'BinaryConnectQuantizer', bits_weights: 1 }, ends: float, optimizer: adam },
  'XNOR W1A1': {
    q: { class: 'XNORQuantizer', bits_weights: 1, bits_activations: 1 },
    ends: float,
    optimizer: adam,
    paper: 'LeNet-5, RedBit: 99.37',
  },
  'Bi-Real W1A1': {
    q: { class: 'BiRealQuantizer', bits_weights: 1, bits_activations: 1 },
    ends: float,
    optimizer: adam,
  },
};

const wanted = given.rows === undefined ? Object.keys(methods) : given.rows.split(',').map((name) => name.trim());
const unknown = wanted.filter((name) => !methods[name]);
if (unknown.length > 0) {
  console.error(`no row is called ${unknown.join(', ')}: there are ${Object.keys(methods).join(', ')}`);
  process.exit(2);
}
const cli = fileURLToPath(new URL('../bin/qtool', import.meta.url));
const epochs = Number(given.epochs);

function schedule({ q, ends, optimizer }, seed) {
  const lr = Number(given.lr ?? net.lr);
  const weightsAlone = q.bits_activations === undefined;
  const own = (layer) => (weightsAlone ? { bits_weights: layer.bits_weights } : layer);
  const overrides =
    ends.bits_weights === undefined ? {} : Object.fromEntries(net.ends.map((name) => [name, own(ends)]));
  return {
    version: 1,
    training: {
      batch_size: 64,
      seed,
      epochs,
      optimizer: optimizer?.(lr / 10) ?? { name: 'sgd', lr, momentum: 0.9, nesterov: true },
      distillation: {
        temperature: 4,
        student_wt: 0.5,
        distill_wt: 0.5,
        ...(given.teacher ? { teacher: given.teacher } : {}),
      },
      augment:
        given.net === 'lenet5'
          ? { random_crop: { padding: 2 } }
          : { random_crop: { padding: 4 }, horizontal_flip: 0.5 },
    },
    extensions: { pack: { class: 'WeightEncoder' }, ...(net.norm ? { norm: { class: 'RestoreBatchNorm' } } : {}) },
    quantizers: { learned: { ...q, overrides } },
    lr_schedulers: { cosine: { class: 'CosineAnnealingLR', T_max: epochs, per_step: true } },
    policies: [
      ...(net.norm ? [{ extension: { instance_name: 'norm' }, epochs: [0] }] : []),
      { quantizer: { instance_name: 'learned' }, starting_epoch: 0, ending_epoch: epochs },
      { lr_scheduler: { instance_name: 'cosine' }, starting_epoch: 0, ending_epoch: epochs },
      { extension: { instance_name: 'pack' }, epochs: [epochs] },
    ],
  };
}

function run(name, seed) {
  const folder = mkdtempSync(join(tmpdir(), 'qtool-trained-'));
  const file = join(folder, 'schedule.yaml');
  // JSON is YAML.
  writeFileSync(file, JSON.stringify(schedule(methods[name], seed)));
  const more = ['data-root', 'limit', 'threads'].flatMap((key) =>
    given[key] === undefined ? [] : [`--${key}`, given[key]],
  );
  const began = Date.now();
  const { status } = spawnSync(
    process.execPath,
    [cli, 'quantize', model, '--schedule', file, '--data', data, '--no-latency', ...more, '-o', join(folder, 'run')],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (status !== 0) throw new Error(`${name}: qtool ended with ${status}; its schedule is ${file}`);
  const report = JSON.parse(readFileSync(join(folder, 'run', 'report.json'), 'utf8'));
  rmSync(folder, { recursive: true });
  return { report, minutes: (Date.now() - began) / 60000 };
}

const file = given.output && join(given.output, `${given.net}.json`);
const table = (() => {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return {};
  }
})();
for (const name of wanted) {
  const runs = given.seeds.split(',').map((seed) => run(name, Number(seed)));
  table[name] = {
    epochs,
    runs: runs.map(({ report, minutes }) => {
      const { metrics, bytes: size } = report.result.measurement;
      const [{ value, drop, dropInterval }] = metrics;
      return { top1: value, drop, dropInterval, bytes: size, share: size / report.baseline.bytes, minutes };
    }),
  };
  if (file) {
    mkdirSync(given.output, { recursive: true });
    writeFileSync(file, `${JSON.stringify(table, undefined, 1)}\n`);
  }
  console.error(name, JSON.stringify(table[name]));
}
console.log('| method | top-1 | drop (paired 95 %) | bytes | of float | the paper |\n|---|---|---|---|---|---|');
for (const [name, { runs }] of Object.entries(table)) {
  const each = (of) => runs.map(of).join(', ');
  const mean = (of) => runs.reduce((sum, one) => sum + of(one), 0) / runs.length;
  console.log(
    `| ${name} | ${each(({ top1 }) => top1.toFixed(2))} | ${each(({ drop, dropInterval }) => `${drop.toFixed(2)} ± ${dropInterval.toFixed(2)}`)} | ${Math.round(mean(({ bytes: b }) => b)).toLocaleString('en')} | ${(100 * mean(({ share }) => share)).toFixed(1)} % | ${methods[name]?.paper ?? ''} |`,
  );
}
