import type { Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { elementCount, makeTensor } from '../../src/graph/tensor.ts';
import { averageMinmax } from '../../src/numerics/average_minmax.ts';
import { sealed, type AnyFold } from '../../src/numerics/fold.ts';
import { histogram } from '../../src/numerics/histogram.ts';
import { minmax } from '../../src/numerics/minmax.ts';
import { capture } from '../../src/runtime/capture.ts';
import { collect } from '../../src/runtime/collect.ts';
import { inferShapes } from '../../src/runtime/shapes.ts';
import { openTap, plainStep, stepFor, type Reading } from '../../src/runtime/tap.ts';
import { batchOf, float, numbers, source } from './models.ts';

/** Two convolutions of `channels` channels with a residual Add: c1 → r1 → c2, s = c2 + r1, y = Relu(s). */
function residual(channels: number, version = 21): Model {
  const weight = (name: string, dims: number[]) =>
    makeTensor(
      name,
      'float32',
      dims,
      numbers(dims[1] ?? 1, elementCount(dims)).map((v) => v / 4),
    );
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, 'H', 'W'])],
    outputs: [makeValue('y', 'float32')],
    nodes: [
      makeNode('Conv', ['x', 'w1'], ['c1'], { pads: [1, 1, 1, 1] }),
      makeNode('Relu', ['c1'], ['r1']),
      makeNode('Conv', ['r1', 'w2'], ['c2'], { pads: [1, 1, 1, 1] }),
      makeNode('Add', ['c2', 'r1'], ['s']),
      makeNode('Relu', ['s'], ['y']),
    ],
    initializers: [weight('w1', [channels, 3, 3, 3]), weight('w2', [channels, channels, 3, 3])],
    opset: version,
  });
}

const image = (samples: number, seed = 1, size = 8) =>
  batchOf({ x: float([samples, 3, size, size], numbers(seed, samples * 3 * size * size)) }, samples);

async function tapped(model: Model, readings: readonly [string, Reading, number][], batch = image(2)) {
  const shapes = await inferShapes(model, batch);
  const points = readings.map(([value, reading, step]) => ({ value, reading, step }));
  const tap = await openTap(model, points, shapes);
  const result = await tap.run(batch.feeds);
  await tap.close();
  const whole: Record<string, Tensor> = {};
  for await (const feeds of capture(model, source(batch)(), ['r1', 'c2', 's', 'y'])) Object.assign(whole, feeds);
  return { ...result, whole };
}

const sorted = (tensor: Tensor | undefined) => Array.from(tensor?.data as Float32Array).sort((a, b) => a - b);
/** Smallest and largest of each of the samples, after Relu with 0 for the smallest. */
function ends(tensor: Tensor | undefined, floor = false): number[] {
  const [data, samples] = [tensor?.data as Float32Array, tensor?.dims[0] as number];
  const size = data.length / samples;
  return Array.from({ length: samples }, (_, i) => data.subarray(i * size, (i + 1) * size)).flatMap((sample) => [
    floor ? 0 : Math.min(...sample),
    Math.max(...sample),
  ]);
}

function expectClose(got: ArrayLike<number> | undefined, wanted: readonly number[]): void {
  expect(got).toHaveLength(wanted.length);
  // The same kernels, perhaps fused otherwise: float32 rounding of sums of some hundred products below 10.
  Array.from(got ?? []).forEach((v, i) => expect(v).toBeCloseTo(wanted[i] as number, 4));
}

describe('openTap', () => {
  // 16 channels run blocked without padding, 20 with padding, whose zeros must not be seen.
  it.each([16, 20, 32])(
    'reads elements in any order, extremes a sample and whole tensors (%i channels)',
    async (channels) => {
      const { tensors, whole, finite } = await tapped(residual(channels), [
        ['r1', 'elements', 1],
        ['r1', 'extremes', 1],
        ['c2', 'extremes', 1],
        ['c2', 'tensor', 1],
        ['s', 'elements', 1],
        ['y', 'extremes', 1],
      ]);
      expect(finite).toBe(true);
      expectClose(sorted(tensors[0]), sorted(whole.r1));
      expect(tensors[1]?.dims).toEqual([2, 2]);
      expectClose(tensors[1]?.data as Float32Array, ends(whole.r1, true));
      expectClose(tensors[2]?.data as Float32Array, ends(whole.c2));
      expect(tensors[3]?.dims).toEqual([2, channels, 8, 8]);
      expectClose(tensors[3]?.data as Float32Array, Array.from(whole.c2?.data as Float32Array));
      expectClose(sorted(tensors[4]), sorted(whole.s));
      expectClose(tensors[5]?.data as Float32Array, ends(whole.y, true));
    },
  );

  // Axes of ReduceSum became an input with opset 13, those of ReduceMin and ReduceMax with 18.
  it.each([11, 13, 17, 18])('reduces in opset %i', async (version) => {
    const { tensors, whole } = await tapped(residual(16, version), [['c2', 'extremes', 1]]);
    expectClose(tensors[0]?.data as Float32Array, ends(whole.c2));
  });

  it('reads an even share of the elements', async () => {
    const { tensors, whole } = await tapped(residual(16), [['s', 'elements', 4]]);
    // Every third of 64 places: every fourth would lie in two columns.
    expect(tensors[0]?.data).toHaveLength(2 * 16 * 21);
    const all = new Set(sorted(whole.s).map((v) => v.toFixed(3)));
    const known = sorted(tensors[0]).filter((v) => all.has(v.toFixed(3)));
    // Rounding may move a value over the edge of the third digit.
    expect(known.length / (2 * 16 * 21)).toBeGreaterThan(0.95);
  });
});

