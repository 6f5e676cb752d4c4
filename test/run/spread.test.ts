import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { constantReader } from '../../src/analyze/constant.ts';
import { histogram } from '../../src/numerics/histogram.ts';
import { rowView } from '../../src/numerics/rows.ts';
import { bitsOf, heldRange } from '../../src/run/layer_facts.ts';
import { activationSpread, binCounts, weightSpread } from '../../src/run/spread.ts';

const total = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);

describe('binCounts', () => {
  it('counts each finite value once, the highest in the last bin', () => {
    const counts = binCounts([0, 0.024, 0.026, 0.5, 1, NaN, Infinity, -1], [0, 1]);
    expect(counts).toHaveLength(40);
    expect([counts[0], counts[1], counts[20], counts[39], total(counts)]).toEqual([2, 1, 1, 1, 5]);
    expect(total(binCounts([3, 3], [3, 3]))).toBe(2);
    // Nothing stands beside the bins.
    expect(Object.keys(counts)).toHaveLength(40);
    // 8 in 40 bins are 0.2 each, from −2 on.
    const wide = binCounts([-2, -1.7, 0, 5.9, 6, 6.1, -2.1], [-2, 6]);
    expect([wide[0], wide[1], wide[10], wide[39], total(wide)]).toEqual([1, 1, 1, 2, 5]);
  });
});

