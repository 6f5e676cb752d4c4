import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as z from 'zod';
import type { Dataset } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { modelBytes, readModel, writeModel } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Metric } from '../../src/metrics/metric.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { minmax } from '../../src/numerics/minmax.ts';
import { sealed } from '../../src/numerics/fold.ts';
import type { Pass, PassResult } from '../../src/passes/pass.ts';
import type { RunEvent } from '../../src/run/event.ts';
import { run, type RunOptions } from '../../src/run/run.ts';
import type { Fallback, Gate, Limit } from '../../src/schedule/types.ts';
import { floats } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

let folder: string;
let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'qtool-outcome-'));
  out = join(folder, 'out');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Samples of noise; `read` counts them. */
function noisy(source: string, count: number, whenRead: (sample: number) => void = () => undefined) {
  const set: Dataset & { read: number } = {
    info: { kind: 'random', source, samples: count, labelled: false, notes: [] },
    fingerprint: (limit) => `${source} ${limit}`,
    read: 0,
    async *samples(limit = count) {
      for (let i = 0; i < Math.min(count, limit); i++) {
        set.read++;
        whenRead(i);
        yield { id: String(i), feeds: { x: floats(noise(i, 8), [1, 8]) } };
      }
    },
  };
  return set;
}

/** x [N, 8] → `one` → Relu → `two` → y; `off` is added to the first weight. */
function net(off = 0, batch: number | string = 'N'): Model {
  const matrix = (name: string, seed: number, first = 0) =>
    makeTensor(name, 'float32', [8, 8], noise(seed, 64).map((v, i) => (i === 0 ? v + first : v))); // prettier-ignore
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', [batch, 8])],
    outputs: [makeValue('y', 'float32', [batch, 8])],
    initializers: [
      ...[matrix('w1', 1, off), matrix('w2', 2)],
      // Of floating-point type, which no node reads; and one of integers.
      ...[
        makeTensor('half', 'float16', [3], new Uint16Array(3)),
        makeTensor('twice', 'float64', [5], new Float64Array(5)),
      ],
      ...[
        makeTensor('brain', 'bfloat16', [7], new Uint16Array(7)),
        makeTensor('ids', 'int64', [9], new BigInt64Array(9)),
      ],
    ],
    nodes: [
      makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
      makeNode('Relu', ['h'], ['r']),
      makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'two' }),
    ],
  });
}
const float = net();
const better = net(0.001);
const nothing = { changed: [], skipped: [] };
const done = (model: Model): PassResult => ({ model, changed: [{ layer: 'one', text: 'shifted' }], skipped: [] });

type Applied = (...given: Parameters<Pass['apply']>) => PassResult | Promise<PassResult>;
interface Policy {
  readonly apply: Applied;
  readonly gate?: Gate;
  readonly fallback?: Fallback;
}

/** Runs these passes one after the other. */
async function ran(policies: readonly Policy[], more: Partial<RunOptions> = {}) {
  const events: RunEvent[] = [];
  const stages = policies.map(({ apply, ...policy }, i) => ({
    ...{ index: i + 1, instance: `p${i + 1}`, class: 'Own', options: {}, at: `s.yaml:${i + 1}:1`, gate: undefined },
    ...{ clock: { epoch: i, start: i, end: i + 1, frequency: 1 } },
    ...policy,
    pass: { name: 'test/own', section: 'pruners', classes: ['Own'], summary: '', source: '', apply } as never as Pass,
  }));
  const data = { calibration: noisy('calibration', 6), validation: noisy('validation', 4), notes: ['of the data'], metrics: [], folder, batchSize: 2 }; // prettier-ignore
  const waiting = [{ name: 'decay', at: 's.yaml:9:1', reason: 'it trains' }];
  const outcome = run({
    ...{ model: float, data, scheduleText: 'version: 1', metrics: [sqnr()], outDir: out, force: false },
    schedule: { file: 's.yaml', stages, waiting, notes: ['of the schedule'] },
    ...{ measure: true, latency: false, batchSize: 2, signal: new AbortController().signal, command: 'qtool quantize' },
    log: (event) => events.push(event),
    render: (report) => ({ html: `<p>${report.result.status}</p>` }),
    ...more,
  });
  const texts = (kind: 'phase' | 'note' | 'progress'): string[] =>
    events.flatMap((event) => (event.kind === kind && 'text' in event ? [event.text] : []));
  return { report: await outcome.catch((error: unknown) => Promise.reject(Object.assign(error as Error, { texts, data }))), events, texts, data }; // prettier-ignore
}
const files = async (): Promise<string[]> => (await readdir(out)).sort();
const fileHash = async (name: string): Promise<string> =>
  createHash('sha256').update(await readFile(join(out, name))).digest('hex'); // prettier-ignore