describe('a share of the elements', () => {
  /** 1×1 convolution whose channel i holds i everywhere but in the lower half of the image, where it holds 100 + i. */
  const levels = (channels: number): Model =>
    makeModel({
      inputs: [makeValue('x', 'float32', ['N', 1, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('Conv', ['x', 'w', 'b'], ['c']), makeNode('Relu', ['c'], ['y'])],
      initializers: [
        makeTensor('w', 'float32', [channels, 1, 1, 1], new Float32Array(channels).fill(100)),
        makeTensor(
          'b',
          'float32',
          [channels],
          Float32Array.from({ length: channels }, (_, i) => i),
        ),
      ],
      opset: 21,
    });
  const halves = batchOf(
    {
      x: float(
        [1, 1, 8, 8],
        Float32Array.from({ length: 64 }, (_, i) => Number(i >= 32)),
      ),
    },
    1,
  );

  // Some places of a blocked tensor (16 channels) or four rows of a plain one (20 are padded) see each channel and both halves.
  it.each([
    [16, 16 * 4],
    [20, 20 * 4 * 8],
  ])('sees all of %i channels and the whole image', async (channels, elements) => {
    const shapes = await inferShapes(levels(channels), halves);
    const tap = await openTap(levels(channels), [{ value: 'y', reading: 'elements', step: 100 }], shapes);
    const { tensors } = await tap.run(halves.feeds);
    await tap.close();
    expect(tensors[0]?.data).toHaveLength(elements);
    expect(new Set(tensors[0]?.data as Float32Array).size).toBe(2 * channels);
  });
});

describe('stepFor', () => {
  it('leaves about as many elements as asked for', () => {
    expect(stepFor([1, 16, 32, 32], 4096, 21)).toBe(4);
    expect(stepFor([1, 16, 32, 32], Infinity, 21)).toBe(1);
    expect(stepFor([8, 128, 64], 2048, 21)).toBe(4);
    expect(stepFor([1, 512, 8, 8], 16, 21)).toBe(2048);
    expect(plainStep([1, 512, 8, 8])).toBe(2);
    expect(plainStep([8, 128, 64])).toBe(32);
    expect(stepFor([1, 100000], 16, 21)).toBe(1);
    expect(stepFor([1, 16, 32, 32], 4096, 9)).toBe(1);
  });
});

describe('collect with folds that say what they read', () => {
  const data = source(image(3, 1), image(2, 2), image(1, 3, 12));
  /** The same fold, as if it read everything. */
  const plain = <R>(fold: AnyFold<Tensor, R>): AnyFold<Tensor, R> => ({
    name: fold.name,
    start: () => fold.start(),
    add: (state, tensor) => fold.add(state, tensor),
    finish: (state) => fold.finish(state),
  });

  it('gives the same ranges as whole tensors do', async () => {
    const folds = [sealed(minmax()), sealed(averageMinmax())];
    const values = ['x', 'r1', 'c2', 'y'];
    const wanted = (list: readonly AnyFold<Tensor, { min: number; max: number }>[]) =>
      new Map(values.map((value) => [value, list]));
    const model = residual(16);
    const [got, expected] = [
      await collect(model, data, wanted(folds)),
      await collect(model, data, wanted(folds.map(plain))),
    ];
    for (const value of values)
      for (const i of folds.keys()) {
        const [a, b] = [got.get(value)?.[i], expected.get(value)?.[i]];
        expect(a?.max).toBeCloseTo(b?.max as number, 4);
        // After a Relu 0 stands for the smallest value; every range is widened to 0 anyway.
        expect(a?.min).toBeCloseTo(value === 'c2' || value === 'x' ? (b?.min as number) : 0, 4);
      }
  });

  it('counts all elements, or about as many as asked for', async () => {
    const fold = new Map([['s', [sealed(histogram())]]]);
    const all = 16 * (5 * 64 + 144);
    expect((await collect(residual(16), data, fold)).get('s')?.[0]?.count).toBe(all);
    expect((await collect(residual(16), data, fold, { elements: 512 })).get('s')?.[0]?.count).toBe(all / 2);
  });

  it('follows shapes that depend on the data', async () => {
    // The positions of what is not 0: as many as there are.
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('NonZero', ['x'], ['at']), makeNode('Cast', ['at'], ['y'], { to: 1 })],
    });
    const rows = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 1]]; // prettier-ignore
    const seen: number[][] = [];
    const fold: AnyFold<Tensor, number> = {
      name: 'all',
      start: () => 0,
      add: (state, tensor) => seen.push(Array.from(tensor.data as Float32Array)) && state,
      finish: () => 0,
    };
    await collect(model, source(...rows.map((row) => batchOf({ x: float([1, 4], row) }, 1))), new Map([['y', [fold]]]));
    // Row 0 for each, then the columns.
    expect(seen).toEqual([[0, 0, 0, 2], [0, 1], [0, 0, 0, 0, 2, 3], [0, 3]]); // prettier-ignore
  });

  it('lets a fold refuse NaN that its extremes would hide', async () => {
    const broken = image(2);
    // In the middle of the first sample: Reduce nodes do see a NaN that comes first.
    (broken.feeds.x?.data as Float32Array)[36] = NaN;
    const wanted = new Map([['c2', [sealed(minmax('c2'))]]]);
    await expect(collect(residual(16), source(image(1), broken), wanted)).rejects.toMatchObject({
      code: 'data',
      at: 'c2',
    });
  });
});
