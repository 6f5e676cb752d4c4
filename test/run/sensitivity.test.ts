import * as z from 'zod';
import type { Dataset } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { modelBytes } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Metric, MetricResult } from '../../src/metrics/metric.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import type { Pass } from '../../src/passes/pass.ts';
import type { RunEvent } from '../../src/run/event.ts';
import { sensitivity, type SensitivityOptions } from '../../src/run/sensitivity.ts';
import { floats } from '../helpers/context.ts';
import { containing, never } from './support.ts';

const size = 64;
type Zeros = Readonly<Record<string, number>>;

/**
 * x [N, 8] → `one` → Relu → `two` → plus `loss` → y, each layer with 64 weights, so many of them zero; `none` has weights that no
 * pruner takes. The samples are of zeros, so that the loss alone comes out.
 */
function net(zeros: Zeros = {}, loss = 0): Model {
  const matrix = (name: string) =>
    makeTensor(name, 'float32', [8, 8], new Float32Array(size).fill(1).fill(0, 0, zeros[name] ?? 0));
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 8])],
    outputs: [makeValue('y', 'float32', ['N', 8])],
    initializers: [
      ...[matrix('w1'), matrix('w2'), makeTensor('w3', 'float16', [8, 8], new Uint16Array(size))],
      makeTensor('loss', 'float64', [], Float64Array.of(loss)),
    ],
    nodes: [
      makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
      makeNode('Relu', ['h'], ['r']),
      makeNode('MatMul', ['r', 'w2'], ['m'], {}, { name: 'two' }),
      makeNode('Cast', ['w3'], ['c'], { to: 1 }),
      makeNode('MatMul', ['m', 'c'], ['n'], {}, { name: 'none' }),
      makeNode('Cast', ['loss'], ['l'], { to: 1 }),
      makeNode('Add', ['n', 'l'], ['y']),
    ],
  });
}
const whole = net();

const set: Dataset = {
  info: { kind: 'random', source: 'zeros', samples: 3, labelled: false, notes: [] },
  async *samples(limit = 3) {
    for (let i = 0; i < Math.min(3, limit); i++)
      yield { id: String(i), feeds: { x: floats(new Float32Array(8), [1, 8]) } };
  },
};
/** 100 less the loss that a model puts out. */
const score: Metric<number> = {
  ...{ name: 'score', needs: 'reference', summary: '' },
  start: () => 0,
  add: (_, { outputs }) => Number(outputs['y']?.data[0]),
  finish: (loss): MetricResult => ({ name: 'score', value: 100 - loss, unit: '%', higherIsBetter: true, samples: 3, reference: 100, drop: loss }), // prettier-ignore
};

/** What the levels given to the layers make: zeros and loss. */
type Makes = (levels: Readonly<Record<string, number>>) => Model;
const losses: Readonly<Record<string, Readonly<Record<number, number>>>> = {
  w1: { 0.25: 1, 0.5: 3, 0.75: 2 },
  w2: { 0.25: 0, 0.5: -1, 0.75: 8 },
};
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
const plain: Makes = (levels) =>
  net(
    Object.fromEntries(Object.entries(levels).map(([name, level]) => [name, size * level])),
    sum(Object.entries(levels).map(([name, level]) => losses[name]![level]!)),
  );
/** One layer as it is, both together as a function of their zeros. */
const together = (joint: (zeros: Zeros) => Zeros): Makes => (levels) =>
    Object.keys(levels).length < 2 ? plain(levels) : net(joint(Object.fromEntries(Object.entries(levels).map(([name, level]) => [name, size * level])))); // prettier-ignore

