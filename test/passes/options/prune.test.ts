import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { splicingPruner } from '../../../src/passes/prune/splicing.ts';
import { everyOption, type Effect, type Fixture } from './table.ts';

const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 4 * 192), [4, 3, 8, 8]) }));
const net: Fixture = async () => ({ model: smallConvNet(), context: testContext({ calibration }) });
/** In the midst of a policy of ten epochs. */
const midway: Fixture = async () => ({
  model: smallConvNet(),
  context: testContext({ calibration, clock: { epoch: 4, start: 0, end: 10, frequency: 1 } }),
});

/** Pruned once by higher thresholds, so that zeros may come back. */
const grown: Fixture = async () => {
  const { context } = await midway();
  const splicing = { sensitivities: { '*': 0.5 }, low_thresh_mult: 1, hi_thresh_mult: 1, sensitivity_multiplier: 0 };
  const { model } = await splicingPruner.apply(smallConvNet(), splicing, context);
  return { model, context };
};

const weights: Effect = [['*'], ['conv1.weight']];
const levels: Effect = [{ '*': 0.5 }, { '*': 0.7 }];
const calibrated = {
  samples: [4, 8],
  damping: [0.01, 1],
  refit: [true, false],
} as const;

describe('every option of pruners of single weights changes what they make', () => {
  everyOption(/^prune\/[^/]*$/, {
    'prune/level': { base: {}, on: net, options: { levels } },
    'prune/magnitude': { base: {}, on: net, options: { thresholds: levels } },
    'prune/sensitivity': { base: {}, on: net, options: { sensitivities: levels } },
    'prune/agp': {
      base: { initial_sparsity: 0.1, final_sparsity: 0.8, weights: ['*'] },
      on: midway,
      options: { initial_sparsity: [0.1, 0.5], final_sparsity: [0.6, 0.8], weights },
    },
    'prune/splicing': {
      base: { sensitivities: { '*': 0.5 }, low_thresh_mult: 0.6, hi_thresh_mult: 1 },
      on: midway,
      options: {
        sensitivities: levels,
        low_thresh_mult: [0.4, 0.8],
        hi_thresh_mult: [0.9, 1.1, { on: grown }],
        sensitivity_multiplier: [0, 0.5],
      },
    },
    'prune/baidu_rnn': {
      base: { q: 0.2, ramp_epoch_offset: 2, weights: ['*'] },
      on: midway,
      options: { q: [0.2, 0.3], ramp_epoch_offset: [1, 3], ramp_slope_mult: [1.5, 3], weights },
    },
    'prune/n_m': { base: {}, on: net, options: { patterns: [{ '*': '2:4' }, { '*': '1:4' }] } },
    'prune/wanda': {
      base: { levels: { '*': 0.5 } },
      on: net,
      options: { levels, scope: ['layer', 'row'], ...calibrated },
    },
    'prune/sparsegpt': {
      base: { levels: { '*': 0.5 } },
      on: net,
      options: { levels, scope: ['layer', 'row'], block: [4, 128], ...calibrated },
    },
    'prune/global': {
      base: { sparsity: 0.5, weights: ['*'] },
      on: net,
      options: { sparsity: [0.5, 0.7], weights, criterion: ['obs', 'wanda'], ...calibrated },
    },
  });
});
