import { readdirSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Feeds } from '../../src/data/types.ts';
import type { Model } from '../../src/graph/model.ts';
import { passes } from '../../src/passes/index.ts';
import type { Pass, Plan } from '../../src/passes/pass.ts';
import { curesOf, type Cure } from '../../src/run/cures.ts';
import { cureLines, curedSchedule } from '../../src/run/cured_schedule.ts';
import { outputSqnr, tryCures } from '../../src/run/try_cures.ts';
import type { Culprit } from '../../src/run/culprit.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { Stage } from '../../src/schedule/types.ts';
import { QtoolError } from '../../src/util/error.ts';
import { runModel, testContext } from '../helpers/context.ts';
import { snr } from '../helpers/quality.ts';
import { containing, dense, never, samplesOf, vectors } from './support.ts';

const stageOf = (text: string): Stage =>
  parseSchedule(text, 's.yaml', { passes }).stages.find(({ pass }) => pass.section === 'quantizers')!;
const written = (cls: string, more = ''): string => `version: 1
quantizers:
  q: { class: ${cls}${more} }   # as asked
policies:
  - { quantizer: { instance_name: q }, epochs: [3] }
`;
const culprit = (more: Partial<Culprit>): Culprit =>
  ({ layer: 'fc', op: 'Gemm', part: 'weights', error: {}, weighted: true, alone: true, ...more }) as Culprit;
/** What a cure does, without its words. */
const essence = ({ before, after, raised, calibration, bits }: Cure): unknown =>
  JSON.parse(JSON.stringify({ before: before?.class, after: after?.class, raised, calibration, bits }));

describe('curesOf', () => {
  const static8 = 'PostTrainLinearQuantizer';
  const equalize = { before: 'CrossLayerEqualization' };
  const float = { raised: { fc: { bits_weights: null } } };
  const eight = { raised: { fc: { bits_weights: 8 } } };
  const sixteen = { raised: { fc: { bits_activations: 16 } } };
  const round = { before: 'CrossLayerEqualization', after: 'AdaRound' };
  const mse = { calibration: { method: 'mse' } };
  const minmax = { calibration: { method: 'minmax' } };
  // [quantizer, its options, the culprit, whether products saturate, what may help, the milder first].
  it.each<[string, string, Partial<Culprit>, boolean, object[]]>([
    [static8, '', { part: 'weights' }, false, [equalize, float, round]],
    [
      static8,
      '',
      { part: 'weights' },
      true,
      [{ bits: 7 }, ...[equalize, float, round].map((cure) => ({ ...cure, bits: 7 }))],
    ],
    [static8, ', bits_weights: 4', { part: 'weights' }, false, [equalize, eight, float, round]],
    [static8, ', calibration: { method: minmax }', { part: 'input' }, false, [equalize, mse, sixteen, float]],
    [static8, ', calibration: { method: minmax }', { part: 'weights' }, false, [equalize, float, round]],
    [static8, ', calibration: { method: entropy }', { part: 'input' }, false, [equalize, sixteen, float]],
    [static8, '', { part: 'weights', weighted: false }, false, [equalize, round]],
    [
      static8,
      '',
      { part: 'input', cause: 'clipping' },
      true,
      [{ bits: 7 }, { ...mse, bits: 7 }, { ...equalize, bits: 7 }],
    ],
    [static8, '', { part: 'weights', cause: 'magnified' }, false, [float]],
    [
      static8,
      ', calibration: { method: minmax }',
      { part: 'input', cause: 'rare' },
      false,
      [...[99.999, 99.9].map((percentile) => ({ calibration: { method: 'percentile', percentile } })), mse, sixteen],
    ],
    [static8, ', calibration: { method: mse }', { part: 'input', cause: 'clipping' }, false, [minmax, equalize]],
    [
      static8,
      ', calibration: { method: entropy }',
      { part: 'input', cause: 'clipping' },
      false,
      [minmax, mse, equalize],
    ],
    [
      static8,
      ', calibration: { samples: 98 }',
      { part: 'input', cause: 'few samples' },
      false,
      [{ calibration: { samples: 99 } }],
    ],
    [static8, ', calibration: { samples: 99 }', { part: 'input', cause: 'few samples' }, false, []],
    ['WeightOnlyQuantizer', ', bits_weights: 4', {}, false, [eight]],
    ['WeightOnlyQuantizer', ', bits_weights: 8', {}, false, [float]],
    ['DynamicQuantizer', ', bits_weights: 7', {}, false, [float]],
    ['DynamicQuantizer', ', bits_weights: 6', {}, false, [eight]],
    ['DynamicQuantizer', '', { weighted: false }, false, []],
  ])('of %s%s for %j, saturating %s', (cls, options, found, saturating, cures) => {
    expect(curesOf(stageOf(written(cls, options)), culprit(found), saturating, 99).map(essence)).toEqual(cures);
  });

  it('are not what the schedule has already', () => {
    const of = (...ran: string[]): unknown[] => curesOf(stageOf(written(static8)), culprit({}), false, 0, new Set(ran)).map(essence); // prettier-ignore
    expect(of('CrossLayerEqualization')).toEqual([float, { after: 'AdaRound' }]);
    expect(of('AdaRound')).toEqual([equalize, float]);
    expect(of('CrossLayerEqualization', 'AdaRound')).toEqual([float]);
  });

  it('are called what they are', () => {
    const labels = curesOf(stageOf(written(static8)), culprit({}), true).map(({ label }) => label);
    expect(labels).toEqual([
      expect.stringContaining('7 bits'),
      'weights of 7 bits and CrossLayerEqualization before it',
      "weights of 7 bits and overrides: { 'fc': { bits_weights: float } }",
      expect.stringMatching(/CrossLayerEqualization before .* AdaRound after/),
    ]);
    const [, second] = curesOf(stageOf(written(static8, ', calibration: { method: minmax }')), culprit({ part: 'input' }), false); // prettier-ignore
    expect(second?.label).toMatch(/calibration by/);
  });
});

