import { passes } from '../../src/passes/index.ts';
import type { EpochPlan } from '../../src/passes/train/plan.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { ParsedSchedule } from '../../src/schedule/types.ts';

const parse = (text: string, training: boolean | undefined = true): ParsedSchedule =>
  parseSchedule(text, 's.yaml', { passes, metrics: [{ name: 'top1' }], training });
const plans = ({ stages }: ParsedSchedule): EpochPlan[] =>
  stages.filter(({ epoch }) => epoch).map(({ options }) => options as EpochPlan);
const wrong = (text: string, training = true): string => {
  try {
    parse(text, training);
    return 'accepted';
  } catch (error) {
    const { at, message } = error as { at?: string; message: string };
    return `${at ?? ''} ${message}`;
  }
};

const text = `training: { epochs: 5, optimizer: { name: sgd, lr: 0.05 }, batch_size: 32 }
gate: { metric: top1, max_drop: 1 }
pruners:
  ramp: { class: AutomatedGradualPruner, initial_sparsity: 0.2, final_sparsity: 0.8, weights: ['*'] }
regularizers:
  l1: { class: L1Regularizer, reg_regims: { fc: 0.001 } }
lr_schedulers:
  decay: { class: StepLR, step_size: 1 }
quantizers:
  ptq: { class: PostTrainLinearQuantizer }
policies:
  - pruner: { instance_name: ramp, args: { mask_on_forward_only: true } }
    starting_epoch: 0
    ending_epoch: 4
    frequency: 2
    gate: none
  - regularizer: { instance_name: l1 }
    epochs: [1, 3]
  - lr_scheduler: { instance_name: decay }
    starting_epoch: 2
    ending_epoch: 5
  - quantizer: { instance_name: ptq }
    epochs: [5]
`;

