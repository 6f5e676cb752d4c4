import type { Model } from '../../../src/graph/model.ts';
import { levelPruner } from '../../../src/passes/prune/level.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { normalizedNet } from './networks.ts';
import { everyOption, type Effect, type Fixture } from './table.ts';

const images = (shift: number) =>
  [1, 2].map((seed) => ({
    x: floats(
      noise(seed, 8 * 192).map((v) => v + shift),
      [8, 3, 8, 8],
    ),
  }));
const calibration = images(0);
const float: Fixture = async () => ({ model: smallConvNet(), context: testContext({ calibration }) });
const pruned: Fixture = async () => {
  const reference = smallConvNet();
  const context = testContext({ calibration, reference });
  return { model: (await levelPruner.apply(reference, { levels: { '*': 0.5 } }, context)).model, context };
};

let kept: Promise<{ readonly model: Model; readonly twin: Model }> | undefined;
async function quantized(): Promise<{ readonly model: Model; readonly twin: Model }> {
  const reference = smallConvNet();
  const options = staticQuantizer.options.parse({ bits_weights: 4 });
  const { model, twin } = await staticQuantizer.apply(reference, options, testContext({ calibration, reference }));
  return { model, twin: twin as Model };
}
/** At 4 bits. */
const rounded: Fixture = async () => {
  const { model, twin } = await (kept ??= quantized());
  return { model, context: testContext({ calibration, reference: smallConvNet(), twin }) };
};

const samples: Effect = [8, 16];
const damping: Effect = [0.01, 1];
/** AdaRound's own relaxation alone, without its search being able to win. */
const learned = { with: { iterations: 60, regularization: 1, rate: 0.03, paths: 1, scales: 0 } };

describe('every option of recovery changes what it makes', () => {
  everyOption(/^recover\//, {
    'recover/equalize': {
      base: {},
      on: float,
      options: {
        method: ['noise', 'range'],
        samples,
        headroom: [1.2, 3, { on: normalizedNet('Clip') }],
        bits_weights: [8, 4],
        bits_activations: [8, 4],
      },
    },
    'recover/absorb_bias': { base: {}, on: normalizedNet('shifted'), options: { samples } },
    'recover/migrate': {
      base: { alpha: 'auto' },
      on: normalizedNet('uneven'),
      options: { alpha: [0.5, 0.8], bits_weights: [8, 2], bits_activations: [8, 2], insert: [true, false], samples },
    },
    'recover/awq': {
      base: {},
      on: normalizedNet('uneven'),
      options: {
        bits_weights: [4, 2],
        block_size: [4, null],
        weights_symmetric: [false, true],
        insert: [true, false],
        samples,
      },
    },
    'recover/feature_quantization': {
      base: { resolution: 3 },
      on: float,
      options: {
        layers: [['*'], ['conv1']],
        resolution: [3, 5],
        nearest: [false, true],
        exponent: [0.8, 1.2],
        unit: ['rms', 'one'],
        after: ['layer', 'activation'],
        samples,
      },
    },
    'recover/bias_correction': { base: {}, on: rounded, options: { method: ['empirical', 'analytic'], samples } },
    'recover/weight_scale': {
      base: {},
      on: rounded,
      options: { samples, steps: [24, 4], rounding: ['nearest', 'descent'], damping },
    },
    'recover/gptq': {
      base: {},
      on: rounded,
      options: { samples, damping, order: ['natural', 'activation'], bias: [true, false] },
    },
    'recover/adaround': {
      base: {},
      on: rounded,
      options: {
        samples,
        iterations: [0, 60, learned],
        rate: [0.01, 0.1, learned],
        regularization: [0.01, 10, learned],
        beta_start: [20, 4, learned],
        beta_end: [2, 10, learned],
        warmup: [0.2, 0.9, learned],
        damping,
        scales: [10, 0],
        paths: [4, 1],
        residual: [true, false],
        bias: [true, false],
      },
    },
    'recover/reestimate': { base: {}, on: pruned, options: { layers: [['*'], ['conv1']], samples } },
  });
});