describe('weightSpread', () => {
  const view = rowView([2, 4], [0]);

  it('counts what lies more than a step beyond its own row', () => {
    const float = Float32Array.from([-1, 1, 0.5, 9, -10, 10, 5, 2]);
    // The first row holds -1 to 1, so 9 is lost; the second row holds all it has.
    const held = Float32Array.from([-1, 1, 0.5, 1, -10, 10, 5, 2]);
    const spread = weightSpread(float, held, view, 8);
    // One row of two is not of another scale: 3.5 of 11.5 is more than √2 less. So the lost one is in a long row.
    expect(spread).toMatchObject({ low: -10, high: 10, range: [-10, 10], rescaled: true });
    const long = Float32Array.from({ length: 100 }, (_, i) => (i === 7 ? 9 : (i % 21) / 10 - 1));
    const cut = long.map((v) => Math.min(1, v));
    expect(weightSpread(long, cut, rowView([1, 100], [0]), 8)).toMatchObject({
      high: 9,
      range: [-1, 1],
      clipped: 0.01,
    });
  });

  it('takes rounding for no clipping', () => {
    const float = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
    const step = 2 / 15;
    const codes = float.map((v) => Math.max(-7, Math.min(7, Math.round(v / step))) * step);
    expect(weightSpread(float, codes, rowView([4, 16], [0]), 4).clipped).toBe(0);
    // A row that uses few of the codes: half a step is much of its range.
    const near = Float32Array.from([-1.28, -1.1, -0.96, -1.04]);
    const few = near.map((v) => Math.round(v / 0.2) * 0.2);
    expect(weightSpread(near, few, rowView([1, 4], [0]), 8).clipped).toBe(0);
  });

  it('says that rows were rescaled instead of calling them clipped', () => {
    const float = Float32Array.from([-4, 4, 2, 1, -10, 10, 5, 2]);
    expect(weightSpread(float, float.map((v) => v / 4), view, 8)).toMatchObject({ rescaled: true }); // prettier-ignore
  });

  /** Rows of 16: what is given, the rest of both 1 and −1 in turn. */
  const rows = (...given: (readonly (readonly [float: number, held: number])[])[]) => {
    const fill = (row: (typeof given)[number], at: 0 | 1) => Array.from({ length: 16 }, (_, i) => row[i]?.[at] ?? (i % 2 === 0 ? 1 : -1)); // prettier-ignore
    const [float, held] = ([0, 1] as const).map((at) => Float32Array.from(given.flatMap((row) => fill(row, at))));
    return weightSpread(float!, held, rowView([given.length, 16], [0]), 8);
  };

  it('takes a step beyond a row, either way, for rounding, and of each row its own step', () => {
    // The smallest of the row is 0.5, and 0.75 and 1.25 round to 1.
    const near = [[0.5, 0.5], [1.5, 1], [-1.5, -1], [0.75, 1], [1.25, 1]] as const; // prettier-ignore
    expect(rows(near)).toMatchObject({ clipped: 0 });
    expect(rows([...near, [1.51, 1]])).toMatchObject({ clipped: 1 / 16 });
    expect(rows([...near, [-1.51, -1]])).toMatchObject({ clipped: 1 / 16 });
    // The next row is far wider, and has a far smaller step: neither is the first one's.
    const wider = Array.from({ length: 16 }, (_, i) =>
      i === 0 ? ([10, 10] as const) : ([0.01 * i, 0.01 * i] as const),
    );
    expect(rows([[1.9, 1]], wider)).toMatchObject({ clipped: 0 });
    expect(rows([[2.1, 1]], wider)).toMatchObject({ clipped: 0.03125 });
  });

  it('does not count what was rounded to zero, or a row that was pruned, as another scale', () => {
    expect(rows(Array.from({ length: 14 }, () => [0.4, 0] as const))).toMatchObject({ clipped: 0 });
    const pruned = Array.from({ length: 16 }, () => [1, 0] as const);
    const rescaled = Array.from({ length: 16 }, (_, i) => [i % 2 ? 1 : -1, i % 2 ? 2 : -2] as const);
    expect(rows(...Array.from({ length: 12 }, () => pruned), rescaled, [])).toMatchObject({ rescaled: true });
    // One of ten rows is no more than a tenth of them.
    const one = (others: number) => rows(rescaled, ...Array.from({ length: others }, () => []));
    expect([one(9), one(8)]).toMatchObject([{ clipped: 0 }, { rescaled: true }]);
  });

  it('draws finite values in the range of both, and compares only what lies side by side', () => {
    const two = rowView([1, 2], [0]);
    const of = (float: number[], held: number[]) => weightSpread(Float32Array.from(float), Float32Array.from(held), two, 8); // prettier-ignore
    expect(of([-1, 1], [-2, 3])).toMatchObject({ low: -2, high: 3, range: [-2, 3] });
    expect(of([-3, 4], [-2, 3])).toMatchObject({ low: -3, high: 4, range: [-2, 3] });
    const odd = Float32Array.of(NaN, Infinity, 2, -Infinity, 5);
    expect(weightSpread(odd, undefined, undefined, undefined)).toMatchObject({ low: 2, high: 5 });
    expect(weightSpread(odd.slice(0, 2), undefined, undefined, undefined)).toMatchObject({ low: 0, high: 0 });
    expect(weightSpread(odd.slice(2, 3), undefined, undefined, undefined)).toMatchObject({ low: 2, high: 2 });
    const float = Float32Array.of(1, -1);
    for (const [held, seen, bits] of [
      [Float32Array.of(1, -1, 1), two, 8],
      [float, undefined, 8],
      [float, two, undefined],
      [float, two, 16],
    ] as const)
      expect(Object.keys(weightSpread(float, held, seen, bits))).toEqual([
        'low',
        'high',
        'float',
        'quantized',
        'range',
      ]);
  });

  it('has the float weights alone where nothing else is known', () => {
    expect(Object.keys(weightSpread(Float32Array.from([1, 2]), undefined, undefined, undefined))).toEqual(['low', 'high', 'float']); // prettier-ignore
  });
});

