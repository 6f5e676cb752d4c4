import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { modelBytes } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Pass, PassContext, PassResult } from '../../src/passes/pass.ts';
import { runStage, type Memories, type State } from '../../src/run/stage.ts';
import { refusal } from '../../src/run/trial.ts';
import type { Fallback, Gate, Stage } from '../../src/schedule/types.ts';
import { QtoolError } from '../../src/util/error.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { containing, matching, never, samplesOf } from './support.ts';

const feeds: Feeds[] = [1, 2, 3].map((seed) => ({ x: floats(noise(seed, 8), [1, 8]) }));

/** x [1, 8] → `one` → `two` → y, and `side`, which reads x too (`apart`: a copy of it); `off` is added to a layer's weights. */
function net(off: Readonly<Record<string, number>> = {}, apart = 'x'): Model {
  const layer = (name: string, from: string, to: string) => ({
    weight: makeTensor(`w_${name}`, 'float32', [8, 8], noise(name.length + name.charCodeAt(0), 64).map((v) => v + (off[name] ?? 0))), // prettier-ignore
    node: makeNode('MatMul', [from, `w_${name}`], [to], {}, { name }),
  });
  const all = [layer('one', 'x', 'h'), layer('two', 'h', 't'), layer('side', apart, 's')];
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', [1, 8])],
    outputs: [makeValue('y', 'float32', [1, 8])],
    initializers: all.map(({ weight }) => weight),
    nodes: [makeNode('Identity', ['x'], ['apart']), ...all.map(({ node }) => node), makeNode('Add', ['t', 's'], ['y'])],
  });
}
const float = net();
/** Loads in no onnxruntime. */
const unloadable = makeModel({
  opset: 13,
  inputs: [makeValue('x', 'float32', [1, 8])],
  outputs: [makeValue('y', 'float32', [1, 8])],
  initializers: [],
  nodes: [makeNode('NoSuchOperator', ['x'], ['y'])],
});

/** What a test's pass makes at a strength, how good that is, and what the stage is. */
interface Given extends Partial<Omit<Stage, 'pass'>> {
  readonly makes: (options: never, ctx: PassContext) => Partial<PassResult>;
  /** The metric's value of a model; one that has none does not run. Those of 100 are the float model's. */
  readonly worth?: (model: Model) => number | undefined;
  readonly before?: Partial<State>;
  readonly memories?: Memories;
  readonly measure?: boolean;
  readonly latency?: boolean;
  readonly signal?: AbortSignal;
  readonly of?: Partial<Pass>;
}

async function staged({ makes, worth = () => 100, before, memories = new Map(), of, ...more }: Given) {
  const seen: PassContext[] = [];
  const [told, said]: [string[], string[]] = [[], []];
  const asked: number[] = [];
  const pass = {
    ...{ name: 'test/own', section: 'pruners', classes: ['Own', 'Other'], summary: '', source: '' },
    async apply(model: Model, options: never, ctx: PassContext): Promise<PassResult> {
      seen.push(ctx);
      return { model, changed: [], skipped: [], ...makes(options, ctx) };
    },
    ...of,
  } as unknown as Pass;
  const state: State = { model: float, plan: new Map(), twin: undefined, held: new Map(), measurement: undefined, stages: [1], ...before }; // prettier-ignore
  const measured: Model[] = [];
  const tools = {
    measure: async (model: Model) => {
      measured.push(model);
      const value = worth(model);
      if (value === undefined) throw new QtoolError('runtime', 'onnxruntime failed while running: shapes');
      return [{ name: 'm', value, unit: '%', higherIsBetter: true, samples: 9, reference: 100, drop: 100 - value }];
    },
    context: (stage: object) =>
      testContext({ ...stage, calibration: feeds, reference: float, progress: (_, text) => told.push(text ?? '') }),
    calibration: samplesOf(feeds, asked),
    sample: async () => feeds[0],
  };
  const { measure = true, latency = false, signal = never, ...stage } = more;
  const whole = {
    ...{ index: 3, instance: 'mine', class: 'Own', options: { strength: 1 }, at: 's.yaml:5:3', gate: undefined },
    clock: { epoch: 4, start: 0, end: 9, frequency: 1 },
    ...stage,
    pass,
  };
  const options = { model: float, measure, latency, signal, baseline: { metrics: [] }, say: (text: string) => void said.push(text) }; // prettier-ignore
  const { state: after, report } = await runStage(whole, state, tools as never, options, memories);
  return { before: state, after, report, seen, told, asked, measured, said };
}

