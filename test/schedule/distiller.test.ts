import { readFileSync, readdirSync } from 'node:fs';
import { modulePath } from '../../src/graph/module_path.ts';
import { resolveNames, type LayerFact } from '../../src/graph/names.ts';
import { passes } from '../../src/passes/index.ts';
import { lrKinds } from '../../src/passes/train/lr/index.ts';
import { regularizerKinds } from '../../src/passes/train/regularize/index.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { missingClasses } from '../../src/schedule/distiller.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { Schedule } from '../../src/schedule/types.ts';

const folder = new URL('../../examples/distiller/', import.meta.url);
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml'))
  .sort();

/** A ResNet for CIFAR-10 of 6n+2 layers as PyTorch exports it with batch-norm folded (its shortcuts have no weights). */
function resnet(blocks: number): LayerFact[] {
  const nodes = ['/conv1/Conv', '/Relu'];
  for (const layer of [1, 2, 3])
    for (let block = 0; block < blocks; block++)
      for (const part of ['conv1/Conv', 'Relu', 'conv2/Conv', 'Add', 'Relu_1'])
        nodes.push(`/layer${layer}/layer${layer}.${block}/${part}`);
  nodes.push('/GlobalAveragePool', '/Flatten', '/linear/Gemm');
  return nodes.map((node, index) => {
    const opType = node.replace(/.*\//, '').replace(/_\d+$/, '');
    const weights = opType === 'Conv' ? [`onnx::Conv_${274 + 3 * index}`] : opType === 'Gemm' ? ['linear.weight'] : [];
    return { node, opType, weights, module: modulePath(node), index };
  });
}

/** Two recurrent layers with the names of the G2P network. */
const recurrent: readonly LayerFact[] = ['enc', 'dec'].map((name, index) => ({
  node: `GRU_${name}_Y`,
  opType: 'GRU',
  weights: [`${name}_W`, `${name}_R`],
  index,
}));

function load(file: string): Schedule {
  const text = readFileSync(new URL(file, folder), 'utf8');
  const parsed = parseSchedule(text, file, { passes, metrics: [{ name: 'top1' }], training: false });
  const layers = file.startsWith('g2p') ? recurrent : resnet(file.startsWith('resnet56') ? 9 : 3);
  return bindSchedule(parsed, { layers });
}

const steps = (schedule: Schedule): Record<string, number[]> => {
  const found: Record<string, number[]> = {};
  for (const { instance, clock } of schedule.stages) (found[instance] ??= []).push(clock.epoch);
  return found;
};
const waits = (schedule: Schedule): string[] => schedule.waiting.map(({ name }) => name);

describe('a schedule in the language of Distiller', () => {
  it('for gradual pruning: three ramps, the classifier after them, the learning rate waiting', () => {
    const schedule = load('resnet20_agp.yaml');
    const even = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18];
    expect(steps(schedule)).toEqual({
      narrow_pruner: even,
      middle_pruner: even,
      wide_pruner: even.slice(1),
      fc_pruner: [20, 21],
    });
    expect(waits(schedule)).toEqual(['lr_schedulers.pruning_lr (ExponentialLR)']);
    // 18 convolutions and the classifier, which is called fc there and linear here.
    expect(schedule.notes).toHaveLength(19);
    expect(schedule.notes[0]).toBe('module.layer1.0.conv1.weight is onnx::Conv_280 of /layer1/layer1.0/conv1/Conv');
    expect(schedule.notes.at(-1)).toBe('module.fc.weight is linear.weight of /linear/Gemm');
  });

  it('for sensitivity pruning', () => {
    const schedule = load('resnet20_sensitivity.yaml');
    expect(steps(schedule)['sensitivity']).toHaveLength(19);
    expect(waits(schedule)).toEqual([
      'lr_schedulers.decay (StepLR)',
      'policies.0.pruner.args.mini_batch_pruning_frequency',
    ]);
  });

  it('for filter ranking with removal in the same epoch, after the pruners', () => {
    const schedule = load('resnet56_filter_rank.yaml');
    expect(schedule.stages.map(({ index, instance, clock }) => [index, instance, clock.epoch])).toEqual([
      [1, 'filters_70', 0],
      [2, 'filters_60', 0],
      [3, 'filters_40', 0],
      [4, 'net_thinner', 0],
    ]);
    expect(waits(schedule)).toEqual(['lr_schedulers.exp_finetuning_lr (MultiStepMultiGammaLR)']);
  });

  it('for gradual filter ranking with a leader', () => {
    const schedule = load('resnet20_filter_rank_agp.yaml');
    expect(steps(schedule)).toEqual({
      stage1_pruner: [0, 3, 6, 9, 12, 15, 18, 21, 24, 27],
      inner_pruner: [0, 3, 6, 9, 12, 15, 18, 21, 24, 27],
      net_thinner: [30],
    });
    const [first] = schedule.stages;
    expect(first?.options).toMatchObject({ group_dependency: 'Leader', group_type: 'Filters' });
  });

  it('for levels and for thresholds, with regularizers waiting', () => {
    expect(steps(load('resnet20_level.yaml'))).toEqual({ levels: [0] });
    expect(waits(load('resnet20_level.yaml'))).toEqual([
      'lr_schedulers.steps (MultiStepLR)',
      'policies.0.pruner.args.keep_mask',
      'policies.0.pruner.args.mask_on_forward_only',
    ]);
    expect(steps(load('resnet20_threshold.yaml'))).toEqual({ thresholds: [20] });
    expect(waits(load('resnet20_threshold.yaml'))).toEqual([
      'regularizers.sparsify (L1Regularizer)',
      'regularizers.filters (GroupLassoRegularizer)',
      'policies.0.regularizer.args.keep_mask',
    ]);
  });

  it('for post-training quantization, which has no policy and overrides by regular expressions', () => {
    const schedule = load('resnet20_post_train.yaml');
    expect(steps(schedule)).toEqual({ post_train: [0] });
    expect(schedule.notes).toEqual([
      'no policy uses quantizers.post_train: it runs last',
      "quantizers.post_train.bits_accum: onnxruntime's integer kernels accumulate in 32 bits",
      'quantizers.post_train.overrides.layer[12]\\.\\d+\\.conv2.clip_acts: one calibration method serves all layers of an instance',
      '"conv1|linear" matches nothing as a glob; read as the regular expression it is',
      '"layer[12]\\.\\d+\\.conv2" matches nothing as a glob; read as the regular expression it is',
    ]);
    expect(schedule.stages[0]?.options).toMatchObject({
      bits_weights: 8,
      bits_activations: 8,
      per_channel: true,
      weights_symmetric: true,
      calibration: { method: 'average_minmax' },
      overrides: { 'conv1|linear': { bits_weights: null, bits_activations: null } },
    });
    const found = resolveNames(['conv1|linear', 'layer[12]\\.\\d+\\.conv2'], resnet(3), 'layers').matches;
    expect([...found.values()].map((list) => list.length)).toEqual([2, 6]);
  });

  it('for network surgery and for recurrent layers', () => {
    expect(steps(load('resnet20_splicing.yaml'))).toEqual({ surgery: [0, 5, 10, 15] });
    expect(waits(load('resnet20_splicing.yaml'))).toContain('policies.0.pruner.args.use_double_copies');
    expect(steps(load('g2p_baidu_rnn.yaml'))).toEqual({ rnn_pruner: [2, 4, 6, 8, 10, 12] });
  });

  it('for training with few bits: nothing runs, everything waits', () => {
    const schedule = load('resnet20_dorefa.yaml');
    expect(schedule.stages).toEqual([]);
    expect(waits(schedule)).toEqual([
      'quantizers.dorefa (DorefaQuantizer)',
      'lr_schedulers.plateau (ReduceLROnPlateau)',
    ]);
  });

  it('is checked for the network it names: no file fits another depth by accident', () => {
    const text = readFileSync(new URL('resnet56_filter_rank.yaml', folder), 'utf8');
    const parsed = parseSchedule(text, 's.yaml', { passes });
    expect(() => bindSchedule(parsed, { layers: resnet(3) })).toThrow(
      /^18 problems in s.yaml:\n {2}s.yaml:11:\d+ pruners.filters_70.weights.2: "module.layer1.3.conv1.weight" matches no weights/,
    );
  });

  it('is tried here for every file of the folder', () => {
    expect(files.map((file) => [file, load(file).waiting.length > 0 || load(file).stages.length > 0])).toEqual(
      files.map((file) => [file, true]),
    );
  });
});

