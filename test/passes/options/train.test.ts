import { levelPruner } from '../../../src/passes/prune/level.ts';
import { encodeModel } from '../../../src/graph/model.ts';
import { earlyExit } from '../../../src/passes/train/early_exit.ts';
import { trainingEpoch } from '../../../src/passes/train/epoch.ts';
import { trainingSchema } from '../../../src/passes/train/options.ts';
import { learningKinds } from '../../../src/passes/train/surrogate/index.ts';
import type { LearningOptions } from '../../../src/passes/train/surrogate/kind.ts';
import type { Model } from '../../../src/graph/model.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { lessons } from '../train/lessons.ts';
import { everyOption, type Fixture, type PassTable } from './table.ts';

const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
const pruned: Fixture = async () => {
  const reference = smallConvNet();
  const context = testContext({ calibration, reference });
  return { model: (await levelPruner.apply(reference, { levels: { '*': 0.5 } }, context)).model, context };
};

let kept: Promise<{ readonly model: Model; readonly twin: Model }> | undefined;
async function quantized(): Promise<{ readonly model: Model; readonly twin: Model }> {
  const reference = smallConvNet();
  const options = staticQuantizer.options.parse({ bits_weights: 3, bits_activations: 4 });
  const { model, twin } = await staticQuantizer.apply(reference, options, testContext({ calibration, reference }));
  return { model, twin: twin as Model };
}
/** At 3 bits, activations at 4. */
const rounded: Fixture = async () => {
  const { model, twin } = await (kept ??= quantized());
  return { model, context: testContext({ calibration, reference: smallConvNet(), twin }) };
};

/** Filters of two layers and a loss by labels. */
const ranked: Fixture = async () => {
  const training = lessons(calibration, calibration.map((_, i) => Array.from({ length: 8 }, (__, k) => (i + k * k) % 5))); // prettier-ignore
  const clock = { epoch: 4, start: 0, end: 10, frequency: 1 };
  const reference = smallConvNet();
  return { model: reference, context: testContext({ calibration, reference, training, clock }) };
};
/** The same within an epoch of training. */
const growing: Fixture = async () => {
  const { model, context } = await ranked();
  const lesson = { step: 0, passing: false, gradients: () => { throw new Error('not asked for'); } }; // prettier-ignore
  return { model, context: Object.defineProperties(context, { lesson: { value: lesson, enumerable: true } }) };
};
const rankedOptions: PassTable['options'] = {
  weights: [['conv1.weight'], ['conv2.weight']],
  criterion: ['signed', 'taylor'],
  samples: 'structure.md: `samples` (512) whole batches are gone through',
  group_size: [1, 2],
  rounding_fn: ['floor', 'ceil'],
  group_dependency: [undefined, 'Leader', { with: { weights: ['conv1.weight', 'conv2.weight'] } }],
  group_type: ['Filters', 'Channels'],
  noise: [0, 3],
  seed: [0, 1, { with: { noise: 3 } }],
  'kwargs.block_shape':
    'structure.md: for L1 and L2 also Blocks, whose `kwargs: { block_shape: [filters, channels, 1, 1] }`',
};

describe('every option of training changes what it makes', () => {
  everyOption(/^train\/(?!surrogate)/, {
    'train/finetune': {
      base: { epochs: 1 },
      on: pruned,
      options: { epochs: [1, 2], lr: [0.001, 0.002], samples: [8, 16], keep_zeros: [true, false] },
    },
    'train/early_exit': {
      base: { exits: [{ at: 'relu1' }] },
      on: growing,
      options: { exits: [[{ at: 'relu1' }], [{ at: 'conv2' }]], seed: [0, 1] },
    },
    'train/block_reconstruction': {
      base: { steps: 20, lr: 0.2, batch_size: 8 },
      on: rounded,
      options: {
        blocks: ['auto', 'layer'],
        max_layers: [5, 1],
        samples: [8, 16],
        steps: [20, 30],
        batch_size: [8, 4],
        lr: [0.2, 0.1],
        lambda: [0.01, 1],
        beta_start: [20, 4],
        beta_end: [2, 10],
        warmup: [0.2, 0.9],
        drop: [0, 0.5],
        trust: [0, 1],
        bias: [true, false],
        activation_steps: [true, false],
        memory: [512, 0.02],
        seed: [0, 1],
      },
    },
    'train/gradient_ranked': {
      base: { desired_sparsity: 0.4, weights: ['conv1.weight'] },
      on: ranked,
      options: { ...rankedOptions, desired_sparsity: [0.4, 0.7] },
    },
    'train/gradient_ranked_agp': {
      base: { initial_sparsity: 0.1, final_sparsity: 0.55, weights: ['conv1.weight'] },
      on: ranked,
      options: { ...rankedOptions, initial_sparsity: [0.1, 0.5], final_sparsity: [0.5, 0.9] },
    },
  });
});

