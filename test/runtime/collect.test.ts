import type { Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Fold } from '../../src/numerics/fold.ts';
import { capture } from '../../src/runtime/capture.ts';
import { collect } from '../../src/runtime/collect.ts';
import type { CollectPlan } from '../../src/runtime/plan.ts';
import { batchOf, denseModel, float, hidden, ifModel, numbers, source } from './models.ts';

type Elements = Fold<Tensor, number[], number[]>;
/** Keeps everything it sees: what a fold was given, in which order. */
const elements: Elements = {
  name: 'elements',
  start: () => [],
  add: (state, tensor) => [...state, ...Array.from(tensor.data as Float32Array)],
  finish: (state) => state,
};
const count: Fold<Tensor, number[], number[]> = {
  ...elements,
  name: 'count',
  add: (state, tensor) => [...state, tensor.data.length],
};

const x = numbers(7, 30);
/** Ten samples in batches of 4, 4 and 2. */
const batches = source(
  batchOf({ x: float([4, 3], x.subarray(0, 12)) }, 4),
  batchOf({ x: float([4, 3], x.subarray(12, 24)) }, 4),
  batchOf({ x: float([2, 3], x.subarray(24)) }, 2),
);

function expectClose(got: readonly number[] | undefined, wanted: readonly number[]): void {
  expect(got).toHaveLength(wanted.length);
  // Sums of three float32 products of magnitude below 3.
  got?.forEach((v, i) => expect(v).toBeCloseTo(wanted[i] as number, 5));
}