const gate = (onFail: Gate['onFail']): Gate => ({ metric: 'm', maxDrop: 5, relative: false, onFail });
const worse = net({ one: 1 });
const good = net({ one: 0.1 });
const spoils: Given = { makes: () => ({ model: worse }), worth: (model) => (model === worse ? 80 : 100) };
/** Strengths 0 to 1, that of 1 making the bad model. */
const scaled = (limit: number): Given => ({
  makes: (options: { strength: number }) => ({ model: options.strength > limit ? worse : good }),
  worth: (model) => (model === worse ? 80 : 97),
  of: {
    strength: { at: (_, t) => ({ strength: t }), describe: (o) => `strength ${(o as { strength: number }).strength}` },
  },
});

describe('a stage that holds', () => {
  it('goes on with its model, its plan beside the earlier ones, its twin, and what was measured', async () => {
    const [eight, four] = [{}, {}];
    const { before, after, report } = await staged({
      makes: () => ({
        ...{ model: good, twin: worse, plan: new Map([['two', four]]), notes: ['a remark'] },
        ...{ changed: [{ layer: 'one', text: 'changed' }], skipped: [{ layer: 'two', text: 'left' }] },
      }),
      worth: () => 99,
      gate: gate('undo'),
      before: { plan: new Map([['one', eight], ['two', eight]]) }, // prettier-ignore
    });
    expect([...after.plan]).toEqual([['one', eight], ['two', four]]); // prettier-ignore
    expect(after.plan.get('two')).toBe(four);
    expect([after.model, after.twin, after.stages]).toEqual([good, worse, [1, 3]]);
    expect([...before.plan.values()]).toEqual([eight, eight]);
    expect(after.measurement).toEqual(report.measurement);
    expect(report).toMatchObject({
      ...{ index: 3, instance: 'mine', pass: 'test/own', class: 'Own', epoch: 4, at: 's.yaml:5:3' },
      ...{ options: { strength: 1 }, gate: gate('undo'), verdict: 'kept', why: containing('m drop') },
      ...{ changed: [{ layer: 'one' }], skipped: [{ layer: 'two' }], notes: ['a remark'] },
      attempts: [{ strength: '', passed: true, measurement: { bytes: modelBytes(good), zeros: 0, latency: [] } }],
      measurement: { metrics: [{ name: 'm', value: 99 }] },
    });
    expect(report.seconds).toBeGreaterThanOrEqual(0);
    expect(report.seconds).toBeLessThan(60);
  });

  it('keeps plan and twin of earlier stages where it has none', async () => {
    const plan = new Map([['one', {}]]);
    const { after, report } = await staged({ makes: () => ({ model: good }), before: { plan, twin: worse } });
    expect([after.plan, after.twin]).toEqual([plan, worse]);
    expect([report.notes, report.why]).toEqual([[], 'no gate']);
  });

  it('gives its pass the state it comes to, and its own memory from stage to stage', async () => {
    const memories: Memories = new Map([['other', new Map([['n', 7]])]]);
    const plan = new Map([['one', {}]]);
    const counts = (ctx: PassContext): void => void ctx.memory.set('n', Number(ctx.memory.get('n') ?? 0) + 1);
    const makes: Given['makes'] = (_, ctx) => (counts(ctx), { model: good });
    const { seen } = await staged({ makes, memories, before: { plan, twin: worse } });
    expect(seen[0]).toMatchObject({ plan, twin: worse, clock: { epoch: 4, end: 9 } });
    await staged({ makes, memories });
    // One that is undone leaves no trace in it.
    await staged({ ...spoils, makes: (_, ctx) => (counts(ctx), { model: worse }), memories, gate: gate('undo') });
    await staged({ makes, memories });
    expect([memories.get('mine')?.get('n'), memories.get('other')?.get('n')]).toEqual([3, 7]);
  });

  it('is judged by its preview, and weighed by its model', async () => {
    const { after, report, measured } = await staged({ makes: () => ({ model: good, preview: worse }) });
    expect([measured, after.model]).toEqual([[worse], good]);
    expect(report.measurement?.bytes).toBe(modelBytes(good));
  });

  it('is timed where that is asked and something was measured', async () => {
    const { report } = await staged({ makes: () => ({ model: good }), latency: true });
    expect(report.measurement).toMatchObject({ latency: [{ batch: 1 }], metrics: [{ value: 100 }] });
    expect(report.attempts[0]?.measurement?.latency).toEqual([]);
    const timed = staged({ makes: () => ({ model: good }), latency: true, signal: AbortSignal.abort() });
    await expect(timed).rejects.toMatchObject({ code: 'cancelled' });
    const failed = await staged({ makes: () => ({ model: unloadable }), latency: true });
    expect(failed.after).toBe(failed.before);
  });

  it('is judged by no one where nothing is measured', async () => {
    const { report, measured } = await staged({ ...spoils, measure: false, gate: gate('stop') });
    expect([report.verdict, report.why, measured]).toEqual(['kept', 'not measured', []]);
    expect(report.measurement?.metrics).toEqual([]);
  });
});

