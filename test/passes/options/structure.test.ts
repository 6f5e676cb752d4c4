import { testContext } from '../../helpers/context.ts';
import { repr } from '../../../src/passes/prune/structure/repr.ts';
import { images, redundantNet, residualNet } from '../prune/structure/networks.ts';
import { everyOption, type Effect, type Fixture, type PassTable } from './table.ts';

const calibration = images(4);
const context = () => testContext({ calibration, clock: { epoch: 4, start: 0, end: 10, frequency: 1 } });
const net: Fixture = async () => ({ model: redundantNet(), context: context() });
const blocksNet: Fixture = async () => ({ model: residualNet(), context: context() });

const training = { lesson: { step: 0, passing: false, gradients: async function* () {} } };
const trained: Fixture = async () => ({ model: redundantNet(), context: { ...testContext({ calibration, reference: redundantNet(), ...training }), clock: { epoch: 4, start: 0, end: 10, frequency: 1 } } }); // prettier-ignore
/** Filters were dropped in an epoch before, and may come back. */
const withDropped: Fixture = async () => {
  const { model, context: before } = await trained();
  const dropped = await repr.apply(model, repr.options.parse({ weights: ['a.weight', 'h.weight'], s1: 4 }), before);
  return { model: dropped.model, context: before };
};

const budget: Readonly<Record<string, Effect>> = {
  'budget.macs': [0.6, 0.8, { with: { budget: {} } }],
  'budget.parameters': [0.6, 0.8, { with: { budget: {} } }],
  'budget.bytes': [0.6, 0.8, { with: { budget: {} } }],
  'budget.energy': [0.6, 0.8, { with: { budget: {} } }],
};
/** Layers `a` and `h`: their channels are theirs alone. */
const weights: Effect = [['a.weight', 'h.weight'], ['a.weight']];
const rounded: Readonly<Record<string, Effect>> = {
  weights,
  group_size: [1, 3],
  rounding_fn: ['floor', 'ceil'],
};
const sparsity: Effect = [0.3, 0.6];

/** Both forms of a ranked pruner of Distiller's. */
function ranked(name: string, options: Readonly<Record<string, Effect>>): Record<string, PassTable> {
  const base = { weights: ['a.weight', 'b.weight'] };
  const shared = {
    ...rounded,
    group_dependency: [undefined, 'Leader', { with: { weights: ['stem.weight', 'b.weight'], seed: 5 } }],
    group_type: ['Filters', 'Channels'],
    noise: [0, 3],
    seed: [0, 1, { with: { noise: 3 } }],
    ...options,
  } as const;
  const ramp: Readonly<Record<string, Effect>> = { initial_sparsity: [0.1, 0.5], final_sparsity: [0.5, 0.9] };
  return {
    [name]: { base: { ...base, desired_sparsity: 0.45 }, on: net, options: { ...shared, desired_sparsity: sparsity } },
    [`${name}_agp`]: {
      base: { ...base, initial_sparsity: 0.1, final_sparsity: 0.55 },
      on: net,
      options: { ...shared, ...ramp },
    },
  };
}
const blocks: Readonly<Record<string, Effect>> = {
  'kwargs.block_shape': [[2, 1, 1, 1], [2, 2, 1, 1], { with: { group_type: 'Blocks', kwargs: {} } }],
};
const noBlocks: Readonly<Record<string, Effect>> = {
  'kwargs.block_shape':
    'structure.md: for L1 and L2 also Blocks, whose `kwargs: { block_shape: [filters, channels, 1, 1] }`',
};
const synonyms = 'structure.md: it changes nothing which of them is written';
const drawn = 'structure.md: its `group_size`, `rounding_fn` and `noise` say nothing';

const reconstructing: Readonly<Record<string, Effect>> = {
  ...rounded,
  group_type: synonyms,
  group_dependency: 'structure.md: stand there as `null` only',
  kwargs: 'structure.md: stand there as `null` only',
  magnitude_fn: ['l1', 'l2'],
  ranking_noise: [0, 3],
  seed: [0, 1, { with: { ranking_noise: 3 } }],
  samples: [8, 32],
  ridge: [0.001, 1],
};

/** The names that Distiller needs to rebuild its network. */
const names = 'structure.md: the graph says what they say';
const named: PassTable = { base: {}, on: net, options: { thinning_func_str: names, arch: names, dataset: names } };

describe('every option of structured pruners changes what they make', () => {
  everyOption(/^prune\/structure\//, {
    'prune/structure/channel_pruner': {
      base: { budget: { macs: 0.7 } },
      on: net,
      options: {
        ...budget,
        levels: [{ '*': 0.3 }, { '*': 0.6 }, { with: { budget: undefined } }],
        weights,
        criterion: ['reconstruction', 'l1'],
        allocation: ['measured', 'uniform'],
        residual: [true, false],
        reconstruct: [true, false],
        multiple: [1, 4],
        samples: [8, 32],
        ridge: [0.001, 1],
        seed: [0, 1, { with: { criterion: 'random' } }],
      },
    },
    'prune/structure/block_pruner': {
      base: { budget: { macs: 0.7 } },
      on: blocksNet,
      options: { ...budget, reconstruct: [true, false], samples: [8, 32], ridge: [0.001, 1] },
    },
    ...ranked('prune/structure/l1_ranked', blocks),
    ...ranked('prune/structure/l2_ranked', blocks),
    ...ranked('prune/structure/activation_apoz', { ...noBlocks, group_type: synonyms }),
    ...ranked('prune/structure/activation_mean', { ...noBlocks, group_type: synonyms }),
    ...ranked('prune/structure/random_ranked', { ...noBlocks, seed: [0, 1] }),
    ...ranked('prune/structure/bernoulli', {
      ...noBlocks,
      seed: [0, 1],
      group_size: drawn,
      rounding_fn: drawn,
      noise: drawn,
    }),
    'prune/structure/repr': {
      base: { weights: ['a.weight', 'h.weight'], s1: 4 },
      on: trained,
      options: {
        weights,
        share: sparsity,
        s1: [4, 20],
        s2: [1, 10, { with: { s1: 3 } }],
        cycles: [1, 2, { with: { s1: 1, s2: 2 } }],
        readers: [true, false, { on: withDropped, with: { s1: 20 } }],
        seed: [0, 1, { on: withDropped, with: { s1: 20 } }],
      },
    },
    'prune/structure/random_level': {
      base: { sparsity_range: [0.2, 0.8], weights: ['stem.weight', 'b.weight'] },
      on: net,
      options: {
        group_type: ['Filters', 'Channels'],
        sparsity_range: [
          [0.2, 0.8],
          [0.5, 0.9],
        ],
        weights,
        group_dependency: [undefined, 'Leader'],
        kwargs: 'structure.md: stand there as `null` only',
        seed: [0, 1],
      },
    },
    'prune/structure/fm_reconstruction': {
      base: { weights: ['a.weight', 'fc.weight'], desired_sparsity: 0.45 },
      on: net,
      options: { ...reconstructing, desired_sparsity: sparsity },
    },
    'prune/structure/fm_reconstruction_agp': {
      base: { weights: ['a.weight', 'fc.weight'], initial_sparsity: 0.1, final_sparsity: 0.55 },
      on: net,
      options: { ...reconstructing, initial_sparsity: [0.1, 0.5], final_sparsity: [0.5, 0.9] },
    },
    'prune/structure/filter_remover': named,
    'prune/structure/channel_remover': named,
    'prune/structure/structure_remover': named,
  });
});
