import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { latency, pairedRatios, withRows } from '../../src/runtime/time.ts';
import { denseModel, float, numbers } from './models.ts';

const quick = { rounds: 3, seconds: 0 };

describe('latency', () => {
  it('times both models at every batch size', async () => {
    const model = denseModel();
    const results = await latency(model, model, { x: float([1, 3], numbers(1, 3)) }, { ...quick, batches: [1, 5] });
    expect(results.map((r) => r.batch)).toEqual([1, 5]);
    for (const r of results) {
      expect(r.rounds).toBe(3);
      for (const ms of [r.milliseconds, r.floatMilliseconds, r.ratio]) expect(ms).toBeGreaterThan(0);
      expect(r.ratioLow).toBeLessThanOrEqual(r.ratio);
      expect(r.ratio).toBeLessThanOrEqual(r.ratioHigh);
    }
  });

  it('times a model of fixed batch at that batch alone', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [2, 3])],
      outputs: [makeValue('y', 'float32', [2, 3])],
      nodes: [makeNode('Abs', ['x'], ['y'])],
    });
    const results = await latency(model, model, { x: float([2, 3], numbers(1, 6)) }, quick);
    expect(results.map((r) => r.batch)).toEqual([2]);
  });

  it('times a model as it is fed where samples run alone', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['B', 3]), makeValue('state', 'float32', [2, 'B', 3])],
      outputs: [makeValue('y', 'float32', [2, 'B', 3])],
      nodes: [makeNode('Add', ['x', 'state'], ['y'])],
    });
    const feeds = { x: float([4, 3], numbers(1, 12)), state: float([2, 4, 3], numbers(2, 24)) };
    expect((await latency(model, model, feeds, quick)).map((r) => r.batch)).toEqual([1]);
  });

  it('stops when cancelled', async () => {
    const work = latency(
      denseModel(),
      denseModel(),
      { x: float([1, 3], numbers(1, 3)) },
      { signal: AbortSignal.abort() },
    );
    await expect(work).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('pairedRatios', () => {
  it('takes medians, and quartiles of the ratios of pairs', () => {
    // Ratios 2, 4, 1, 3, 10: the median is 3 although the medians of the readings are 2 and 6.
    const result = pairedRatios([
      [1, 2],
      [2, 8],
      [6, 6],
      [2, 6],
      [0.5, 5],
    ]);
    expect(result).toEqual({ milliseconds: 2, floatMilliseconds: 6, ratio: 3, ratioLow: 2, ratioHigh: 4, rounds: 5 });
  });

  it('interpolates between readings', () => {
    // Ratios 1, 2, 3, 4: quartiles 1.75 and 3.25 (type 7).
    const result = pairedRatios([
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 4],
    ]);
    expect([result.ratioLow, result.ratio, result.ratioHigh]).toEqual([1.75, 2.5, 3.25]);
  });
});

describe('withRows', () => {
  it('repeats or cuts samples, not what the model fixes', () => {
    const model = makeModel({
      inputs: [
        makeValue('x', 'float32', ['N', 2]),
        makeValue('rate', 'float32', [1]),
        makeValue('word', 'string', ['N']),
      ],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('Mul', ['x', 'rate'], ['y'])],
    });
    const feeds = {
      x: float([2, 2], [1, 2, 3, 4]),
      rate: float([1], [7]),
      word: { type: 'string', dims: [2], data: ['a', 'b'] },
    } as const;
    expect(withRows(model, feeds, 3)).toEqual({
      x: float([3, 2], [1, 2, 3, 4, 1, 2]),
      rate: float([1], [7]),
      word: { type: 'string', dims: [3], data: ['a', 'b', 'a'] },
    });
    expect(withRows(model, feeds, 1).x).toEqual(float([1, 2], [1, 2]));
  });
});