describe('collect', () => {
  it('gives every fold of every value the whole data in order, inputs and outputs included', async () => {
    const wanted = new Map([
      ['hidden', [elements, count]],
      ['x', [elements]],
      ['y', [elements]],
    ]);
    const seen: number[] = [];
    const result = await collect(denseModel(), batches, wanted, { progress: (samples) => seen.push(samples) });
    expect([...result.keys()]).toEqual(['hidden', 'x', 'y']);
    expectClose(result.get('hidden')?.[0], hidden(x));
    expect(result.get('hidden')?.[1]).toEqual([8, 8, 4]);
    expect(result.get('x')?.[0]).toEqual(Array.from(x));
    expectClose(
      result.get('y')?.[0],
      hidden(x).map((v) => Math.max(v, 0)),
    );
    expect(seen).toEqual([4, 8, 10]);
  });

  it('needs no run for inputs alone', async () => {
    const result = await collect(denseModel(), batches, new Map([['x', [count]]]));
    expect(result.get('x')?.[0]).toEqual([12, 12, 6]);
  });

  it('takes fewer samples a run, then more passes, under a memory limit, with the same result', async () => {
    const wanted = new Map(['product', 'hidden', 'y'].map((name) => [name, [elements, count]] as const));
    const whole = await collect(denseModel(), batches, wanted);
    const plans: CollectPlan[] = [];
    // One sample of one value is 8 bytes: 48 bytes hold two samples of all three, 16 one sample of two.
    for (const memoryLimit of [48, 16, 1]) {
      const limited = await collect(denseModel(), batches, wanted, {
        memoryLimit,
        planned: (plan) => plans.push(plan),
      });
      for (const [name, [values]] of whole) expect(limited.get(name)?.[0]).toEqual(values);
    }
    expect(plans.map((plan) => [plan.rows, plan.bytes, plan.passes])).toEqual([
      [2, 48, [['product', 'hidden', 'y']]],
      [1, 16, [['product', 'hidden'], ['y']]],
      [1, 8, [['product'], ['hidden'], ['y']]],
    ]);
  });

  it('keeps the size of a model of fixed batch and leaves padding out', async () => {
    const fixed = makeModel({
      inputs: [makeValue('x', 'float32', [4, 3])],
      outputs: [makeValue('y', 'float32', [4, 3])],
      nodes: [makeNode('Neg', ['x'], ['n']), makeNode('Abs', ['n'], ['y'])],
    });
    const padded = batchOf({ x: float([4, 3], x.subarray(12, 24)) }, 4, 1);
    const wanted = new Map([
      ['n', [elements]],
      ['x', [elements]],
    ]);
    const plans: CollectPlan[] = [];
    const result = await collect(fixed, source(padded), wanted, {
      memoryLimit: 1,
      planned: (plan) => plans.push(plan),
    });
    expect(result.get('n')?.[0]).toEqual(Array.from(x.subarray(12, 15), (v) => -v));
    expect(result.get('x')?.[0]).toEqual(Array.from(x.subarray(12, 15)));
    expect(plans[0]?.rows).toBe(4);
  });

  it('takes batches of different shapes', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 1, 'H', 'W'])],
      outputs: [makeValue('y', 'float32', ['N', 1, 'H', 'W'])],
      nodes: [makeNode('Neg', ['x'], ['n']), makeNode('Abs', ['n'], ['y'])],
    });
    const mixed = source(
      batchOf({ x: float([1, 1, 2, 2], x.subarray(0, 4)) }, 1),
      batchOf({ x: float([2, 1, 3, 4], x.subarray(4, 28)) }, 2),
    );
    const result = await collect(model, mixed, new Map([['n', [elements, count]]]));
    expect(result.get('n')?.[0]).toEqual(Array.from(x.subarray(0, 28), (v) => -v));
    expect(result.get('n')?.[1]).toEqual([4, 24]);
  });

  it('cuts a batch of larger samples than the first further', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 'W'])],
      outputs: [makeValue('y', 'float32', ['N', 'W'])],
      nodes: [makeNode('Neg', ['x'], ['n']), makeNode('Abs', ['n'], ['y'])],
    });
    const growing = source(
      batchOf({ x: float([4, 2], x.subarray(0, 8)) }, 4),
      batchOf({ x: float([4, 4], x.subarray(8, 24)) }, 4),
    );
    const result = await collect(model, growing, new Map([['n', [count]]]), { memoryLimit: 32 });
    // 32 bytes hold four samples of two elements, but only two samples of four.
    expect(result.get('n')?.[0]).toEqual([8, 8, 8]);
  });

  it('gives constants whole, once a batch', async () => {
    const padded = source(batchOf({ x: float([4, 3], x.subarray(0, 12)) }, 4, 3));
    const result = await collect(denseModel(), padded, new Map([['b', [elements]], ['x', [count]]])); // prettier-ignore
    expect([result.get('b'), result.get('x')]).toEqual([[[0.5, -0.5]], [[9]]]);
    for await (const values of capture(denseModel(), padded(), ['b', 'y']))
      expect([values['b']?.dims, values['y']?.dims]).toEqual([[2], [3, 2]]);
  });

  const refusals = [
    ['inner', /inside the body of the If node "choice"/],
    ['nowhere', /computes no such value/],
  ] as const;
  it.each(refusals)('refuses the value "%s" with the reason', async (name, text) => {
    await expect(collect(ifModel(), source(), new Map([[name, [count]]]))).rejects.toMatchObject({
      code: 'graph',
      at: name,
      message: expect.stringMatching(text) as string,
    });
  });

  it('says so when there is no data', async () => {
    await expect(collect(denseModel(), source(), new Map([['y', [count]]]))).rejects.toMatchObject({ code: 'data' });
  });

  it('stops when cancelled', async () => {
    const stop = new AbortController();
    const work = collect(denseModel(), batches, new Map([['y', [count]]]), {
      signal: stop.signal,
      progress: () => stop.abort(),
    });
    await expect(work).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('capture', () => {
  it('streams values and inputs batch by batch', async () => {
    const rows: number[] = [];
    const got: number[] = [];
    for await (const feeds of capture(denseModel(), batches(), ['hidden', 'x'])) {
      rows.push(feeds.x?.dims[0] as number);
      got.push(...(feeds.hidden?.data as Float32Array));
    }
    expect(rows).toEqual([4, 4, 2]);
    expectClose(got, hidden(x));
  });

  it('leaves padding out and computes nothing for inputs alone', async () => {
    const padded = batchOf({ x: float([4, 3], x.subarray(0, 12)) }, 4, 3);
    for await (const feeds of capture(denseModel(), source(padded)(), ['x'])) {
      expect(feeds).toEqual({ x: float([3, 3], x.subarray(0, 9)) });
    }
    expect.assertions(1);
  });
});