describe('a stage that fails', () => {
  it.each<[Gate['onFail'], string, string]>([
    ['undo', 'undone', 'float'],
    ['stop', 'stopped', 'float'],
    ['warn', 'warned', 'worse'],
    ['retry', 'undone', 'float'],
  ])('by its gate, on_fail %s: %s, and the model is the %s one', async (onFail, verdict, model) => {
    const { before, after, report } = await staged({ ...spoils, gate: gate(onFail) });
    expect(report.verdict).toBe(verdict);
    if (model === 'float') expect(after).toBe(before);
    else expect([after.model, after.stages]).toEqual([worse, [1, 3]]);
    expect(report.why).toMatch(/^m drop 20\.00 points > 5\.00 points/);
    expect(report.why.includes('no weaker setting to retry')).toBe(onFail === 'retry');
    expect(report.measurement).toEqual(model === 'float' ? undefined : report.attempts[0]?.measurement);
  });

  // [what, the pass, what is said, what onFail makes of it where a gate would go on].
  it.each<[string, Given, RegExp]>([
    ['does not load', { makes: () => ({ model: unloadable }) }, /^onnxruntime refuses the result: .*NoSuchOperator/],
    ['does not run', { makes: () => ({ model: good }), worth: () => undefined }, /^the result does not run: .*shapes/],
  ])('for it %s is undone, with a gate or without', async (_, given, why) => {
    for (const stage of [given, { ...given, gate: gate('warn') }]) {
      const { before, after, report } = await staged(stage);
      expect([after, report.verdict, report.measurement]).toEqual([before, 'undone', undefined]);
      expect(report.attempts).toEqual([{ strength: '', measurement: undefined, passed: false }]);
      expect(report.why).toMatch(why);
    }
  });

  it('ends the run where it is a bug', async () => {
    const bug = new TypeError('x is undefined');
    const failing = { makes: () => ({ model: good }), worth: () => { throw bug; } }; // prettier-ignore
    await expect(staged(failing)).rejects.toBe(bug);
    const other = new QtoolError('data', 'no such file');
    await expect(refusal(() => Promise.reject(other))).rejects.toBe(other);
    await expect(refusal(() => Promise.resolve())).resolves.toBeUndefined();
  });

  it('retries weaker settings from the same memory with one cache, and keeps the strongest that holds', async () => {
    const made = scaled(0.3);
    const memories: Memories = new Map();
    const { after, report, seen, said } = await staged({ ...made, gate: gate('retry'), memories });
    // Halves: 0.5 ✗, 0.25, 0.375 ✗, 0.3125 ✗, 0.28125, 0.296875.
    expect(report.attempts.map(({ strength, passed }) => [strength, passed])).toEqual([
      ['strength 1', false],
      ['strength 0.5', false],
      ['strength 0.25', true],
      ['strength 0.375', false],
      ['strength 0.3125', false],
      ['strength 0.28125', true],
      ['strength 0.296875', true],
    ]);
    expect([report.verdict, after.model]).toEqual(['retried', good]);
    expect(report.why).toMatch(/^strength 0\.296875: m drop 3\.00 points ≤ 5\.00/);
    expect(new Set(seen.map(({ cache }) => cache)).size).toBe(1);
    expect(seen[0]?.cache).toBeInstanceOf(Map);
    expect(new Set(seen.map(({ memory }) => memory)).size).toBe(7);
    expect(memories.get('mine')).toBe(seen[6]?.memory);
    expect([said.length, said[1], said[2]]).toEqual([7, 'try 2: strength 0.5, m drop 20.00 points > 5.00 points', 'try 3: strength 0.25, m drop 3.00 points ≤ 5.00 points']); // prettier-ignore
    // Nothing of a first try that holds.
    expect((await staged({ ...scaled(1), gate: gate('retry') })).said).toEqual([]);
  });

  it('is undone where no weaker setting holds', async () => {
    const { before, after, report } = await staged({ ...scaled(0), gate: gate('retry') });
    expect([after, report.verdict, report.attempts.length]).toEqual([before, 'undone', 7]);
    expect(report.why).toMatch(/^m drop 20\.00 points.*; no weaker setting passed either$/);
  });
});