describe('every option of an exit changes what is made', () => {
  it.each([
    ['at', 'conv2'],
    ['weight', 0.2],
    ['threshold', 0.1],
    ['grid', 2],
  ])('%s', async (name, value) => {
    const made = async (more: object) => {
      const { model, context } = await growing();
      return encodeModel((await earlyExit.apply(model, earlyExit.options.parse({ exits: [{ at: 'relu1', ...more }] }), context)).model); // prettier-ignore
    };
    expect(await made({ [name]: value })).not.toEqual(await made({}));
  });
});

const learned: PassTable['options'] = {
  bits_weights: [3, 4],
  bits_activations: [4, 5],
  bits_bias: 'qat.md: biases are stored in units of input scale · weight scale',
  'overrides.*.bits_weights': [3, 5],
  'overrides.*.bits_activations': [4, 5],
  'overrides.*.bits_bias': 'qat.md: biases are stored in units of input scale · weight scale',
};
const base = { bits_weights: 4, bits_activations: 4 };
/** Of methods whose levels no integer kernel takes. */
const stepless = {
  bits_activations: 'qat.md: the run is refused before any step',
  'overrides.*.bits_activations': 'qat.md: the run is refused before any step',
};

describe('every option of a quantizer that learns changes what it makes', () => {
  everyOption(
    /^train\/surrogate\//,
    {
      'train/surrogate/range_linear': {
        base,
        on: ranked,
        options: {
          ...learned,
          'mode.weights': 'qat.md: symmetric in the range that int8 holds (its SYMMETRIC_RESTRICTED)',
          'mode.activations': 'qat.md: activations unsigned with a zero point',
          ema_decay: [0.5, 0.9],
          per_channel_wts: [false, true],
          quantize_inputs: 'qat.md: `quantize_inputs` and `num_bits_inputs` change nothing',
          num_bits_inputs: 'qat.md: `quantize_inputs` and `num_bits_inputs` change nothing',
        },
      },
      'train/surrogate/dorefa': { base, on: ranked, options: learned },
      'train/surrogate/wrpn': { base, on: ranked, options: learned },
      'train/surrogate/pact': {
        base,
        on: ranked,
        options: { ...learned, act_clip_init_val: [1, 2], act_clip_decay: [0, 1] },
      },
      'train/surrogate/lsq': { base, on: ranked, options: learned },
      'train/surrogate/format': {
        base: { format: 'ternary', bits_activations: 4 },
        on: ranked,
        options: {
          ...learned,
          bits_weights: [null, undefined],
          format: ['ternary', 'int4'],
          'sharing.group': [2, 4, { with: { bits_activations: undefined } }],
          activations: ['learned_step', 'range'],
        },
      },
      'train/surrogate/ttq': { base: { bits_weights: 2 }, on: ranked, options: { ...learned, ...stepless, bits_weights: [2, 4], threshold: [0.05, 0.5] } }, // prettier-ignore
      'train/surrogate/inq': {
        base: { bits_weights: 4 },
        on: ranked,
        options: { ...learned, portions: 'qat.md: at evenly spaced epochs' },
      },
      'train/surrogate/codebook': {
        base: { bits_weights: 3 },
        on: ranked,
        options: {
          ...learned,
          ...stepless,
          bits_weights: [2, 3],
          start: ['linear', 'density'],
          seed: [0, 1, { with: { start: 'random' } }],
        },
      },
      'train/surrogate/binary_connect': { base: { bits_weights: 1, bits_activations: 4 }, on: ranked, options: { ...learned, bits_weights: [1, 4] } }, // prettier-ignore
      'train/surrogate/xnor': { base: { bits_weights: 1, bits_activations: 4 }, on: ranked, options: { ...learned, bits_weights: [1, 4] } }, // prettier-ignore
      'train/surrogate/lsq_plus': { base, on: ranked, options: learned },
      'train/surrogate/xnor_plus_plus': { base: { bits_weights: 1, bits_activations: 4 }, on: ranked, options: { ...learned, bits_weights: [1, 4] } }, // prettier-ignore
      'train/surrogate/recu': {
        base: { bits_weights: 1, bits_activations: 4 },
        on: ranked,
        options: { ...learned, bits_weights: [1, 4], tau_start: [0.6, 0.9], tau_end: 'qat.md: A eᵗ + B' },
      },
      'train/surrogate/bi_real': { base: { bits_weights: 1, bits_activations: 4 }, on: ranked, options: { ...learned, bits_weights: [1, 4] } }, // prettier-ignore
    },
    (pass, model, options, context) => {
      const kind = learningKinds.find(({ name }) => name === pass.name)!;
      const learner = { instance: 'q', kind, options: options as LearningOptions, last: true, done: 0 };
      const training = trainingSchema.parse({ batch_size: 8, optimizer: { name: 'sgd', lr: 0.05 } });
      return trainingEpoch.apply(model, { training, epoch: 0, epochs: 1, policies: [], regularizers: [], learner, rate: undefined }, context); // prettier-ignore
    },
  );
});