describe('a schedule that trains', () => {
  it('makes one stage of every epoch, with all that acts in it, and goes on as before behind them', () => {
    const schedule = parse(text);
    expect(schedule.stages.map(({ index, instance, clock, epoch }) => [index, instance, clock.epoch, epoch?.last])).toEqual([
      [1, 'training', 0, false],
      [2, 'training', 1, false],
      [3, 'training', 2, false],
      [4, 'training', 3, false],
      [5, 'training', 4, true],
      [6, 'ptq', 5, undefined],
    ]); // prettier-ignore
    const names = (list: readonly { instance: string }[]) => list.map(({ instance }) => instance);
    expect(plans(schedule).map(({ policies, regularizers, rate }) => [names(policies), names(regularizers), rate?.at, rate?.of])).toEqual([
      [['ramp'], [], undefined, undefined],
      [[], ['l1'], undefined, undefined],
      [['ramp'], [], 0, 3],
      [[], ['l1'], 1, 3],
      [[], [], 2, 3],
    ]); // prettier-ignore
    expect(plans(schedule)[0]?.policies[0]).toMatchObject({ args: { mask_on_forward_only: true }, clock: { epoch: 0, end: 4 } }); // prettier-ignore
    expect(plans(schedule)[2]?.training).toMatchObject({ batch_size: 32, optimizer: { name: 'sgd', lr: 0.05 } });
    // A policy's own gate goes before that of the file.
    expect(schedule.stages.map(({ gate }) => gate?.metric)).toEqual([undefined, 'top1', undefined, 'top1', 'top1', 'top1']); // prettier-ignore
    expect(schedule.waiting).toEqual([]);
  });

  it('gives pruners and regularizers the names of the model', () => {
    const layers = [{ node: '/fc/Gemm', opType: 'Gemm', weights: ['w'], module: 'fc', index: 0 }];
    const bound = bindSchedule(parse(text.replace("['*']", '[module.fc.weight]').replace('{ fc: 0.001 }', '{ module.fc.weight: 0.001 }')), { layers }); // prettier-ignore
    expect(bound.stages).toHaveLength(6);
    expect(() => bindSchedule(parse(text), { layers: [{ ...layers[0]!, node: 'x', module: 'x', opType: 'Conv' }] })).toThrow(/regularizers.l1.reg_regims.fc: "fc" matches no weights/); // prettier-ignore
  });

  it('is known by its learning rates, regularizers and masks where it has no block, for as long as its policies last', () => {
    const implied = parse(text.replace(/^training.*\n/, ''));
    expect(plans(implied)).toHaveLength(5);
    expect(implied.notes.join()).toMatch(/has no "training:": 5 epochs by its policies/);
    expect(plans(parse(text.replace(/^training.*\n/, ''), false))).toEqual([]);
    expect(parse(text.replace(/^training.*\n/, ''), false).waiting).toHaveLength(3);
    // Without any of these a ramp is steps of pruning, as ever.
    const plain = 'pruners: { p: { class: LevelPruner, levels: { a: 0.5 } } }\npolicies: [{ pruner: { instance_name: p }, epochs: [0] }]'; // prettier-ignore
    expect(plans(parse(plain.replace('LevelPruner', 'SparsityLevelParameterPruner')))).toEqual([]);
  });

  it.each([
    ['quantizers before the end', text.replace('epochs: [5]', 'epochs: [3]'), /s.yaml:22:5 policies.3: PostTrainLinearQuantizer works on a trained model, and the model is trained until epoch 4: start it at epoch 5 or later/], // prettier-ignore
    ['a rate behind the end', text.replace('epochs: 5,', 'epochs: 2,').replace('epochs: [1, 3]', 'epochs: [1]'), /policies.2: acts from epoch 2 on, and training ends with epoch 1/], // prettier-ignore
    [
      'two gates in one epoch',
      text.replace(
        'gate: none',
        'gate: { metric: top1, max_drop: 2 }\n  - pruner: { instance_name: ramp }\n    epochs: [2]\n    gate: { metric: top1, max_drop: 3 }',
      ),
      /s.yaml:19:5 policies.1.gate: an epoch of training has one gate/,
    ],
    ['no epochs at all', 'training: {}', /training: does not say for how long: give it "epochs:"/],
    [
      'an option that there is not',
      text.replace('batch_size', 'batch'),
      /s.yaml:1:\d+ training.batch: unknown key \(did you mean "batch_size"/,
    ],
    ['an optimizer that there is not', text.replace('name: sgd', 'name: sdg'), /training.optimizer/],
  ])('is refused for %s', (_, given, message) => {
    expect(wrong(given)).toMatch(message);
  });

  it('takes the rate that a network bears whose batch norms are folded, where it says none', () => {
    const conv = { node: 'c', opType: 'Conv', weights: ['c.weight'], module: undefined, index: 0 };
    const layer = (opType: string) => ({ ...conv, node: opType, opType, weights: [] });
    const fc = { ...conv, node: 'fc', opType: 'Gemm', weights: ['fc'], module: 'fc' };
    const rates = (given: string, ...ops: string[]) => {
      const { stages, notes } = bindSchedule(parse(given), { layers: [fc, ...ops.map(layer)] });
      return [(stages[0]!.options as EpochPlan).training.optimizer['lr'], /with lr [\d.]+.*/.exec(notes.join('\n'))?.[0]]; // prettier-ignore
    };
    const implied = text.replace(/^training.*\n/, '');
    expect(rates(implied, 'Conv')).toEqual([0.001, 'with lr 0.001 and clip_norm 5, for batch norms are folded']);
    expect(rates(implied, 'Conv', 'BatchNormalization')).toEqual([0.01, 'with lr 0.01']);
    expect(rates(implied)).toEqual([0.01, 'with lr 0.01']);
    expect(rates(text, 'Conv')).toEqual([0.05, undefined]);
  });

  it('tells what acts for fewer epochs than it says', () => {
    const notes = (given: string) => parse(given).notes;
    expect(notes(text)).toEqual([]);
    expect(notes(text.replace('ending_epoch: 5', 'ending_epoch: 9'))).toEqual(['policies.2: decay would act until epoch 8, and training ends with epoch 4']); // prettier-ignore
    expect(notes(text.replace('starting_epoch: 0\n    ending_epoch: 4\n    frequency: 2', 'epochs: [6]'))).toEqual(['policies.0: mask_on_forward_only acts in training, which ends with epoch 4']); // prettier-ignore
    const two = text.replace('lr_schedulers:', 'lr_schedulers:\n  other: { class: ExponentialLR, gamma: 0.5 }').replace('  - quantizer', '  - lr_scheduler: { instance_name: other }\n    epochs: [4]\n  - quantizer'); // prettier-ignore
    expect(notes(two)).toEqual(['policies.2: from epoch 4 on other sets the rate, which stands behind decay']);
  });

  it('takes one gate beside policies that have none, and keeps to it', () => {
    const beside = text.replace('gate: none', "gate: none\n  - pruner: { instance_name: ramp }\n    epochs: [2]\n    gate: { metric: top1, max_drop: 3 }"); // prettier-ignore
    const limits = (given: string) => parse(given).stages.map(({ gate }) => (gate as { maxDrop?: number } | undefined)?.maxDrop); // prettier-ignore
    expect(limits(beside)).toEqual([undefined, 1, 3, 1, 1, 1]);
    expect(limits(beside.replace(/^gate.*\n/m, ''))).toEqual([undefined, undefined, 3, 3, 3, undefined]);
  });

  it('is refused without samples to train on', () => {
    expect(wrong(text, false)).toMatch(/s.yaml:1:1 training: there are no samples to train on: give the data config a set "training:"/); // prettier-ignore
  });
});

describe('a quantizer that learns', () => {
  const learning = (more: string, epochs = 'starting_epoch: 1\n    ending_epoch: 3'): string => `training: { epochs: 3 }
quantizers:
  dorefa: { class: DorefaQuantizer, bits_weights: 3 }
  ptq: { class: LSQQuantizer, bits_weights: 4 }
policies:
  - quantizer: { instance_name: dorefa }
    ${epochs}
${more}`;
  const alone = learning('').replace(/ {2}ptq.*\n/, '');

  it('acts in the epochs from its first on, and the last ends it', () => {
    expect(plans(parse(alone)).map(({ learner }) => learner && [learner.instance, learner.last])).toEqual([undefined, ['dorefa', false], ['dorefa', true]]); // prettier-ignore
  });

  it('makes a file train, and waits where there is nothing to train on', () => {
    const text = alone.replace('training: { epochs: 3 }\n', '');
    expect(plans(parse(text))).toHaveLength(3);
    const { stages, waiting } = parse(text, false);
    expect(stages).toEqual([]);
    expect(waiting.map(({ name, reason }) => [name, reason])).toEqual([['quantizers.dorefa (DorefaQuantizer)', expect.stringMatching(/no set "training:"/)]]); // prettier-ignore
  });

  it('is refused where it ends before training does, where another one learns, and where no policy uses it', () => {
    expect(wrong(alone.replace('ending_epoch: 3', 'ending_epoch: 2'))).toBe('s.yaml:5:5 policies.0: DorefaQuantizer learns until training ends: give it ending_epoch 3, not 2'); // prettier-ignore
    expect(wrong(learning('  - { quantizer: { instance_name: ptq }, starting_epoch: 0, ending_epoch: 3 }'))).toBe('s.yaml:9:5 policies.1: one quantizer learns while training, and dorefa does already'); // prettier-ignore
    expect(wrong(learning(''))).toContain('no policy uses it');
  });
});

describe('what has to be trained', () => {
  const exit = `training: { epochs: 3 }
extensions:
  exit: { class: EarlyExit, exits: [{ at: relu1 }] }
policies:
  - { extension: { instance_name: exit }, epochs: [1] }
`;

  it('is added at the beginning of its epoch', () => {
    const { stages } = parse(exit);
    expect(plans({ stages } as ParsedSchedule).map(({ policies }) => policies.map(({ instance }) => instance))).toEqual([[], ['exit'], []]); // prettier-ignore
    expect(stages).toHaveLength(3);
  });

  it('makes a file train, and waits where there is nothing to train on', () => {
    const text = exit.replace('training: { epochs: 3 }\n', '');
    expect(plans(parse(text))).toHaveLength(2);
    const { stages, waiting } = parse(text, false);
    expect(stages).toEqual([]);
    expect(waiting.map(({ name }) => name)).toEqual(['extensions.exit (EarlyExit)']);
  });

  it('is refused behind the last epoch', () => {
    expect(wrong(exit.replace('[1]', '[3]'))).toBe('s.yaml:5:5 policies.0: acts from epoch 3 on, and training ends with epoch 2'); // prettier-ignore
  });
});