async function swept(makes: Makes, more: Partial<SensitivityOptions> = {}) {
  const events: RunEvent[] = [];
  const memories = new Set<unknown>();
  const pass = {
    ...{ name: 'test/own', section: 'pruners', classes: ['Own'], summary: '', source: '' },
    options: z.strictObject({ levels: z.record(z.string(), z.number()) }),
    apply: async (_: Model, { levels }: { levels: Readonly<Record<string, number>> }, { memory }) => {
      expect(memory.size).toBe(0);
      memories.add(memory.set('seen', true));
      return { model: makes(levels), changed: [], skipped: [] };
    },
  } as Pass<{ levels: Readonly<Record<string, number>> }>;
  const report = await sensitivity({
    ...{
      model: whole,
      metrics: [score, sqnr()],
      pass: pass,
      class: 'Own',
      levels: [0.25, 0.5, 0.75],
      layers: ['*'],
    },
    data: {
      calibration: set,
      validation: set,
      notes: ['of the data'],
      metrics: [],
      folder: '.',
      batchSize: 2,
    },
    ...{ target: undefined, batchSize: 2, threads: 1, signal: never, log: (event) => events.push(event) },
    ...more,
  });
  const choices = events.flatMap((event) => (event.kind === 'phase' ? (/levels for (.*)/.exec(event.text)?.[1] ?? []) : [])); // prettier-ignore
  return { report, events, choices };
}
const target = (share: number) => ({ target: { unit: 'parameters', share } }) as const;

describe('sensitivity', () => {
  it('measures each layer alone at each level', async () => {
    const { report, events } = await swept(plain);
    expect(report).toMatchObject({
      ...{ format: 1, model: { path: '', bytes: modelBytes(whole) }, data: { source: 'zeros' }, class: 'Own' },
      ...{ metric: { name: 'score', unit: '%', value: 100 }, notes: ['of the data'], solution: undefined },
    });
    // Of 128 weights that are not zero 16, 32 and 48 go. A layer has 256 bytes whole, else a bit an element and 4 bytes a weight.
    const costs = [16, 32, 48].map((zeros) => ({
      ...{ parameters: (128 - zeros) / 128, macs: 1 },
      bytes: (256 + 8 + 4 * (64 - zeros)) / 512,
    }));
    const points = (name: string) =>
      [0.25, 0.5, 0.75].map((sparsity, i) => {
        const drop = losses[name]![sparsity]!;
        return { sparsity, value: 100 - drop, drop, costs: costs[i] };
      });
    expect(report.curves).toEqual([
      { layer: 'one', name: 'w1', points: points('w1') },
      { layer: 'two', name: 'w2', points: points('w2') },
    ]);
    const at = [0.25, 0.5, 0.75].map((sparsity, i) => ({ kind: 'progress', done: (i + 1) / 3, text: `sparsity ${sparsity}` })); // prettier-ignore
    expect(events).toEqual([
      { kind: 'phase', text: 'layer 1 of 2: one' },
      ...at,
      { kind: 'phase', text: 'layer 2 of 2: two' },
      ...at,
    ]);
  });

  it('takes noise for the drop of a metric without bound', async () => {
    const { report } = await swept(plain, { metrics: [sqnr()], model: net({}, 1), levels: [0.5], layers: ['one'] });
    // 1 comes out where 3 should not: an error of twice the signal.
    expect(report.curves.map(({ layer, points }) => [layer, points[0]?.drop])).toEqual([['one', expect.closeTo(4, 6)]]);
  });

  it('says of a layer that cannot be pruned that it cannot', async () => {
    const cannot = 'nothing of it can be pruned alone by this class';
    const same: Makes = (levels) => ('w1' in levels ? whole : net({}, 1));
    expect((await swept(same)).report).toMatchObject({
      curves: [],
      notes: ['of the data', `one: ${cannot}`, `two: ${cannot}`],
    });
    // One that can be pruned to the first level only has a curve of one point.
    const first: Makes = (levels) => (levels['w1'] === 0.5 ? whole : plain(levels));
    const { report } = await swept(first, { layers: ['one'] });
    expect(report.curves.map(({ points }) => points.length)).toEqual([1]);
  });

  it('ends where it is interrupted, and refuses layers without float weights', async () => {
    const stopper = new AbortController();
    const stops: Makes = (levels) => (levels['w1'] === 0.5 && stopper.abort(), plain(levels));
    await expect(swept(stops, { signal: stopper.signal })).rejects.toThrow();
    const begun: Makes = () => { throw new Error('begun'); }; // prettier-ignore
    await expect(swept(begun, { layers: ['none'] })).rejects.toMatchObject({ code: 'usage', message: containing('none'), hint: containing('inspect') }); // prettier-ignore
    await expect(swept(begun, { signal: AbortSignal.abort() })).rejects.not.toThrow('begun');
  });
});

