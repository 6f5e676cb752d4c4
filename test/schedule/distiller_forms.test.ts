import type { LayerFact } from '../../src/graph/names.ts';
import { passes } from '../../src/passes/index.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { ParsedSchedule } from '../../src/schedule/types.ts';

const parse = (text: string): ParsedSchedule =>
  parseSchedule(text, 's.yaml', { passes, metrics: [{ name: 'top1' }], training: false });

/** One instance with its policy. */
function schedule(section: string, lines: readonly string[], args = ''): ParsedSchedule {
  const key = section.slice(0, -1);
  const own = lines.map((line) => `    ${line}\n`).join('');
  return parse(
    `${section}:\n  it:\n${own}policies:\n  - ${key}:\n      instance_name : it\n${args}    starting_epoch: 0\n    ending_epoch: 4\n    frequency: 1\n`,
  );
}
const options = (section: string, lines: readonly string[]): unknown => schedule(section, lines).stages[0]?.options;

describe("forms that Distiller's files have", () => {
  it('a list that closes at the column of its key', () => {
    const lines = ['class: AutomatedGradualPruner', 'initial_sparsity : 0.05', 'final_sparsity: 0.7', 'weights: [', 'module.conv1.weight,', 'module.fc.weight', ']']; // prettier-ignore
    expect(options('pruners', lines)).toMatchObject({ weights: ['module.conv1.weight', 'module.fc.weight'] });
  });

  it.each([
    ['AutomatedGradualPruner', 'initial_sparsity: 0.1, final_sparsity: 0.5'],
    ['BaiduRNNPruner', 'q: 0.1, ramp_epoch_offset: 1'],
    ['L1RankedStructureParameterPruner', 'desired_sparsity: 0.5'],
    ['ActivationAPoZRankedFilterPruner_AGP', 'initial_sparsity: 0.1, final_sparsity: 0.5'],
    ['RandomLevelStructureParameterPruner', 'sparsity_range: [0.1, 0.2]'],
    ['FMReconstructionChannelPruner', 'desired_sparsity: 0.5'],
  ])('%s with one name instead of a list of them', (name, rest) => {
    const { stages, groups } = schedule('pruners', [
      `{ class: ${name}, ${rest}, group_type: Filters, weights: module.fc.weight }`
        .replace(/group_type: Filters, /, /Baidu|Gradual/.test(name) ? '' : name.startsWith('FM') ? 'group_type: Channels, ' : '$&'), // prettier-ignore
    ]);
    expect(stages[0]?.options).toMatchObject({ weights: ['module.fc.weight'] });
    expect(groups[0]?.selectors.map(({ pattern }) => pattern)).toEqual(['module.fc.weight']);
  });

  // Every argument that the constructors of Distiller's classes take, beyond those in examples/distiller.
  it.each([
    ['pruners', 'L2RankedStructureParameterPruner', 'desired_sparsity: 0.5, group_type: Rows, weights: [fc], group_dependency: null, kwargs: null, magnitude_fn: null, noise: 0.1, group_size: 2, rounding_fn: math.ceil'], // prettier-ignore
    ['pruners', 'L1RankedStructureParameterPruner_AGP', 'initial_sparsity: 0.05, final_sparsity: 0.7, group_type: Blocks, kwargs: { block_shape: [1, 8, 1, 1] }, weights: [conv]'], // prettier-ignore
    ['pruners', 'FMReconstructionChannelPruner', 'desired_sparsity: 0.5, group_type: Channels, weights: [c], group_dependency: null, kwargs: null, magnitude_fn: l1_norm, group_size: 2, rounding_fn: math.floor, ranking_noise: 0.1'], // prettier-ignore
    ['pruners', 'RandomLevelStructureParameterPruner', 'group_type: 3D, sparsity_range: [0.1, 0.2], weights: [c], group_dependency: Leader, kwargs: null'], // prettier-ignore
    ['pruners', 'SplicingPruner', "sensitivities: { '*': 0.5 }, low_thresh_mult: 0.9, hi_thresh_mult: 1.1, sensitivity_multiplier: 0.005"], // prettier-ignore
    ['pruners', 'GradientRankedFilterPruner_AGP', 'initial_sparsity: 0.05, final_sparsity: 0.5, group_type: Filters, weights: c.weight'], // prettier-ignore
    ['extensions', 'ChannelRemover', 'thinning_func_str: remove_channels, arch: resnet20_cifar, dataset: cifar10'],
    ['regularizers', 'GroupLassoRegularizer', "reg_regims: { a: [0.1, 'Rows+Cols'], b: [0.1, '4D+Channels'] }, threshold_criteria: Max"], // prettier-ignore
    ['regularizers', 'L1Regularizer', 'reg_regims: { a: 0.1 }, threshold_criteria: null'],
    ['quantizers', 'PostTrainLinearQuantizer', "bits_activations: 8, bits_parameters: 8, bits_accum: 32, mode: { activations: ASYMMETRIC_UNSIGNED, weights: SYMMETRIC }, clip_acts: None, per_channel_wts: False, model_activation_stats: ../stats.yaml, fp16: False, clip_n_stds: null, clip_half_range: False, scale_approx_mult_bits: null, inputs_quant_auto_fallback: True, fpq_module: null, save_fp_weights: False, also_clip_weights: False, overrides: { conv1: { fpq_module: 32, fake: True, input_overrides: { 0: { from_output: True } } } }"], // prettier-ignore
    ['quantizers', 'QuantAwareTrainRangeLinearQuantizer', 'bits_activations: 8, bits_weights: 8, bits_bias: 32, mode: SYMMETRIC, ema_decay: 0.999, per_channel_wts: True, quantize_inputs: True, num_bits_inputs: 8'], // prettier-ignore
    ['quantizers', 'NCFQuantAwareTrainQuantizer', 'bits_activations: 8, bits_weights: 8, bits_bias: 32, mode: SYMMETRIC, ema_decay: 0.999, per_channel_wts: True, overrides: { fc: { bits_bias: null } }'], // prettier-ignore
    [
      'quantizers',
      'PACTQuantizer',
      'bits_activations: 4, bits_weights: 3, act_clip_init_val: 8.0, act_clip_decay: null',
    ],
    ['lr_schedulers', 'PolynomialLR', 'T_max: 10, power: 2'],
  ])('in %s, %s takes all its arguments', (section, name, rest) => {
    // `magnitude_fn` is no argument of the L1 and L2 classes, which set it.
    const { stages, waiting } = schedule(section, [`{ class: ${name}, ${rest.replace(' magnitude_fn: null,', '')} }`]);
    expect(stages.length + waiting.length).toBeGreaterThan(0);
  });

  it.each([
    ['desired_sparsity: 0.5, group_type: Blocks, weights: [c]', 'kwargs: is missing: { block_shape:'],
    ['desired_sparsity: 0.5, kwargs: { block_shape: [1, 8, 1, 1] }, weights: [c]', 'kwargs: only group_type Blocks'],
    ['desired_sparsity: 0.5, group_type: Blocks, kwargs: { block_shape: [1, 8, 3, 1] }, weights: [c]', 'kwargs.block_shape.2: expected 1, got 3'], // prettier-ignore
    ['desired_sparsity: 0.5, group_type: Blocks, kwargs: { block_shape: [1, 8, 1, 1] }, noise: 0.1, weights: [c]', 'noise: means nothing for Blocks'], // prettier-ignore
  ])('blocks of weights: %s is refused with its reason', (rest, message) => {
    expect(() => schedule('pruners', [`{ class: L1RankedStructureParameterPruner, ${rest} }`])).toThrow(message);
  });

  it('blocks are ranked by a norm only', () => {
    const rest = 'desired_sparsity: 0.5, group_type: Blocks, kwargs: { block_shape: [1, 8, 1, 1] }, weights: [c]';
    expect(() => schedule('pruners', [`{ class: RandomRankedFilterPruner, ${rest} }`])).toThrow(
      'group_type: RandomRankedFilterPruner ranks no Blocks',
    );
  });

  it('arguments of a policy are options of a class that waits too, and are checked as those', () => {
    const lines = ['{ class: StepLR, step_size: 45 }'];
    expect(schedule('lr_schedulers', lines, '      args: { gamma: 0.1 }\n').waiting).toHaveLength(1);
    expect(() => schedule('lr_schedulers', lines, '      args: { gama: 0.1 }\n')).toThrow(
      'policies.0.lr_scheduler.args.gama: unknown key (did you mean "gamma"?)',
    );
  });

  it('the layers of a recurrent module are its nodes, one after the other', () => {
    const lstm = (node: string, index: number): LayerFact => ({
      node, index, opType: 'LSTM', module: 'rnn', weights: [`${node}_W`, `${node}_R`],
    }); // prettier-ignore
    const layers = [lstm('/rnn/LSTM', 1), lstm('/rnn/LSTM_1', 3)];
    const lines = ['class: AutomatedGradualPruner', 'initial_sparsity: 0', 'final_sparsity: 0.5', 'weights: [module.rnn.weight_ih_l0, rnn.weight_hh_l1]']; // prettier-ignore
    expect(bindSchedule(schedule('pruners', lines), { layers }).notes).toEqual([
      'module.rnn.weight_ih_l0 is /rnn/LSTM_W of /rnn/LSTM',
      'rnn.weight_hh_l1 is /rnn/LSTM_1_R of /rnn/LSTM_1',
    ]);
  });

  it('a part of a network that runs in parallel has its prefix inside the name', () => {
    const layers = [{ node: '/features/features.3/Conv', index: 0, opType: 'Conv', module: 'features.3', weights: ['onnx::Conv_20'] }]; // prettier-ignore
    const lines = ['class: SensitivityPruner', "sensitivities: { 'features.module.3.weight': 0.35 }"];
    expect(bindSchedule(schedule('pruners', lines), { layers }).notes).toEqual([
      'features.module.3.weight is onnx::Conv_20 of /features/features.3/Conv',
    ]);
  });
});