const reported = async () => JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as { result: object; warnings: string[] }; // prettier-ignore

describe('a run that comes to its end', () => {
  it('reports everything it knows, in the folder and as a value', async () => {
    const began = Date.now();
    const { report } = await ran([{ apply: () => done(better) }]);
    expect(Date.parse(report.started)).toBeGreaterThanOrEqual(began);
    expect(report.seconds * 1000).toBeLessThanOrEqual(Date.now() - began);
    expect(report.seconds).toBeGreaterThan(0);
    const file = await readFile(join(out, 'model.onnx'));
    expect(report).toMatchObject({
      ...{ format: 1, command: 'qtool quantize', schedule: 'version: 1' },
      tool: { node: process.version, platform: `${process.platform} ${process.arch}`, cpu: expect.stringMatching(/^\S.*\S$/) }, // prettier-ignore
      // 64 + 64 + 3 + 5 + 7 numbers of floating-point type.
      model: { path: '', bytes: modelBytes(float), opset: 13, parameters: 143 },
      data: { calibration: { source: 'calibration' }, validation: { source: 'validation' }, notes: ['of the data'] },
      baseline: { metrics: [{ name: 'sqnr', value: Infinity }], bytes: modelBytes(float), zeros: 0, latency: [] },
      stages: [{ index: 1, verdict: 'kept' }],
      layers: [{ layer: 'one' }, { layer: 'two' }],
      result: {
        ...{ path: join(out, 'model.onnx'), sha256: await fileHash('model.onnx'), stages: [1] },
        ...{ gated: false, status: 'finished', gzip: gzipSync(file, { level: 9 }).length, levels: { samples: 6 } },
      },
    });
    expect(report.result.brotli).toBeGreaterThan(100);
    expect(report.result.measurement).toBe(report.stages[0]?.measurement);
    expect(report.notes).toEqual(['decay (s.yaml:9:1) waits for training: it trains', 'of the schedule']);
    expect(await files()).toEqual(['model.onnx', 'qtool.log', 'report.html', 'report.json', 'schedule.yaml']);
    expect(await readFile(join(out, 'report.html'), 'utf8')).toBe('<p>finished</p>');
    expect(await readFile(join(out, 'schedule.yaml'), 'utf8')).toBe('version: 1');
  });

  it('tells and logs what it does', async () => {
    const { events, texts } = await ran([{ apply: () => done(better) }, { apply: (model) => ({ ...nothing, model }) }]);
    expect(texts('phase')).toEqual(['float baseline', 'stage 1 of 2: test/own', 'stage 2 of 2: test/own', 'report']);
    expect(new Set(texts('progress'))).toContain('measuring');
    expect(events.filter(({ kind }) => kind === 'baseline' || kind === 'stage').map(({ kind }) => kind)).toEqual(['baseline', 'stage', 'stage']); // prettier-ignore
    expect(events.find(({ kind }) => kind === 'baseline')).toMatchObject({ measurement: { metrics: [{ name: 'sqnr' }] } }); // prettier-ignore
    const lines = (await readFile(join(out, 'qtool.log'), 'utf8')).trimEnd().split('\n');
    const said = lines.map((line) => {
      const [, time, event] = /^(\S+) (\{.*\})$/.exec(line)!;
      expect(Date.parse(time!)).not.toBeNaN();
      return (JSON.parse(event!) as RunEvent).kind;
    });
    // The folder is opened when the baseline is known.
    expect(said).toEqual(['baseline', 'phase', 'stage', 'phase', 'stage', 'phase']);
  });

  it('measures nothing where that is not wanted, and asks no gate', async () => {
    const gate = { metric: 'top1', maxDrop: 1, relative: false, onFail: 'stop' } as const;
    const { report, data } = await ran([{ apply: () => done(better), gate }], { measure: false, render: undefined as never }); // prettier-ignore
    expect([report.baseline.metrics, report.result.stages, report.layers, data.validation.read]).toEqual([[], [1], [], 0]); // prettier-ignore
    expect(await files()).not.toContain('report.html');
  });

  it('gives the float model where no stage is kept', async () => {
    const gate = { metric: 'sqnr', min: 200, onFail: 'undo' } as const;
    const { report } = await ran([{ apply: () => done(net(1)), gate }]);
    expect(report.result).toMatchObject({ path: join(out, 'model.onnx'), stages: [], status: 'finished', gated: true });
    expect(report.result.measurement).toEqual(report.baseline);
    expect((await readModel(join(out, 'model.onnx'))).graph.node).toHaveLength(3);
  });

  it('ends at a stage that says stop, with a model where an earlier one gave one', async () => {
    const gate = { metric: 'sqnr', min: 200, onFail: 'stop' } as const;
    const { report } = await ran([{ apply: () => done(net(1)), gate }, { apply: () => done(better) }]);
    expect(report.result).toMatchObject({ status: 'stopped', stages: [], gzip: 0, brotli: 0 });
    expect([report.result.path, report.result.sha256, report.stages.length]).toEqual([undefined, undefined, 1]);
    const second = await ran([{ apply: () => done(better) }, { apply: () => done(net(1)), gate }], { force: true });
    expect(second.report.result).toMatchObject({ status: 'stopped', stages: [1], path: join(out, 'model.onnx') });
    expect(await files()).toContain('model.onnx');
  });

  it('says where it is no faster than float, once something changed', async () => {
    // Products of 256 × 256 beside ones of 8 × 8: nothing makes that as quick. Of a fixed batch only that is timed.
    const model = net(0, 1);
    const slow = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [1, 8])],
      outputs: [makeValue('y', 'float32', [1, 8])],
      initializers: [
        makeTensor('a', 'float32', [8, 256], noise(1, 2048)),
        ...[1, 2, 3].map((i) => makeTensor(`m${i}`, 'float32', [256, 256], noise(i, 256 * 256))),
        makeTensor('b', 'float32', [256, 8], noise(2, 2048)),
      ],
      nodes: [['x', 'a', 'h'], ['h', 'm1', 'i'], ['i', 'm2', 'j'], ['j', 'm3', 'k'], ['k', 'b', 'y']].map(([x, w, y]) => makeNode('MatMul', [x!, w!], [y!])), // prettier-ignore
    });
    const slower = [expect.stringMatching(/^the model is (slower|not surely faster) than float/)];
    const waits = ['decay (s.yaml:9:1) waits for training: it trains', 'of the schedule'];
    expect((await ran([{ apply: () => done(slow) }], { model, latency: true })).report.notes).toEqual([
      ...slower,
      ...waits,
    ]);
    const idle = await ran([{ apply: () => ({ ...nothing, model }) }], { model, latency: true, force: true });
    expect(idle.report.notes).toEqual([expect.stringMatching(/^there is nothing to compress/), ...waits]);
  });

  it('names three of the layers that are quantized already where no stage changes any', async () => {
    const count = 5;
    const made = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      initializers: [makeTensor('w', 'int8', [8, 8], new Int8Array(64).fill(1))],
      nodes: [
        makeNode('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']),
        ...Array.from({ length: count }, (_, i) => makeNode('MatMulInteger', ['q', 'w', 'z'], [`i${i}`], {}, { name: `product${i}` })), // prettier-ignore
        makeNode('Sum', Array.from({ length: count }, (_, i) => `f${i}`), ['f']), // prettier-ignore
        ...Array.from({ length: count }, (_, i) => makeNode('Cast', [`i${i}`], [`f${i}`], { to: 1 })),
        makeNode('Mul', ['f', 's'], ['y']),
      ].sort((a, b) => ['DynamicQuantizeLinear', 'MatMulInteger', 'Cast', 'Sum', 'Mul'].indexOf(a.op_type) - ['DynamicQuantizeLinear', 'MatMulInteger', 'Cast', 'Sum', 'Mul'].indexOf(b.op_type)), // prettier-ignore
    });
    const idle: Policy = { apply: (model) => ({ ...nothing, model }) };
    const { report } = await ran([idle, idle], { model: made });
    expect(report.notes[0]).toMatch(/already quantized: product0, product1, product2 and 2 more$/);
    const undone = { ...idle, gate: { metric: 'sqnr', min: 200, onFail: 'undo' } as const };
    for (const policies of [
      [],
      [idle, { apply: () => done(better) }],
      [{ ...undone, apply: () => ({ ...nothing, model: net(1) }) }],
    ])
      // prettier-ignore
      expect((await ran(policies, { force: true })).report.notes.join()).not.toContain('nothing to compress');
  });
});