describe('a target', () => {
  it('is met at the least sum of drops, which never fall along a curve', async () => {
    // 38.4 of 128 must go: 16 of w1 for 1 and 32 of w2 for 0, not for the −1 that was measured.
    const { report, choices } = await swept(plain, target(0.7));
    expect(report.solution).toEqual({
      ...{ unit: 'parameters', target: 0.7, levels: { w1: 0.25, w2: 0.5 }, foretold: 1 },
      ...{ value: 100, drop: 0, costs: { parameters: 80 / 128, macs: 1, bytes: (8 + 4 * 48 + 8 + 4 * 32) / 512 } },
    });
    expect(choices).toEqual(['70.0 % of the parameters']);
    // What is met exactly is met; where nothing has to go, what costs nothing goes all the same.
    expect((await swept(plain, target(0.625))).choices).toHaveLength(1);
    expect((await swept(plain, target(1))).report.solution).toMatchObject({ foretold: 0, costs: { parameters: 0.75 } });
  });

  it('of what all layers give at the most is met by that, and less is refused', async () => {
    expect((await swept(plain, target(0.25))).report.solution).toMatchObject({ levels: { w1: 0.75, w2: 0.75 }, foretold: 11 }); // prettier-ignore
    await expect(swept(plain, target(0.24))).rejects.toMatchObject({
      ...{ code: 'usage', message: '24.0 % of the parameters cannot be reached with these levels' },
      hint: containing('these levels come down to 25.0 % at the best: give higher --levels'),
    });
  });

  it('is tightened until the layers meet it together', async () => {
    // Together w2 keeps 16 more: 75 % are left, twice; then w1 at 0.75 for 3 is the cheapest, and 50 % are left.
    const less = together(({ w1 = 0, w2 = 0 }) => ({ w1, w2: w2 - 16 }));
    const { report, choices } = await swept(less, target(0.7));
    expect(choices.map((text) => parseFloat(text))).toEqual([70, 65, 60]);
    expect(report.solution).toMatchObject({ target: 0.7, levels: { w1: 0.75, w2: 0.5 }, costs: { parameters: 0.5 } });
  });

  it('that is always missed by little is given up after six rounds', async () => {
    // 90 of 128 are left whatever is asked: 0.1 points more than the target, which is tightened by 0.2 at the least.
    const missed = together(() => ({ w1: 38 }));
    const { report, choices } = await swept(missed, target(0.702));
    expect(choices.map((text) => parseFloat(text))).toEqual([70.2, 70, 69.8, 69.6, 69.4, 69.2]);
    expect(report.solution?.costs.parameters).toBe(90 / 128);
  });

  it('is not taken for met where a level makes a layer larger', async () => {
    // Of 96 weights 30.7 must go: 32 of w2 do, for nothing. The first level of w1 brings 32 back, which is nothing that w1 could save.
    const model = net({ w1: 32 });
    const larger: Makes = (levels) => {
      const zeros = { w1: { 0.25: 0, 0.5: 48, 0.75: 64 }[levels['w1'] ?? 0] ?? 32, w2: size * (levels['w2'] ?? 0) };
      return net(zeros, sum(Object.entries(levels).map(([name, level]) => losses[name]![level]!)));
    };
    const { report, choices } = await swept(larger, { model, ...target(0.68) });
    expect([choices.length, report.solution?.levels]).toEqual([1, { w2: 0.5 }]);
  });
});