describe('a stage with a fallback', () => {
  const fallback: Fallback = { metric: 'm', maxDrop: 5, relative: false, timeBudget: undefined };
  type Wide = { readonly overrides: Readonly<Record<string, object>> };
  const offs = { one: 0.01, two: 0.3, side: 0.02 };
  const lossOf = new WeakMap<Model, number>();
  /** Each layer that is not raised has its error, and costs the metric 100 times it. */
  const quantizer = (
    change: (result: Partial<PassResult>, raised: readonly string[]) => Partial<PassResult> = (r) => r,
  ) => ({
    // prettier-ignore
    makes: ({ overrides }: Wide) => {
      const raised = Object.keys(overrides);
      const left = Object.fromEntries(Object.entries(offs).filter(([layer]) => !raised.includes(layer)));
      const model = net(left);
      lossOf.set(model, 100 * Object.values(left).reduce((a, b) => a + b, 0));
      const changed = Object.keys(left).flatMap((layer) => [1, 2].map((i) => ({ layer, text: `error ${i}` })));
      return change({ model, twin: float, changed }, raised);
    },
    worth: (model: Model) => 100 - (lossOf.get(model) ?? 0),
    options: { bits_weights: 8, bits_activations: 8, overrides: {} },
    fallback,
  });

  it('raises the layer of most damage, and says what it did', async () => {
    const { after, report, told, seen, asked } = await staged(quantizer());
    // 33 points are lost; without `two` 3.
    expect(report).toMatchObject({ verdict: 'retried', why: matching(/^\d of 3 layers raised: m drop/) });
    expect(report.notes).toEqual([matching(/^fallback: .*after 5 damages/), containing("'two': {")]);
    expect(100 - lossOf.get(after.model)!).toBeGreaterThanOrEqual(95);
    // `one` and `side` read the same value, which is asked of once.
    const damages = told.flatMap((text) => /damage of (.*)/.exec(text)?.[1] ?? []);
    expect(damages).toEqual(['what enters one', 'one', 'what enters two', 'two', 'side']);
    expect(new Set(asked)).toEqual(new Set([128]));
    expect(new Set(seen.map(({ cache }) => cache)).size).toBe(1);
  });

  it('asks for no value in 16 bits where that is what all have, or there is no such option', async () => {
    for (const wide of [{ bits_activations: 16 }, { bits_activations: null }, {}]) {
      const options = { bits_weights: 8, ...wide, overrides: {} };
      const { told } = await staged({ ...quantizer(), options });
      expect(told.filter((text) => text.includes('what enters'))).toEqual([]);
    }
  });

  it('asks for the values that layers of the prepared model read', async () => {
    const own = { ...quantizer((result) => ({ ...result, twin: net({}, 'apart') })) };
    const { told } = await staged(own);
    expect(told.filter((text) => text.includes('what enters'))).toHaveLength(3);
  });

  it('takes the time that it is given, in seconds', async () => {
    const damages = async (timeBudget: number): Promise<number> =>
      (await staged({ ...quantizer(), fallback: { ...fallback, timeBudget } })).told.filter((text) => text.includes('damage of')).length; // prettier-ignore
    expect([await damages(1e-9), await damages(900)]).toEqual([0, 5]);
  });

  it('tries narrow weights in 8 bits before float, and knows no width where there is none', async () => {
    const widths: unknown[] = [];
    const noted = (bits?: number): Given => {
      const own = quantizer();
      const makes = (options: Wide) => (widths.push(...Object.values(options.overrides)), own.makes(options));
      return { ...own, makes, options: { ...(bits === undefined ? {} : { bits_weights: bits }), overrides: {} } };
    };
    await staged(noted(4));
    expect(widths.splice(0)).toContainEqual({ bits_weights: 8 });
    await staged(noted());
    expect(widths).not.toContainEqual({ bits_weights: 8 });
  });

  it('leaves a result that holds as it is', async () => {
    const { report, seen } = await staged({ ...quantizer(), fallback: { ...fallback, maxDrop: 40 } });
    expect([report.verdict, report.notes, report.why, seen.length]).toEqual(['kept', [], 'no gate', 1]);
  });

  it('does nothing where nothing is measured', async () => {
    const { report } = await staged({ ...quantizer(), measure: false });
    expect([report.verdict, report.why, report.attempts.length]).toEqual(['kept', 'no gate', 1]);
  });

  it('warns with the best where nothing holds', async () => {
    const least = quantizer();
    const worth = (model: Model): number => least.worth(model) - 10;
    const changed = [{ layer: 'one', text: 'always' }];
    const { report, after, before } = await staged({ ...quantizer((r) => ({ ...r, changed: [...(r.changed ?? []), ...changed], notes: ['own'] })), worth }); // prettier-ignore
    expect(report.verdict).toBe('warned');
    expect(report.notes[0]).toBe('own');
    expect(after).not.toBe(before);
  });

  // The gate says what becomes of a stage that has nothing to show.
  it.each<[Gate | undefined, string]>([
    [undefined, 'undone'],
    [gate('warn'), 'warned'],
    [gate('stop'), 'stopped'],
  ])('has failed where no layer stays quantized: with gate %j it is %s', async (judged, verdict) => {
    const own = quantizer();
    const worth = (model: Model): number => own.worth(model) - (lossOf.get(model)! > 0 ? 10 : 0);
    const { report, after, before } = await staged({ ...own, worth, gate: judged });
    expect([report.verdict, after === before]).toEqual([verdict, verdict !== 'warned']);
    expect(report.why).toMatch(/nothing that holds but the float model/);
    expect(report.notes[0]).toMatch(/^fallback: 3 of 3 layers raised/);
  });

  it('has nothing to do where nothing was quantized', async () => {
    const { report } = await staged({ ...quantizer((result) => ({ ...result, changed: [] })), fallback: { ...fallback, maxDrop: 40 } }); // prettier-ignore
    expect([report.verdict, report.why, report.notes]).toEqual(['kept', 'no gate', []]);
  });

  it('ranks what does not run last', async () => {
    const broken = quantizer((result, raised) => (raised.length === 1 && raised[0] === 'one' ? { ...result, model: unloadable } : result)); // prettier-ignore
    const { report } = await staged(broken);
    expect(report.verdict).toBe('retried');
  });
});
