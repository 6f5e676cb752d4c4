import { parseSchedule } from '../../src/schedule/parse.ts';
import type { ParsedSchedule } from '../../src/schedule/types.ts';
import { fakePasses } from './passes.ts';

const parse = (text: string): ParsedSchedule =>
  parseSchedule(text, 's.yaml', {
    passes: fakePasses,
    metrics: [{ name: 'top1' }, { name: 'sqnr', perfect: Infinity }],
    training: false,
  });

const design = `version: 1
pruners:
  agp: { class: AutomatedGradualPruner, initial_sparsity: 0.05, final_sparsity: 0.6, weights: ['layer*.conv*'] }
allocators:
  bits: { class: SqnrAllocator, budget: { weights: 4.5 } }
quantizers:
  ptq:
    class: PostTrainLinearQuantizer
    overrides: { 'fc*': { bits_weights: 16 } }
policies:
  - quantizer: { instance_name: ptq }
    epochs: [12]
    gate: { metric: top1, max_drop: 0.5, on_fail: retry }
  - pruner: { instance_name: agp }
    starting_epoch: 0
    ending_epoch: 10
    frequency: 4
    gate: { metric: top1, max_drop: '1%', on_fail: undo }
  - allocator: { instance_name: bits }
    epochs: [0, 11]
`;

const shape = (schedule: ParsedSchedule): unknown[] =>
  schedule.stages.map((stage) => [stage.index, stage.clock.epoch, stage.instance, stage.pass.name]);

describe('a schedule', () => {
  it('becomes stages in the order of epochs, within an epoch of the file', () => {
    const schedule = parse(design);
    expect(shape(schedule)).toEqual([
      [1, 0, 'agp', 'prune/agp'],
      [2, 0, 'bits', 'allocate/sqnr'],
      [3, 4, 'agp', 'prune/agp'],
      [4, 8, 'agp', 'prune/agp'],
      [5, 11, 'bits', 'allocate/sqnr'],
      [6, 12, 'ptq', 'quantize/static'],
    ]);
    expect(schedule.notes).toEqual([]);
    expect(schedule.waiting).toEqual([]);
  });

  it('hands on checked options with defaults, the window of the ramp, the gate and the place', () => {
    const { stages } = parse(design);
    expect(stages[0]).toMatchObject({
      class: 'AutomatedGradualPruner',
      options: { initial_sparsity: 0.05, final_sparsity: 0.6, weights: ['layer*.conv*'] },
      clock: { epoch: 0, start: 0, end: 10, frequency: 4 },
      gate: { metric: 'top1', maxDrop: 0.01, relative: true, onFail: 'undo' },
      at: 's.yaml:14:5',
    });
    expect(stages[5]).toMatchObject({
      options: { bits_weights: 8, overrides: { 'fc*': { bits_weights: 16 } } },
      gate: { maxDrop: 0.5, relative: false, onFail: 'retry' },
      at: 's.yaml:11:5',
    });
    expect(stages[1]?.gate).toBeUndefined();
  });

  it('takes one gate for all stages, which a policy can replace or turn off', () => {
    const one = (gate: string): unknown =>
      parse(`
gate: { metric: sqnr, min: 25 }
pruners: { p: { class: LevelPruner, levels: { '*': 0.5 } } }
policies: [ { pruner: { instance_name: p }, epochs: [0]${gate} } ]`).stages[0]?.gate;
    expect(one('')).toEqual({ metric: 'sqnr', min: 25, onFail: 'stop' });
    expect(one(", gate: { metric: top1, max_drop: '0.5 %', on_fail: warn }")).toEqual({
      metric: 'top1',
      maxDrop: 0.005,
      relative: true,
      onFail: 'warn',
    });
    expect(one(', gate: none')).toBeUndefined();
  });

  it('takes the other limit of a gate where its metric is not measured, and says so', () => {
    const text = `
pruners: { p: { class: LevelPruner, levels: { '*': 0.5 } } }
policies:
  - pruner: { instance_name: p }
    epochs: [0]
    gate: { metric: top1, max_drop: 1, on_fail: undo, unlabelled: { metric: sqnr, min: 20 } }`;
    const on = (...names: string[]) =>
      parseSchedule(text, 's.yaml', { passes: fakePasses, metrics: names.map((name) => ({ name })) });
    const [labelled, not] = [on('top1', 'sqnr'), on('sqnr')];
    expect(labelled.stages[0]?.gate).toMatchObject({ metric: 'top1', maxDrop: 1, onFail: 'undo' });
    expect(labelled.notes).toEqual([]);
    expect(not.stages[0]?.gate).toEqual({ metric: 'sqnr', min: 20, onFail: 'undo', insteadOf: 'top1' });
    expect(not.notes).toEqual(['top1 cannot be measured on this data: gates on it judge sqnr instead']);
  });

  it("lets a policy's args replace options in that policy only", () => {
    const { stages } = parse(`
pruners: { p: { class: LevelPruner, levels: { '*': 0.5 } } }
policies:
  - { pruner: { instance_name: p, args: { levels: { fc: 0.9 } } }, epochs: [1] }
  - { pruner: { instance_name: p }, epochs: [0] }`);
    expect(stages.map((stage) => stage.options)).toEqual([{ levels: { '*': 0.5 } }, { levels: { fc: 0.9 } }]);
  });

  it('may share options by anchors and merge keys', () => {
    const { stages } = parse(`
pruners:
  a: &base { class: LevelPruner, levels: { '*': 0.5 } }
  b: { <<: *base, levels: { fc: 0.9 } }
policies:
  - { pruner: { instance_name: a }, epochs: [0] }
  - { pruner: { instance_name: b }, epochs: [1] }`);
    expect(stages.map((stage) => stage.options)).toEqual([{ levels: { '*': 0.5 } }, { levels: { fc: 0.9 } }]);
  });

  it('runs a quantizer that no policy uses last, and says so', () => {
    const schedule = parse(`
quantizers: { q: { class: PostTrainLinearQuantizer } }
pruners: { p: { class: LevelPruner, levels: { '*': 0.5 } } }
policies: [ { pruner: { instance_name: p }, starting_epoch: 2, ending_epoch: 5 } ]`);
    expect(shape(schedule).at(-1)).toEqual([4, 5, 'q', 'quantize/static']);
    expect(schedule.stages.at(-1)?.at).toBe('s.yaml:2:15');
    expect(schedule.notes).toEqual(['no policy uses quantizers.q: it runs last']);
  });

  it('quantizes once where a policy of Distiller names a span of epochs, and says so', () => {
    const schedule = parse(`
quantizers: { q: { class: PostTrainLinearQuantizer } }
policies: [ { quantizer: { instance_name: q }, starting_epoch: 3, ending_epoch: 300, frequency: 1 } ]`);
    expect(shape(schedule)).toEqual([[1, 3, 'q', 'quantize/static']]);
    expect(schedule.notes).toEqual(['s.yaml:3:15: post-training quantization happens once: q runs at epoch 3']);
  });
});