describe('activationSpread', () => {
  const fold = histogram({ num_bins: 512 });
  const values = Float32Array.from({ length: 1000 }, (_, i) => i / 100);
  const fine = fold.finish(fold.add(fold.start(), { dims: [1000], data: values }));

  it('keeps every value, and counts those that cannot be held', () => {
    const spread = activationSpread(fine, [0, 5]);
    expect(spread).toMatchObject({ low: 0, high: 9.99, range: [0, 5] });
    expect(total(spread?.counts ?? [])).toBe(1000);
    // Half of them lie beyond; the fine bins are a 64th wide, so the edge is exact to a few values.
    expect(Math.abs((spread?.clipped ?? 0) - 0.499)).toBeLessThan(0.005);
  });

  // Bins of width 1 from −4 to 36: the report's 40 are the same.
  const counts = Float64Array.from({ length: 40 }, (_, i) => i + 1);
  const even = { width: 1, first: -4, counts, count: 820, min: -4, max: 36, sum: 0, sumSquares: 0, sumAbs: 0 };

  it('moves fine bins by their middle', () => {
    expect(activationSpread(even, undefined)).toEqual({ low: -4, high: 36, counts: [...counts] });
    // What was met begins and ends within its first and last bin.
    const within = activationSpread({ ...even, min: -3.2, max: 35.3 }, undefined)!;
    expect([total(within.counts), Object.keys(within.counts).length]).toEqual([820, 40]);
    expect(activationSpread({ ...even, count: 0 }, undefined)).toBeUndefined();
  });

  it('takes a fine bin for held that is in reach of half a bin', () => {
    // Of −4 to −3 one, of 4 to 36 those from the ninth on; the bins from −3 to −2 and from 3 to 4 are at the edge.
    const beyond = 1 + total([...counts].slice(8));
    expect(activationSpread(even, [-2, 3])).toMatchObject({ range: [-2, 3], clipped: Number((beyond / 820).toPrecision(5)) }); // prettier-ignore
    expect(activationSpread(even, [-9, 99])).toMatchObject({ clipped: 0 });
  });

  it('draws nothing of what is all one value', () => {
    const flat = fold.finish(fold.add(fold.start(), { dims: [2], data: Float32Array.from([3, 3]) }));
    expect(activationSpread(flat, undefined)).toBeUndefined();
  });
});

describe('bitsOf', () => {
  it('reads the width from the type', () => {
    expect(['int8, 4 bits', 'int4', 'uint8', 'float16', 'float32', 'what'].map(bitsOf)).toEqual([4, 4, 8, 16, 32, undefined]); // prettier-ignore
  });
});

describe('a quantized model', () => {
  const model = makeModel({
    inputs: [makeValue('x', 'float32', [1, 2])],
    outputs: [makeValue('y', 'float32', [1, 2])],
    nodes: [
      makeNode('DequantizeLinear', ['codes', 'w.scale', 'w.zero'], ['w']),
      makeNode('Transpose', ['w'], ['wt'], { perm: [1, 0] }),
      makeNode('MatMul', ['x', 'wt'], ['product']),
      makeNode('QuantizeLinear', ['product', 'y.scale', 'y.zero'], ['q']),
      makeNode('DequantizeLinear', ['q', 'y.scale', 'y.zero'], ['y']),
    ],
    initializers: [
      makeTensor('codes', 'int8', [2, 2], Int8Array.from([1, 2, 3, -4])),
      makeTensor('w.scale', 'float32', [], Float32Array.from([0.5])),
      makeTensor('w.zero', 'int8', [], Int8Array.from([0])),
      makeTensor('y.scale', 'float32', [], Float32Array.from([0.1])),
      makeTensor('y.zero', 'uint8', [], Uint8Array.from([28])),
    ],
  });

  it('has its weights read as they are computed, and nothing that depends on the input', async () => {
    const read = constantReader(model);
    expect(await read('wt')).toEqual(Float32Array.from([0.5, 1.5, 1, -2]));
    expect(await read('y.scale')).toEqual(Float32Array.from([0.1]));
    expect(await read('product')).toBeUndefined();
    expect(await read('codes')).toBeUndefined();
  });

  it('tells what an output can hold', () => {
    const [low, high] = heldRange(model)('y') ?? [];
    // (0 − 28) · 0.1 and (255 − 28) · 0.1 of a float32 scale.
    expect([low, high].map((v) => v?.toFixed(5))).toEqual(['-2.80000', '22.70000']);
    expect(heldRange(model)('product')).toBeUndefined();
  });
});
