import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { everyOption, type Effect, type Fixture, type PassTable } from './table.ts';

const images = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
const net: Fixture = async () => ({ model: smallConvNet(), context: testContext({ calibration: images }) });

const vectors = [1, 2].map((seed) => ({ x: floats(noise(seed, 4 * 32), [4, 32]) }));
/** Two products of 32 inputs each. */
const dense: Fixture = async () => ({
  model: makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 32])],
    outputs: [makeValue('y', 'float32', ['N', 16])],
    initializers: [weight('w1', [32, 32], 1), weight('w2', [32, 16], 2)],
    nodes: [
      makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'first' }),
      makeNode('Sigmoid', ['h'], ['s']),
      makeNode('MatMul', ['s', 'w2'], ['y'], {}, { name: 'second' }),
    ],
  }),
  context: testContext({ calibration: vectors }),
});

const steps = [1, 2].map((seed) => ({ x: floats(noise(seed, 3 * 2 * 8), [3, 2, 8]) }));
const lstm: Fixture = async () => ({
  model: makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['T', 'N', 8])],
    outputs: [makeValue('y', 'float32')],
    initializers: [weight('w', [1, 16, 8], 1), weight('r', [1, 16, 4], 2)],
    nodes: [makeNode('LSTM', ['x', 'w', 'r'], ['y'], { hidden_size: 4 }, { name: 'lstm' })],
  }),
  context: testContext({ calibration: steps }),
});

const calibrated = (method: string, more: object = {}) => ({ with: { calibration: { method, ...more } } });
const per_channel: Effect = [true, false];
const bits: Effect = [8, 4];

const tables: Record<string, PassTable> = {
  'quantize/static': {
    base: {},
    on: net,
    options: {
      bits_weights: bits,
      bits_activations: bits,
      per_channel,
      weights_symmetric: [true, false],
      weight_scales: ['minmax', 'mse', { with: { bits_weights: 4 } }],
      recurrent: ['folded', 'packed', { on: lstm }],
      'calibration.method': ['minmax', 'mse'],
      'calibration.samples': [8, 16],
      'calibration.elements': 'quantize.md: changes nothing where a value has fewer',
      'calibration.num_bins': [128, 2048, calibrated('mse')],
      'calibration.num_quantized_bins': [16, 128, calibrated('entropy')],
      'calibration.percentile': [99, 90, calibrated('percentile')],
      'calibration.symmetric': [true, false, calibrated('percentile', { percentile: 95 })],
      'calibration.averaging_constant': [0.01, 0.5, calibrated('moving_average_minmax')],
      'calibration.average_per': ['sample', 'batch', calibrated('average_minmax')],
      'calibration.p': [1, 4, calibrated('lp')],
      'calibration.n_stds': [1, 2, calibrated('n_std')],
      'calibration.memory_limit': 'quantize.md: and changes nothing else',
      'overrides.*.bits_weights': bits,
      'overrides.*.bits_activations': bits,
      'overrides.*.per_channel': per_channel,
    },
  },
  'quantize/dynamic': {
    base: {},
    on: dense,
    options: {
      bits_weights: bits,
      recurrent: ['folded', 'packed', { on: lstm }],
      per_channel,
      method: ['rtn', 'gptq'],
      samples: [4, 8, { with: { method: 'gptq', bits_weights: 4 } }],
      'overrides.*.bits_weights': bits,
      'overrides.*.per_channel': per_channel,
    },
  },
  'quantize/weights_only': {
    base: { bits_weights: 4 },
    on: dense,
    options: {
      bits_weights: bits,
      block_size: [null, 16],
      weights_symmetric: [true, false],
      zero_points: ['integer', 'float', { with: { method: 'hqq', weights_symmetric: false } }],
      method: ['rtn', 'mse'],
      lp_norm: [0.7, 2, { with: { method: 'hqq' } }],
      samples: [4, 8, { with: { method: 'gptq' } }],
      damping: [0.01, 1, { with: { method: 'gptq' } }],
      order: ['activation', 'natural', { with: { method: 'gptq' } }],
      storage: ['standard', 'folded'],
      accuracy_level: [0, 4, { with: { storage: 'packed', block_size: 16 } }],
      'overrides.*.bits_weights': bits,
    },
  },
  'quantize/to_format': {
    base: { format: 'int4' },
    on: net,
    options: {
      format: ['int4', 'nf4'],
      activations: [null, 'int8'],
      'sharing.group': [4, 8],
      importance: ['none', 'inputs'],
      rounding: ['nearest', 'gptq'],
      refit: [false, true, { with: { rounding: 'descent' } }],
      storage: ['codes', 'onnx', { with: { format: 'fp8_e4m3' } }],
      damping: [0.01, 10, { with: { rounding: 'gptq' } }],
      order: ['activation', 'natural', { with: { rounding: 'gptq' } }],
      samples: [8, 16, { with: { rounding: 'gptq' } }],
      'overrides.*.format': ['int4', 'nf4'],
      'overrides.*.bits_weights': [undefined, 'float'],
      'overrides.*.activations': [null, 'int8'],
      'overrides.*.sharing.group': [4, 8],
    },
  },
  'quantize/float16': {
    base: {},
    on: net,
    options: { min_elements: [16, 100], 'overrides.*.bits_weights': [16, 'float'] },
  },
};

describe('every option of quantizers changes what they make', () => everyOption(/^quantize\//, tables));