describe("Distiller's classes", () => {
  const running = passes.flatMap((pass) => pass.classes);

  // The classes of its 88 example schedules, most used first.
  it.each([
    'AutomatedGradualPruner', 'StepLR', 'ExponentialLR', 'FilterRemover', 'L1RankedStructureParameterPruner_AGP',
    'L1RankedStructureParameterPruner', 'ActivationAPoZRankedFilterPruner_AGP', 'GroupLassoRegularizer', 'MultiStepLR',
    'BaiduRNNPruner', 'ChannelRemover', 'SplicingPruner', 'SensitivityPruner', 'PostTrainLinearQuantizer', 'DorefaQuantizer',
    'PACTQuantizer', 'MultiStepMultiGammaLR', 'StructureRemover', 'ReduceLROnPlateau', 'RandomLevelStructureParameterPruner',
    'QuantAwareTrainRangeLinearQuantizer', 'L1Regularizer', 'GroupVarianceRegularizer', 'BernoulliFilterPruner',
    'BernoulliFilterPruner_AGP',
  ])('%s is known', (name) => {
    const kinds = [...lrKinds, ...regularizerKinds].flatMap(({ classes }) => classes);
    expect([...running, ...kinds].includes(name)).toBe(true);
  }); // prettier-ignore

  // Its other pruners and extensions, besides one that none of its example schedules uses.
  it.each([
    'SparsityLevelParameterPruner', 'MagnitudeParameterPruner', 'L2RankedStructureParameterPruner',
    'L2RankedStructureParameterPruner_AGP', 'ActivationAPoZRankedFilterPruner', 'ActivationMeanRankedFilterPruner',
    'ActivationMeanRankedFilterPruner_AGP', 'RandomRankedFilterPruner', 'RandomRankedFilterPruner_AGP',
    'FMReconstructionChannelPruner', 'FMReconstructionChannelPruner_AGP',
  ])('%s runs', (name) => expect(running).toContain(name)); // prettier-ignore

  it('that qtool has not are none of its own', () => {
    expect(missingClasses.filter((name) => running.includes(name))).toEqual([]);
  });
});
