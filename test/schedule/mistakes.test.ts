import { parseSchedule } from '../../src/schedule/parse.ts';
import { fakePasses } from './passes.ts';

const parse = (text: string): unknown =>
  parseSchedule(text, 's.yaml', {
    passes: fakePasses,
    metrics: [{ name: 'top1' }, { name: 'sqnr', perfect: Infinity }],
  });

describe('a mistake', () => {
  const head = `pruners:
  p: { class: LevelPruner, levels: { '*': 0.5 } }
`;
  const policy = (rest: string): string => `${head}policies:\n  - { pruner: { instance_name: p }, ${rest} }\n`;
  // what is wrong, the file, the message with its place
  const table: readonly [string, string, string][] = [
    ['a key at the top', `prunners: {}\n`, 's.yaml:1:1 prunners: unknown key (did you mean "pruners"?)'],
    [
      'the version',
      `version: 2\n${policy('epochs: [0]')}`,
      's.yaml:1:10 version: this qtool reads schedules of version 1, not 2',
    ],
    [
      'an unknown class',
      'pruners:\n  p: { class: LevelPrunner }\n',
      's.yaml:2:15 pruners.p.class: unknown class "LevelPrunner" (did you mean "LevelPruner"?)',
    ],
    [
      'a class of another section',
      `quantizers:\n  p: { class: LevelPruner }\n`,
      's.yaml:2:15 quantizers.p.class: LevelPruner is a class of pruners, not of quantizers',
    ],
    [
      'a class that is not there yet',
      `pruners:\n  p: { class: StructureParameterPruner }\n`,
      's.yaml:2:15 pruners.p.class: StructureParameterPruner is a class of Distiller that this version does not have',
    ],
    [
      'no class',
      `extensions:\n  p: { arch: x }\n`,
      's.yaml:2:6 extensions.p.class: is missing: one of FilterRemover, WeightEncoder',
    ],
    [
      'an option',
      `${head.replace('levels', 'level')}policies: [ { pruner: { instance_name: p }, epochs: [0] } ]`,
      's.yaml:2:28 pruners.p.level: unknown key (did you mean "levels"?)',
    ],
    [
      'the type of an option',
      `pruners:\n  p: { class: LevelPruner, levels: { fc: half } }\npolicies: [ { pruner: { instance_name: p }, epochs: [0] } ]`,
      's.yaml:2:42 pruners.p.levels.fc: expected a number, got "half"',
    ],
    [
      'an argument of a training class',
      `lr_schedulers:\n  d: { class: StepLR, step_sise: 3, step_size: 3 }\n`,
      's.yaml:2:23 lr_schedulers.d.step_sise: unknown key (did you mean "step_size"?)',
    ],
    [
      'a gate without a bound',
      policy('epochs: [0], gate: { metric: top1 }'),
      's.yaml:4:56 policies.0.gate: needs one of max_drop, min, max',
    ],
    [
      'a gate of two bounds',
      policy('epochs: [0], gate: { metric: top1, max_drop: 1, min: 90 }'),
      's.yaml:4:90 policies.0.gate.min: takes one bound, and has max_drop already',
    ],
    [
      'a drop of what has no bound',
      policy('epochs: [0], gate: { metric: sqnr, max_drop: 1 }'),
      's.yaml:4:72 policies.0.gate.max_drop: sqnr of the float model is ∞, so every drop from it is infinite: write a least value, as in "min: 25"',
    ],
    [
      'a stage after the last one',
      `${head}extensions:\n  pack: { class: WeightEncoder }\npolicies:\n  - { pruner: { instance_name: p }, epochs: [0, 3] }\n  - { extension: { instance_name: pack }, epochs: [1] }\n`,
      's.yaml:6:5 policies.0: "p" (epoch 3) runs after "pack" (WeightEncoder, epoch 1), which packs the weights: put "pack" last',
    ],
    [
      'a stage after the last one in the same epoch',
      `${head}extensions:\n  pack: { class: WeightEncoder }\npolicies:\n  - { extension: { instance_name: pack }, epochs: [0] }\n  - { pruner: { instance_name: p }, epochs: [0] }\n`,
      's.yaml:7:5 policies.1: "p" (epoch 0) runs after "pack" (WeightEncoder, epoch 0), which packs the weights: put "pack" last',
    ],
    [
      'the last stage twice',
      `extensions:\n  pack: { class: WeightEncoder }\npolicies:\n  - { extension: { instance_name: pack }, epochs: [0, 1] }\n`,
      's.yaml:4:5 policies.0: "pack" runs again in epoch 1, but it packs the weights: give it one epoch, the last',
    ],
    [
      'a quantizer that no policy names, after the last stage',
      `quantizers:\n  q: { class: StaticQuantizer }\nextensions:\n  pack: { class: WeightEncoder }\npolicies:\n  - { extension: { instance_name: pack }, epochs: [0] }\n`,
      's.yaml:2:3 quantizers.q: "q" (epoch 1) runs after "pack" (WeightEncoder, epoch 0), which packs the weights: put "pack" last',
    ],
    [
      'an unknown instance',
      `${head}policies:\n  - { pruner: { instance_name: pp }, epochs: [0] }\n  - { pruner: { instance_name: p }, epochs: [0] }\n`,
      's.yaml:4:32 policies.0.pruner.instance_name: pruners has no instance "pp" (did you mean "p"?)',
    ],
    [
      'an instance of another section',
      `${head}quantizers:\n  q: { class: StaticQuantizer }\npolicies:\n  - { pruner: { instance_name: q }, epochs: [0] }\n  - { pruner: { instance_name: p }, epochs: [0] }\n`,
      's.yaml:6:32 policies.0.pruner.instance_name: q is an instance of quantizers: write "quantizer:"',
    ],
    [
      'an instance that nothing uses',
      head,
      's.yaml:2:3 pruners.p: no policy uses it; add "- pruner: { instance_name: p }" and its epochs, or remove it',
    ],
    [
      'a name twice in a section',
      `pruners:\n  p: { class: FilterRemover }\n  p: { class: FilterRemover }\n`,
      's.yaml:3:3 Map keys must be unique',
    ],
    [
      'a name in two sections',
      `${head}extensions:\n  p: { class: FilterRemover }\npolicies:\n  - { pruner: { instance_name: p }, epochs: [0] }\n  - { extension: { instance_name: p }, epochs: [0] }\n`,
      's.yaml:4:3 extensions.p: pruners has an instance of this name too',
    ],
    ['a key of a policy', policy('epoch: [0]'), 's.yaml:4:37 policies.0.epoch: unknown key (did you mean "epochs"?)'],
    [
      'two instances in a policy',
      `${policy('extension: { instance_name: e }, epochs: [0]')}extensions: { e: { class: FilterRemover } }`,
      's.yaml:4:37 policies.0.extension: a policy applies one instance, and this one has pruner already',
    ],
    [
      'no instance in a policy',
      `policies:\n  - { epochs: [0] }\n`,
      's.yaml:2:5 policies.0: names no instance: one of pruner, quantizer, allocator, extension, regularizer, lr_scheduler is needed',
    ],
    [
      'no time in a policy',
      policy('frequency: 1'),
      's.yaml:4:5 policies.0: does not say when: epochs: [..], or starting_epoch and ending_epoch',
    ],
    [
      'an epoch never reached',
      policy('starting_epoch: 5, ending_epoch: 5'),
      's.yaml:4:70 policies.0.ending_epoch: no epoch is reached: it starts at 5 and ends before 5; ending_epoch is exclusive: 6 for one epoch',
    ],
    [
      'epochs backwards',
      policy('starting_epoch: 5, ending_epoch: 2'),
      's.yaml:4:70 policies.0.ending_epoch: no epoch is reached: it starts at 5 and ends before 2',
    ],
    [
      'a frequency that jumps past the end',
      policy('starting_epoch: 0, ending_epoch: 10, frequency: 20'),
      's.yaml:4:85 policies.0.frequency: 20 epochs jump past ending_epoch 10: only epoch 0 is reached; write epochs: [0] if that is meant',
    ],
    ['an epoch twice', policy('epochs: [3, 3]'), 's.yaml:4:49 policies.0.epochs.1: epoch 3 stands here twice'],
    [
      'two ways of saying when',
      policy('epochs: [3], frequency: 1'),
      's.yaml:4:61 policies.0.frequency: epochs says when already; write one or the other',
    ],
    ['a negative epoch', policy('epochs: [-1]'), 's.yaml:4:46 policies.0.epochs.0: must be at least 0, is -1'],
    [
      'too many epochs',
      policy('starting_epoch: 0, ending_epoch: 1000000'),
      's.yaml:4:70 policies.0.ending_epoch: that would be 1000000 steps; at most 10000',
    ],
    [
      'too many epochs in a list',
      policy(`epochs: [${[...Array(10_001).keys()].join(', ')}]`),
      's.yaml:4:45 policies.0.epochs: that would be 10001 steps; at most 10000',
    ],
    [
      'too many epochs in all',
      `${policy('starting_epoch: 0, ending_epoch: 9000')}  - { pruner: { instance_name: p }, starting_epoch: 0, ending_epoch: 9000 }\n`,
      's.yaml:3:1 policies: these are 18000 steps in all; at most 10000',
    ],
    ['a file of another kind', `# ${'x'.repeat(250_000)}`, 's.yaml 250002 characters are no schedule: at most 250000'],
    [
      'an unknown metric',
      policy('epochs: [0], gate: { metric: top_1, max_drop: 1 }'),
      's.yaml:4:66 policies.0.gate.metric: unknown metric "top_1" (did you mean "top1"?)',
    ],
    [
      'an unknown metric, for which another limit stands in',
      policy('epochs: [0], gate: { metric: top_1, max_drop: 1, unlabelled: { metric: sqnr, min: 9 } }'),
      's.yaml:4:66 policies.0.gate.metric: unknown metric "top_1" (did you mean "top1"?)',
    ],
    [
      "an unknown metric in the schedule's gate",
      `gate: { metric: mse, max_drop: 1 }\n${policy('epochs: [0]')}`,
      's.yaml:1:17 gate.metric: mse cannot be measured on this data; what can: top1, sqnr',
    ],
    [
      'a key of a gate',
      policy('epochs: [0], gate: { metric: top1, max_drops: 1, max_drop: 1 }'),
      's.yaml:4:72 policies.0.gate.max_drops: unknown key (did you mean "max_drop"?)',
    ],
    [
      'a drop that is no share',
      policy("epochs: [0], gate: { metric: top1, max_drop: '1pt' }"),
      "s.yaml:4:82 policies.0.gate.max_drop: must be a number in the metric's unit, or a share such as '1%'",
    ],
    [
      'what to do on failure',
      policy('epochs: [0], gate: { metric: top1, max_drop: 1, on_fail: redo }'),
      's.yaml:4:94 policies.0.gate.on_fail: "redo" is not one of undo, retry, stop, warn',
    ],
    [
      'a gate where nothing is judged',
      `lr_schedulers: { d: { class: ExponentialLR, gamma: 0.9 } }\npolicies:\n  - { lr_scheduler: { instance_name: d }, epochs: [0], gate: none }\n`,
      's.yaml:3:56 policies.0.gate: a gate judges a stage, and ExponentialLR makes none',
    ],
    [
      'an argument of a policy',
      `${head}policies:\n  - { pruner: { instance_name: p, args: { levles: {} } }, epochs: [0] }\n`,
      's.yaml:4:43 policies.0.pruner.args.levles: unknown key (did you mean "levels"?)',
    ],
    [
      "the type of Distiller's argument",
      `${head}policies:\n  - { pruner: { instance_name: p, args: { keep_mask: 3 } }, epochs: [0] }\n`,
      's.yaml:4:54 policies.0.pruner.args.keep_mask: expected true or false, got 3',
    ],
    [
      'a bad regular expression',
      `pruners:\n  p: { class: LevelPruner, levels: { '/conv[/': 0.5 } }\npolicies: [ { pruner: { instance_name: p }, epochs: [0] } ]`,
      's.yaml:2:49 pruners.p.levels./conv[/: "/conv[/" is no regular expression: Unterminated character class; put a backslash before characters that are meant as they are',
    ],
    [
      'policies that are no list',
      `${head}policies: { pruner: p }`,
      's.yaml:3:11 policies: expected a list of policies',
    ],
    [
      'a section that is no mapping',
      'pruners: [a]',
      's.yaml:1:10 pruners: expected a mapping of instance names to classes',
    ],
    [
      'an instance that is no mapping',
      'pruners: { p: LevelPruner }',
      's.yaml:1:15 pruners.p: expected a mapping: class and its options',
    ],
    ['nothing at all', 'version: 1', 's.yaml:1:1 the schedule does nothing: it has no instances and no policies'],
    [
      'another kind of file',
      '- a\n- b',
      's.yaml:1:1 a schedule is a mapping: version, pruners, quantizers, ..., policies',
    ],
  ];
  const wrong = (text: string): string => {
    try {
      parse(text);
      return 'accepted';
    } catch (error) {
      const { at, message, code } = error as { at?: string; message: string; code?: string };
      return code === 'schedule' ? (at === undefined ? message : `${at} ${message}`) : `${String(code)} ${message}`;
    }
  };
  it.each(table)('in %s is told where it is', (_, text, message) => {
    expect(wrong(text)).toBe(message);
  });

  it('does not hide the others: all are told, in the order of the file', () => {
    expect(
      wrong('version: 3\npruners:\n  p: { class: LevelPruner }\npolicies:\n  - { pruner: { instance_name: q } }\n'),
    ).toBe(
      [
        '3 problems in s.yaml:',
        '  s.yaml:1:10 version: this qtool reads schedules of version 1, not 3',
        '  s.yaml:3:6 pruners.p.levels: is missing: a mapping',
        '  s.yaml:5:32 policies.0.pruner.instance_name: pruners has no instance "q"; it has: p',
      ].join('\n'),
    );
  });
});