describe('statistics of the calibration data', () => {
  const keeping = { options: ['extremes'], plain: (one: unknown) => one, schema: z.any() };
  const collects: Policy = {
    async apply(model, _, ctx) {
      await ctx.collect(model, new Map([['h', [sealed(minmax()) as never]]]), 6, undefined, { keeping });
      return done(better);
    },
  };

  it('are kept for the next run, which says so, unless the cache is off', async () => {
    await ran([collects], { cache: false });
    expect(await files()).not.toContain('statistics');
    expect((await ran([collects], { force: true })).report.notes).toHaveLength(2);
    const again = await ran([collects], { force: true });
    const line = /^statistics of 6 samples from an earlier run/;
    expect(again.report.notes.slice(2)).toEqual([expect.stringMatching(line)]);
    expect(again.texts('note')).toEqual([expect.stringMatching(line)]);
    expect(await readFile(join(out, 'qtool.log'), 'utf8')).toContain('samples from an earlier run');
  });

  it('go with a run that comes to nothing', async () => {
    const fails: Policy = { apply: () => Promise.reject(new Error('an inner fault')) };
    const both: Policy = { apply: async (...given) => (await collects.apply(...given), fails.apply(...given)) };
    await expect(ran([both])).rejects.toThrow('an inner fault');
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a run that is refused', () => {
  const limits: readonly [string, Limit, Partial<Metric>, RegExp, boolean][] = [
    ['a metric that is not measured', { metric: 'top1', maxDrop: 1, relative: false }, {}, /metric "top1" is not measured/, false], // prettier-ignore
    ['a drop from a perfect value without end', { metric: 'sqnr', maxDrop: 1, relative: false }, {}, /every drop from it is infinite/, false], // prettier-ignore
    ['a drop from a float model without end', { metric: 'sqnr', maxDrop: 1, relative: false }, { perfect: undefined }, /every drop from it is infinite/, true], // prettier-ignore
    ['the wrong side', { metric: 'sqnr', max: 1 }, {}, /better when higher/, true],
  ];
  it.each(limits)('for %s, by the policy', async (_, limit, change, message, measured) => {
    for (const [what, policy] of [
      ['gate', { gate: { ...limit, onFail: 'undo' } }],
      ['fallback', { fallback: { ...limit, timeBudget: undefined } }],
    ] as const) {
      const fails = ran([{ apply: () => done(better) }, { apply: () => done(better), ...policy }], { metrics: [{ ...sqnr(), ...change }] }); // prettier-ignore
      await expect(fails).rejects.toMatchObject({
        code: 'schedule',
        at: 's.yaml:2:1',
        message: expect.stringMatching(message),
      });
      const error = await fails.catch((e: unknown) => e as Error & { hint: string; data: { validation: { read: number } } }); // prettier-ignore
      expect((error as Error).message).toContain(what);
      if (limit.metric === 'top1') expect(error).toMatchObject({ hint: 'measured are: sqnr' });
      expect((error as { data: { validation: { read: number } } }).data.validation.read > 0).toBe(measured);
    }
    // Nothing was written.
    expect(await readdir(folder)).toEqual([]);
  });

  it('says so where nothing is measured at all', async () => {
    const gate = { metric: 'top1', min: 1, onFail: 'undo' } as const;
    await expect(ran([{ apply: () => done(better), gate }], { metrics: [] })).rejects.toMatchObject({
      hint: 'measured are: none',
    });
  });

  it('for a folder in use or one that holds the model, before any data is read', async () => {
    await mkdir(out);
    await writeFile(join(out, 'mine.txt'), 'keep');
    const refused = async (more: Partial<RunOptions>, hint: RegExp) => {
      const fails = ran([{ apply: () => done(better) }], more);
      await expect(fails).rejects.toMatchObject({ code: 'usage', hint: expect.stringMatching(hint), data: { validation: { read: 0 } } }); // prettier-ignore
    };
    await refused({}, /--force/);
    await writeModel(float, join(out, 'model.onnx'));
    await refused({ force: true, model: await readModel(join(out, 'model.onnx')) }, /another output folder/);
    expect(await files()).toEqual(['mine.txt', 'model.onnx']);
  });

  it('for a model that is not supported, or that onnxruntime does not load, before any data is read', async () => {
    const parts = { inputs: [makeValue('x', 'float32', ['N', 8])], outputs: [makeValue('y', 'float32', ['N', 8])], initializers: [] }; // prettier-ignore
    const one = (op: string, domain = '') => makeModel({ ...parts, opset: 13, nodes: [makeNode(op, ['x'], ['y'], {}, { domain })] }); // prettier-ignore
    for (const [model, code] of [
      [one('Relu', 'my.own'), 'model'],
      [one('NoSuch'), 'runtime'],
    ] as const)
      // prettier-ignore
      await expect(ran([], { model })).rejects.toMatchObject({ code, data: { validation: { read: 0 } } });
  });

  it('for data that cannot be read, and leaves no folder behind', async () => {
    const data = { calibration: noisy('c', 6), validation: noisy('v', 4, () => { throw new Error('a broken image'); }) }; // prettier-ignore
    await expect(ran([], { data: { ...data, notes: [], metrics: [], folder, batchSize: 2 } as never })).rejects.toThrow('a broken image'); // prettier-ignore
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a run that is interrupted', () => {
  it('before its first stage has no model', async () => {
    const stopper = new AbortController();
    const data = { calibration: noisy('c', 6), validation: noisy('v', 4, (i) => i === 2 && stopper.abort()) };
    const { report, texts } = await ran([{ apply: () => done(better) }], { data: { ...data, notes: [], metrics: [], folder, batchSize: 2 } as never, signal: stopper.signal }); // prettier-ignore
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [], gzip: 0 });
    expect([report.result.path, report.stages]).toEqual([undefined, []]);
    expect(texts('note')).toEqual([expect.stringMatching(/^cancelled: no stage/)]);
    expect(await files()).toEqual(['qtool.log', 'report.html', 'report.json', 'schedule.yaml']);
  });

  it('keeps the best model so far', async () => {
    const stopper = new AbortController();
    const { report, texts } = await ran(
      [{ apply: () => done(better) }, { apply: () => (stopper.abort(), done(net(1))) }, { apply: () => done(net(2)) }],
      { signal: stopper.signal },
    );
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [1], path: join(out, 'model.onnx') });
    expect(texts('note')).toEqual([expect.stringMatching(/^cancelled: the best model so far is kept/)]);
    expect(report.result.sha256).toBe(await fileHash('model.onnx'));
  });

  it('between two stages begins no other', async () => {
    const stopper = new AbortController();
    const last = { apply: () => Promise.reject(new Error('begun')) };
    const log = (event: RunEvent): void => void (event.kind === 'stage' && stopper.abort());
    const { report } = await ran([{ apply: () => done(better) }, last], { signal: stopper.signal, log, measure: false }); // prettier-ignore
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [1] });
  });
});