describe("what needs training, of Distiller's", () => {
  const text = `version: 1
lr_schedulers:
  decay: { class: ExponentialLR, gamma: 0.95 }
  idle: { class: StepLR, step_size: 30, gamma: 0.1 }
regularizers:
  groups: { class: GroupLassoRegularizer, reg_regims: { 'module.conv1.weight': [0.0005, 3D] } }
pruners:
  p: { class: SparsityLevelParameterPruner, levels: { 'conv1.weight': 0.5 } }
policies:
  - lr_scheduler: { instance_name: decay }
    starting_epoch: 0
    ending_epoch: 90
    frequency: 1
  - regularizer: { instance_name: groups, args: { keep_mask: true } }
    epochs: [1]
  - pruner: { instance_name: p, args: { mini_batch_pruning_frequency: 1, mask_gradients: True } }
    epochs: [0]
`;
  it('is checked and listed with its place and reason, never dropped', () => {
    const { stages, waiting } = parse(text);
    expect(stages).toHaveLength(1);
    expect(waiting.map(({ name, at }) => `${at} ${name}`)).toEqual([
      's.yaml:6:3 regularizers.groups (GroupLassoRegularizer)',
      's.yaml:3:3 lr_schedulers.decay (ExponentialLR)',
      's.yaml:4:3 lr_schedulers.idle (StepLR)',
      's.yaml:14:51 policies.1.regularizer.args.keep_mask',
      's.yaml:16:41 policies.2.pruner.args.mini_batch_pruning_frequency',
      's.yaml:16:74 policies.2.pruner.args.mask_gradients',
    ]);
    for (const { reason } of waiting) expect(reason).toMatch(/no set "training:" with samples to train on$/);
  });

  it('alone makes no stage, which is a note', () => {
    const { stages, notes } = parse('lr_schedulers: { d: { class: ExponentialLR, gamma: 0.9 } }');
    expect([stages, notes]).toEqual([[], ['nothing in this schedule can run without training']]);
  });
});