const both: Cure = {
  label: 'both',
  before: { name: 'equalize', class: 'CrossLayerEqualization', options: {} },
  after: { name: 'rounding', class: 'AdaRound', options: { samples: 256, iterations: 0 } },
};
const raised: Cure = { label: 'raised', raised: { fc: { bits_weights: null }, 'a/b': { bits_activations: 16 } } };

describe('curedSchedule', () => {
  const cured = (text: string, cure: Cure) => {
    const result = curedSchedule(text, stageOf(text), cure);
    const { stages } = parseSchedule(result, 'mended.yaml', { passes });
    const order = stages.map((stage) => `${stage.clock.epoch} ${stage.class}${stage.gate ? ' gated' : ''}`);
    return { result, stages, order, quantizer: stageOf(result).options as Record<string, unknown> };
  };
  const gated = `${written('PostTrainLinearQuantizer')}gate: { metric: top1, max_drop: 1, on_fail: undo }\n`;
  const around = ['CrossLayerEqualization', 'PostTrainLinearQuantizer', 'AdaRound'];

  it('runs what belongs before and after the quantizer there, with no gate of its own', () => {
    const { order, result, stages } = cured(gated, both);
    expect(order).toEqual([`3 ${around[0]}`, `3 ${around[1]} gated`, `3 ${around[2]}`]);
    expect(stages[2]?.options).toMatchObject({ samples: 256, iterations: 0 });
    expect(result).toContain('# as asked');
  });

  it('has a head of its own: what the file says of itself is true no more', () => {
    const { result } = cured(`# INT8.\n#\n# Command --schedule int8\n\n# made with --target auto\n${gated}`, both);
    expect(result).toMatch(/^# made with --target auto\n# The schedule of a run with what its diagnosis proposes: both\./); // prettier-ignore
    expect(result).not.toContain('INT8');
    expect(result).toMatch(/^# Command {3}qtool quantize .* --target auto$/m);
    const line = 'qtool quantize m.onnx --schedule out/mended.yaml --data images --preprocess clip --samples 7';
    expect(curedSchedule(gated, stageOf(gated), both, line)).toContain(`\n# Command   ${line}\n`);
  });

  it('gives what it adds a name of its own', () => {
    const taken = `extensions:\n  equalize: { class: BiasCorrection }\n  equalize2: { class: BiasCorrection }\n`;
    const used = ['equalize', 'equalize2'].map((name) => `  - { extension: { instance_name: ${name} }, epochs: [4] }\n`).join(''); // prettier-ignore
    const { order, stages } = cured(`${taken}${written('PostTrainLinearQuantizer')}${used}`, both);
    expect(order).toEqual([...around.map((name) => `3 ${name}`), '4 BiasCorrection', '4 BiasCorrection']);
    expect(stages[0]?.instance).toBe('equalize3');
  });

  it.each([
    ['no policies at all', 'version: 1\nquantizers: { q: { class: PostTrainLinearQuantizer } }\n'],
    ['none that names the quantizer', `version: 1
pruners: { p: { class: SparsityLevelParameterPruner, levels: { '*': 0.5 } } }
quantizers: { q: { class: PostTrainLinearQuantizer } }
policies: [ { pruner: { instance_name: p }, epochs: [0] } ]
`], // prettier-ignore
  ])('keeps the order where the file has %s', (_, text) => {
    const { stages } = cured(text, both);
    expect(stages.map((stage) => stage.class).filter((name) => around.includes(name))).toEqual(around);
    expect(cured(text, raised).stages.length).toBe(parseSchedule(text, 's.yaml', { passes }).stages.length);
  });

  it('sets widths beside those that the file has, and changes nothing else', () => {
    const own = ", overrides: { 'fc': { bits_activations: 16 }, 'c*': { bits_weights: 8 } }, per_channel: false";
    const { quantizer, result } = cured(written('PostTrainLinearQuantizer', own), { label: '', raised: { gc: { bits_weights: null } } }); // prettier-ignore
    expect(quantizer).toMatchObject({
      overrides: { gc: { bits_weights: null }, fc: { bits_activations: 16 }, 'c*': { bits_weights: 8 } },
      per_channel: false,
    });
    expect(result).toContain('# as asked');
    expect(cured(written('PostTrainLinearQuantizer'), raised).quantizer).toMatchObject({ overrides: raised.raised });
  });

  it('sets the bits of all weights, and the method beside other options of calibration', () => {
    const text = written('PostTrainLinearQuantizer', ', bits_weights: 8, calibration: { method: minmax, samples: 99 }');
    expect(cured(text, { label: '', bits: 7 }).quantizer).toMatchObject({ bits_weights: 7, calibration: { method: 'minmax' } }); // prettier-ignore
    const { quantizer } = cured(text, { label: '', calibration: { method: 'mse' } });
    expect(quantizer).toMatchObject({ bits_weights: 8, calibration: { method: 'mse', samples: 99 } });
    // Without any there is nothing to change but white space.
    expect(parse(curedSchedule(text, stageOf(text), { label: '' }))).toEqual(parse(text));
  });

  it('breaks no line', () => {
    const text = written('PostTrainLinearQuantizer', `, overrides: { ${'layer'.repeat(40)}: { bits_weights: 8 } }`);
    expect(
      cured(text, raised)
        .result.split('\n')
        .filter((line) => line.includes('layer')),
    ).toHaveLength(1);
    expect(cured(text, raised).result).toMatch(/overrides: \{.*layer.*\}/);
  });
});

describe('cureLines', () => {
  /** The top-level sections of a file: each key with the lines up to the next. */
  const sections = (text: string): Map<string, string> =>
    new Map(
      text.split(/^(?=[a-z]+:)/m).flatMap((part) => (/^[a-z]+:/.test(part) ? [[part.split(':')[0]!, part]] : [])),
    );
  const pasted = (text: string, lines: string): string =>
    [...new Map([...sections(text), ...sections(`${lines}\n`)]).values()].join('\n');
  const folder = new URL('../../schedules/', import.meta.url);
  const shipped = readdirSync(folder).map((file): [string, string] => [file, readFileSync(new URL(file, folder), 'utf8')]); // prettier-ignore
  const bare = 'version: 1\nquantizers: { q: { class: PostTrainLinearQuantizer } }\n';
  const culprits = (['input', 'weights'] as const).flatMap((part) =>
    ([undefined, 'clipping', 'few samples'] as const).map((cause) => culprit({ part, ...(cause && { cause }) })),
  );

  // What is printed, put in place of the sections of these names, is the schedule with the cure where it belongs.
  it.each([...shipped, ['no policies', bare]])('mend %s when they are pasted', (_, text) => {
    const stages = (yaml: string): Stage[] => [...parseSchedule(yaml, 'pasted.yaml', { passes }).stages];
    const stage = stageOf(text);
    const method = { ...stage, options: { ...(stage.options as object), calibration: { method: 'percentile', samples: 512 } } }; // prettier-ignore
    const cures = [stage, ...(stage.pass.name === 'quantize/static' ? [method] : [])].flatMap((one) => culprits.flatMap((found) => curesOf(one, found, true, 999))); // prettier-ignore
    for (const cure of cures) {
      const now = stages(pasted(text, cureLines(text, stage, cure)));
      const at = now.findIndex(({ instance }) => instance === stage.instance);
      const quantizer = now[at]!;
      const { overrides, calibration, bits_weights } = quantizer.options as Record<string, object>;
      if (cure.raised) expect(overrides).toMatchObject(cure.raised);
      if (cure.calibration) expect(calibration).toMatchObject(cure.calibration);
      if (cure.bits !== undefined) expect(bits_weights).toBe(cure.bits);
      const { epoch } = quantizer.clock;
      const classes = (some: readonly Stage[]): string[] => some.filter(({ clock, gate }) => clock.epoch === epoch && !gate).map((one) => one.class); // prettier-ignore
      if (cure.before) expect(classes(now.slice(0, at))).toContain(cure.before.class);
      if (cure.after) expect(classes(now.slice(at + 1))).toContain(cure.after.class);
      // And nothing else has changed.
      expect(now.length).toBe(stages(text).length + (cure.before ? 1 : 0) + (cure.after ? 1 : 0));
    }
  });

  it('are only the sections that change', () => {
    const text = written('PostTrainLinearQuantizer');
    const stage = stageOf(text);
    const keys = (cure: object): string[] => [...sections(cureLines(text, stage, { label: '', ...cure })).keys()];
    expect(keys({ bits: 7 })).toEqual(['quantizers']);
    expect(keys({ calibration: { samples: 9 } })).toEqual(['quantizers']);
    expect(new Set(keys({ before: both.before }))).toEqual(new Set(['extensions', 'policies']));
    expect(keys({})).toEqual([]);
  });
});

describe('tryCures', () => {
  const tools = {
    calibration: samplesOf(vectors),
    context: (stage: object) => testContext({ calibration: vectors, reference: dense, ...stage }),
  };
  const joined = async (model: Model, feeds: readonly Feeds[]): Promise<number[]> => {
    const all = await Promise.all(feeds.map(async (one) => (await runModel(model, one))['y']!.data as Float32Array));
    return all.flatMap((data) => Array.from<number>(data));
  };
  const tried = async (cures: readonly Cure[], stage: Stage, tail: readonly Stage[] = [], plan: Plan = new Map()) => {
    const told: [number, string][] = [];
    const progress = (done: number, text: string): void => void told.push([done, text]);
    return {
      found: await tryCures({ float: dense, stage, tail, plan }, cures, tools as never, {
        batches: () => tools.calibration(8),
        signal: never,
        progress,
      }),
      told,
    };
  };

  it('quantizes anew with each, and measures the outputs on as many samples as it may', async () => {
    const stage = stageOf(written('PostTrainLinearQuantizer', ', bits_weights: 3, calibration: { method: minmax }'));
    const seen: unknown[] = [];
    const made: Model[] = [];
    const apply = async (...[model, options, ctx]: Parameters<Pass['apply']>) => {
      seen.push([model === dense, options, ctx.twin, ctx.plan.size, ctx.memory.size, ctx.clock.epoch]);
      const result = await stage.pass.apply(model, options, ctx);
      made.push(result.model);
      return result;
    };
    const cures: Cure[] = [
      { label: 'bits', bits: 8 },
      { label: 'method', calibration: { method: 'mse' } },
      { label: 'samples', calibration: { samples: 999 } },
      { label: 'raised', raised: { one: { bits_weights: 8 } } },
      { label: 'before', before: both.before! },
      { label: 'after', after: both.after! },
    ];
    const { found, told } = await tried(cures, { ...stage, pass: { ...stage.pass, apply } });
    expect(found.map(({ cure }) => cure)).toEqual(cures);
    expect(told).toEqual(cures.map(({ label }, i) => [i / cures.length, containing(`trying ${label}`)]));
    const { options: own } = stage as { options: { calibration: object } };
    // A trial sees few samples, but where more of them are what is tried.
    const options = { ...own, calibration: { ...own.calibration, samples: 64 } };
    const calibration = { ...options.calibration, method: 'mse' };
    expect(seen).toEqual([
      [true, { ...options, bits_weights: 8 }, undefined, 0, 0, 3],
      [true, { ...options, calibration }, undefined, 0, 0, 3],
      [true, { ...options, calibration: { ...own.calibration, samples: 999 } }, undefined, 0, 0, 3],
      [true, { ...options, overrides: { one: { bits_weights: 8 } } }, undefined, 0, 0, 3],
      [false, options, undefined, 0, 0, 3],
      [true, options, undefined, 0, 0, 3],
    ]);
    const expected = (await joined(dense, vectors.slice(0, 8))) as never;
    for (const i of [0, 1, 2, 3, 4])
      expect(found[i]?.sqnr).toBeCloseTo(snr(expected, (await joined(made[i]!, vectors.slice(0, 8))) as never), 4);
    // Searched rounding of 3 bits is better than the nearest one.
    const plain = await outputSqnr(dense, made[5]!, () => tools.calibration(8), never);
    expect(found[5]!.sqnr).toBeGreaterThan(plain + 0.3);
  }, 20000);

  it('runs what follows the quantizer with few samples, what a plan says in mind', async () => {
    const text = `${written('PostTrainLinearQuantizer', ', bits_weights: 3').replace('policies', 'extensions: { a: { class: AdaRound, samples: 999, iterations: 0 } }\npolicies')}  - { extension: { instance_name: a }, epochs: [4] }\n`;
    const [stage, later] = parseSchedule(text, 's.yaml', { passes }).stages as [Stage, Stage];
    const seen: unknown[] = [];
    const watched = (one: Stage): Stage => {
      const apply = (...[model, options, ctx]: Parameters<Pass['apply']>) => {
        seen.push([one.class, ctx.plan.size, ctx.clock.epoch, (options as { samples?: number }).samples, ctx.twin !== undefined]); // prettier-ignore
        return one.pass.apply(model, options, ctx);
      };
      return { ...one, pass: { ...one.pass, apply } };
    };
    const plan: Plan = new Map([['other', { bits: 8 }]]) as never;
    const cures: Cure[] = [{ label: 'none' }];
    const { found } = await tried(cures, watched(stage), [watched(later)], plan);
    expect(seen).toEqual([
      ['PostTrainLinearQuantizer', 1, 3, undefined, false],
      ['AdaRound', 1, 4, 64, true],
    ]);
    const plain = (await tried(cures, stage)).found[0]!.sqnr;
    expect(found[0]!.sqnr).toBeGreaterThan(plain + 0.3);
  }, 20000);

  it('leaves out what does not run, and ends at a bug', async () => {
    const stage = stageOf(written('PostTrainLinearQuantizer'));
    const failing = (error: Error): Stage => {
      let calls = 0;
      const apply = (...given: Parameters<Pass['apply']>) => (calls++ === 0 ? Promise.reject(error) : stage.pass.apply(...given)); // prettier-ignore
      return { ...stage, pass: { ...stage.pass, apply } };
    };
    const cures: Cure[] = ['a', 'b'].map((label) => ({ label, bits: 7 }));
    const { found } = await tried(cures, failing(new QtoolError('runtime', 'it does not run')));
    expect(found.map(({ cure }) => cure.label)).toEqual(['b']);
    await expect(tried(cures, failing(new Error('a bug')))).rejects.toThrow('a bug');
  });
});