describe('a run that fails', () => {
  const fails: Policy = { apply: () => Promise.reject(new Error('an inner fault')) };
  const kept: Policy = { apply: () => done(better) };

  it.each([
    ['stage 1 made', [kept, fails]],
    ['stages 1, 2 made', [kept, kept, fails]],
  ])('keeps what %s, under another name, and says so', async (what, policies) => {
    const error = (await ran(policies).catch((e: unknown) => e)) as Error & { texts: (kind: 'note') => string[] };
    expect(error.message).toBe('an inner fault');
    expect(await files()).toEqual(['model.partial.onnx', 'qtool.log', 'report.html', 'report.json', 'schedule.yaml']);
    const { result, warnings } = await reported();
    const partial = join(out, 'model.partial.onnx');
    expect(result).toMatchObject({ status: 'failed', path: partial, sha256: await fileHash('model.partial.onnx') });
    expect(warnings).toEqual([expect.stringMatching(/^failed: an inner fault\. What .*it is no result$/)]);
    expect(warnings[0]).toContain(`${what} is kept as ${partial}`);
    expect(error.texts('note')).toEqual(warnings);
  });

  it('leaves nothing where nothing was reached', async () => {
    await expect(ran([fails])).rejects.toThrow('an inner fault');
    expect(await readdir(folder)).toEqual([]);
  });

  it('tells the first error, also where the report of it cannot be written', async () => {
    const render = (): never => {
      throw new Error('no page');
    };
    await expect(ran([kept, fails], { render })).rejects.toThrow('an inner fault');
    // What is thrown need not be an error.
    const odd: Policy = { apply: () => Promise.reject('words') }; // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    await ran([kept, odd], { force: true }).catch(() => undefined);
    expect((await reported()).warnings[0]).toMatch(/^failed: words\./);
  });
});
