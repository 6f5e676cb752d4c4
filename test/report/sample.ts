import type { MetricResult } from '../../src/metrics/metric.ts';
import type { LayerReport, Latency, Measurement, RunReport, StageReport } from '../../src/run/report.ts';

/** A run with one stage of every verdict, for the tests of what prints it. */

export function top1(value: number, drop: number, dropInterval = 0.12): MetricResult {
  const compared = { drop, dropInterval, reference: 99.07 };
  return { name: 'top1', value, unit: '%', higherIsBetter: true, samples: 10_000, interval: 0.19, ...compared };
}

function sqnr(value: number): MetricResult {
  const compared = { reference: Infinity, drop: value === Infinity ? 0 : Infinity, perOutput: { logits: value } };
  return { name: 'sqnr', value, unit: 'dB', higherIsBetter: true, samples: 10_000, ...compared };
}

function latency(batch: number, ratio: number): Latency {
  const milliseconds = 0.4 * batch;
  return {
    batch,
    milliseconds,
    floatMilliseconds: milliseconds * ratio,
    ratio,
    ratioLow: ratio - 0.05,
    ratioHigh: ratio + 0.05,
    rounds: 40,
  };
}

function measurement(metrics: readonly MetricResult[], bytes: number, zeros: number, ratio: number): Measurement {
  return { metrics, bytes, zeros, latency: [latency(1, ratio), latency(32, ratio + 0.3)] };
}

const float = measurement([top1(99.07, 0, 0), sqnr(Infinity)], 1_726_412, 0.0001, 1);
const pruned = measurement([top1(99.05, 0.02), sqnr(31.42)], 1_726_412, 0.4, 1.02);
const ruined = measurement([top1(11.35, 87.72, 0.66), sqnr(0.3)], 1_726_412, 0.99, 1.01);
const softer = measurement([top1(98.8, 0.27), sqnr(22)], 1_726_412, 0.74, 1.01);
const quantized = measurement([top1(98.96, 0.11, 0.1), sqnr(28.6)], 446_301, 0.41, 1.62);

const common = { epoch: 0, options: {}, changed: [], skipped: [], notes: [], seconds: 1.2 } as const;
const gate = { metric: 'top1', maxDrop: 0.5, relative: false, onFail: 'undo' } as const;

export const stages: readonly StageReport[] = [
  {
    ...common,
    index: 1,
    instance: 'light',
    pass: 'prune/level',
    class: 'SparsityLevelParameterPruner',
    at: 'lenet5.yaml:21:5',
    options: { levels: { '*': 0.4 } },
    gate,
    attempts: [{ strength: 'level 0.40', measurement: pruned, passed: true }],
    measurement: pruned,
    verdict: 'kept',
    why: 'top1 dropped 0.02 points, 0.50 allowed',
    changed: [{ layer: 'conv1', text: '200 of 500 weights set to zero' }],
  },
  {
    ...common,
    index: 2,
    instance: 'harsh',
    pass: 'prune/level',
    class: 'SparsityLevelParameterPruner',
    at: 'lenet5.yaml:24:5',
    gate,
    attempts: [{ strength: 'level 0.99', measurement: ruined, passed: false }],
    measurement: pruned,
    verdict: 'undone',
    why: 'top1 dropped 87.72 points, 0.50 allowed',
  },
  {
    ...common,
    index: 3,
    instance: 'bisected',
    pass: 'prune/level',
    class: 'SparsityLevelParameterPruner',
    at: 'lenet5.yaml:27:5',
    gate: { ...gate, onFail: 'retry' },
    attempts: [
      { strength: 'level 0.99', measurement: ruined, passed: false },
      { strength: 'level 0.74', measurement: softer, passed: true },
    ],
    measurement: softer,
    verdict: 'retried',
    why: 'level 0.74 is the strongest of 2 tried that holds',
  },
  {
    ...common,
    index: 4,
    instance: 'ptq',
    pass: 'quantize/static',
    class: 'PostTrainLinearQuantizer',
    at: 'lenet5.yaml:30:5',
    gate: undefined,
    attempts: [{ strength: 'weights 8, activations 8 bits', measurement: quantized, passed: true }],
    measurement: quantized,
    verdict: 'kept',
    why: 'no gate',
    skipped: [
      {
        layer: 'softmax',
        text: 'onnxruntime has no integer kernel for Softmax of rank 2 on this axis, so a quantized one would only lose accuracy',
      },
      { layer: 'flatten', text: 'moves data only' },
      ...Array.from({ length: 9 }, (_, i) => ({ layer: `reshape_${i}`, text: 'moves data only' })),
    ],
    notes: ['the activation ranges of 512 calibration samples were cut at the 99.99th percentile'],
  },
];

export const layers: readonly LayerReport[] = [
  {
    layer: 'conv1',
    op: 'Conv',
    weights: 'int8 per channel',
    activations: 'uint8',
    sqnr: 41.26,
    kernel: 'integer',
    why: '',
  },
  {
    layer: '/features/features.3/conv2/a_rather_long_name/Conv',
    op: 'Conv',
    weights: 'int8 per channel',
    activations: 'uint8',
    sqnr: 36.4,
    kernel: 'integer',
    why: '',
  },
  {
    layer: 'fc1',
    op: 'Gemm',
    weights: 'int8 per channel',
    activations: 'uint8',
    sqnr: 33.1,
    kernel: 'integer',
    why: '',
  },
  {
    layer: 'softmax',
    op: 'Softmax',
    weights: '',
    activations: 'float32',
    sqnr: undefined,
    kernel: 'float',
    why: 'onnxruntime has no integer kernel for Softmax of rank 2 on this axis',
  },
  {
    layer: 'flatten',
    op: 'Flatten',
    weights: '',
    activations: '',
    sqnr: undefined,
    kernel: 'gone',
    why: 'folded away',
  },
];

export const report: RunReport = {
  format: 1,
  tool: {
    qtool: '0.1.0',
    onnxruntime: '1.30.0',
    node: 'v20.20.2',
    platform: 'linux x64',
    cpu: '2 × Example CPU at 2.1 GHz',
  },
  started: '2026-01-02T03:04:05.000Z',
  seconds: 93.4,
  model: { path: 'models/lenet5.onnx', bytes: 1_726_412, sha256: 'ab'.repeat(32), opset: 17, parameters: 431_080 },
  schedule: 'schedules/lenet5.yaml',
  data: {
    calibration: { kind: 'idx', source: 'train-images-idx3-ubyte', samples: 512, labelled: true, notes: [] },
    validation: { kind: 'idx', source: 't10k-images-idx3-ubyte', samples: 10_000, labelled: true, notes: [] },
    notes: ['calibration and validation are different files'],
  },
  baseline: float,
  stages,
  layers,
  result: {
    path: 'runs/lenet5/model.onnx',
    measurement: quantized,
    gzip: 231_004,
    brotli: 210_118,
    stages: [1, 3, 4],
    levels: { samples: 8, disabled: 28.7, all: 28.6 },
    status: 'finished',
  },
  warnings: [],
  notes: ['latency on a shared machine: trust the ratio, not the milliseconds'],
};
