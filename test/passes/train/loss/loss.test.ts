import { readFileSync } from 'node:fs';
import * as z from 'zod';
import type { Batch, Target } from '../../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../../src/graph/build.ts';
import type { LossKind } from '../../../../src/passes/train/kinds.ts';
import { crossEntropy, crossEntropyKind } from '../../../../src/passes/train/loss/cross_entropy.ts';
import {
  distilled,
  distillFeeds,
  distillOptions,
  type Distillation,
} from '../../../../src/passes/train/loss/distill.ts';
import { lossKinds } from '../../../../src/passes/train/loss/index.ts';
import { floats } from '../../../helpers/context.ts';
import { weight } from '../../../helpers/models.ts';
import { apart, drawn, evaluateLoss, worstSlope } from '../graph.ts';

interface Golden {
  readonly case: string;
  readonly dims: number[];
  readonly output: number[];
  readonly loss: number;
  readonly gradient: number[];
  readonly labels?: number[];
  readonly mixed?: number[];
  readonly expected?: number[];
  readonly teacher?: number[];
}
const goldens = JSON.parse(readFileSync(new URL('../goldens/losses.json', import.meta.url), 'utf8')) as Golden[];
const golden = (name: string): Golden => goldens.find((one) => one.case === name)!;

const kindOf = (name: string): LossKind => lossKinds.find((kind) => kind.name === name)!;

/** A batch of these answers; `size` samples of which the answers' number counts. */
const batchOf = (targets: readonly (Target | undefined)[], size = targets.length): Batch => ({
  ids: Array.from({ length: size }, (_, i) => `sample ${i}`),
  feeds: {},
  targets: Array.from({ length: size }, (_, i) => targets[Math.min(i, targets.length - 1)]),
  count: targets.length,
  size,
});

const part = (list: readonly number[] | undefined, i: number, of: number): Int32Array | undefined =>
  list && Int32Array.from(list.slice((i * list.length) / of, ((i + 1) * list.length) / of));

function targetsOf({ dims, labels, mixed, expected }: Golden): Target[] {
  const size = dims[0]!;
  return Array.from({ length: size }, (_, i) => {
    const label = part(labels, i, size);
    const other = part(mixed, i, size);
    const each = expected && expected.length / size;
    return {
      ...(label && { label }),
      ...(other && { mixed: { label: other, share: 0.3 } }),
      ...(each && {
        expected: { y: floats(Float32Array.from(expected.slice(i * each, (i + 1) * each)), [1, ...dims.slice(1)]) },
      }),
    };
  });
}

function run(
  kind: LossKind,
  given: Record<string, unknown>,
  data: Float32Array,
  dims: readonly number[],
  batch: Batch,
) {
  const o = kind.options.parse(given);
  return evaluateLoss(kind.make(o), { y: floats(data, dims) }, kind.feeds(o, batch, new Map([['y', dims]])));
}

const cases = [
  ['plain', 'cross_entropy', {}],
  ['smooth', 'cross_entropy', { label_smoothing: 0.2 }],
  ['sequence', 'cross_entropy', { label_smoothing: 0.1 }],
  ['image', 'cross_entropy', { axis: 1 }],
  ['shares', 'cross_entropy', { logits: false }],
  ['mixed', 'cross_entropy', {}],
  ['bce', 'bce', {}],
  ['bce shares', 'bce', { logits: false }],
  ['mse', 'mse', {}],
] as const;

describe('a loss', () => {
  it.each(cases)("of %s (%s) is PyTorch's, and its gradient", async (name, kind, options) => {
    const one = golden(name);
    const batch = batchOf(targetsOf(one));
    for (const found of await run(kindOf(kind), options, Float32Array.from(one.output), one.dims, batch)) {
      // float32 against float64.
      expect(apart(found['loss']!, [one.loss])).toBeLessThan(1e-6);
      expect(apart(found['d y']!, one.gradient)).toBeLessThan(2e-6);
    }
  });

  it.each(cases)('of %s (%s) has the gradient of its own graph', async (name, kind, options) => {
    const one = golden(name);
    const batch = batchOf(targetsOf(one));
    const data = Float32Array.from(one.output);
    const value = async (x: Float32Array) => (await run(kindOf(kind), options, x, one.dims, batch))[0]!['loss']![0]!;
    const [found] = await run(kindOf(kind), options, data, one.dims, batch);
    // The logarithm of a share bends near 0: the step is small beside the smallest.
    const step = name.includes('shares') ? Math.min(...one.output) / 8 : 2 ** -4;
    expect(await worstSlope(value, data, found!['d y']!, step)).toBeLessThan(2e-3);
  });

  it.each(cases)('of %s (%s) leaves out samples that fill up the batch', async (name, kind, options) => {
    const one = golden(name);
    const each = one.output.length / one.dims[0]!;
    const wide = Float32Array.from([...one.output, ...one.output.slice(-each), ...one.output.slice(0, each)]);
    const dims = [one.dims[0]! + 2, ...one.dims.slice(1)];
    const [found] = await run(kindOf(kind), options, wide, dims, batchOf(targetsOf(one), dims[0]));
    expect(apart(found!['loss']!, [one.loss])).toBeLessThan(1e-6);
    expect(apart(found!['d y']!, [...one.gradient, ...Array<number>(2 * each).fill(0)])).toBeLessThan(2e-6);
  });

  it('counts what is right, and what counts', async () => {
    const data = Float32Array.of(3, 1, 0, 0, 2, 0, 0, 0, 5, 1, 0, 0);
    const labels = [0, 0, -1, 0].map((label) => ({ label: Int32Array.of(label) }));
    for (const found of await run(kindOf('cross_entropy'), {}, data, [4, 3], batchOf(labels)))
      expect(found).toMatchObject({ correct: [2], counted: [3] });
    const yes = [1, 0, 1].map((label) => ({ label: Int32Array.of(label) }));
    for (const [logits, y] of [[true, [0.5, 0.2, -1]], [false, [0.7, 0.6, 0.1]]] as const)
      for (const found of await run(kindOf('bce'), { logits, label_smoothing: 0.1 }, Float32Array.from(y), [3, 1], batchOf(yes)))
        expect(found).toMatchObject({ correct: [1], counted: [3] });
  }); // prettier-ignore

  it('of no counted position is 0', async () => {
    const batch = batchOf([{ label: Int32Array.of(-1) }]);
    for (const [name] of [['cross_entropy'], ['bce'], ['mse']] as const)
      for (const found of await run(kindOf(name), {}, Float32Array.of(1, 2), [1, 2], batch))
        expect([found['loss']![0], ...found['d y']!].every((v) => v === 0)).toBe(true);
  });

  it('says which sample has no answer, or one that does not fit', () => {
    const feeds = (target: Target | undefined, given: object = {}, dims: readonly number[] = [2, 3]) => () =>
      crossEntropyKind.feeds(crossEntropyKind.options.parse(given), batchOf([{ label: Int32Array.of(1) }, target]), new Map([['y', dims]])); // prettier-ignore
    expect(feeds(undefined)).toThrow('the sample has no label, and the loss compares with labels');
    expect(feeds({ label: Int32Array.of(3) })).toThrow('the sample has label 3, and the model knows 3 classes: 0 to 2');
    expect(feeds({ label: Int32Array.of(1, 2) })).toThrow('the sample has 2 labels, and output y has 1 positions of 3 classes'); // prettier-ignore
    expect(feeds({ expected: { y: floats(new Float32Array(2), [1, 2]) } })).toThrow('the sample expects 2 numbers of output y, which gives 3'); // prettier-ignore
    expect(feeds({}, { output: 'x' })).toThrow('the loss reads the output "x", which the model has not');
    expect(feeds({ label: Int32Array.of(3) })).toThrow(
      expect.objectContaining({ code: 'data', at: 'sample 1' }) as Error,
    );
  });

  it('is settled by the model and its first batch', () => {
    const model = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', [2, 3])],
      outputs: [makeValue('features', 'float32'), makeValue('y', 'float32')],
      initializers: [weight('w', [3, 3], 1)],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['features']),
        makeNode('Softmax', ['features'], ['s']),
        makeNode('Flatten', ['s'], ['y']),
      ],
    });
    const settled = (given: object, positions: number, outputs: Record<string, number[]>) =>
      crossEntropyKind.settled!(crossEntropyKind.options.parse(given), model, batchOf([{ label: new Int32Array(positions) }, undefined]), new Map(Object.entries(outputs))); // prettier-ignore
    expect(settled({}, 1, { features: [2, 4, 3], y: [2, 3] })).toMatchObject({ output: 'y', axis: 1, logits: false });
    expect(settled({}, 4, { features: [2, 4, 3], y: [2, 3] })).toMatchObject({ output: 'features', axis: 2, logits: true }); // prettier-ignore
    // As many classes as labels at the end of an image: they lie along axis 1.
    expect(settled({}, 20, { features: [2, 3, 4, 5] })).toMatchObject({ output: 'features', axis: 1 });
    expect(settled({ output: 'y' }, 4, { features: [2, 4, 3], y: [2, 3] })).toMatchObject({ output: 'y', logits: false }); // prettier-ignore
  });
});

describe('distillation', () => {
  const one = golden('distill');
  const batch = batchOf(targetsOf(one));
  const outputs = new Map([['y', one.dims]]);
  const labels = crossEntropyKind.feeds(crossEntropyKind.options.parse({}), batch, outputs);
  const teacher = floats(Float32Array.from(one.teacher!), one.dims);
  const weights: Distillation = { temperature: 3, distill_wt: 0.7, student_wt: 0.4 };
  const softmax = (x: readonly number[]) =>
    Float32Array.from(x, (v, i) => {
      const row = x.slice(4 * Math.floor(i / 4), 4 * Math.floor(i / 4) + 4);
      return Math.exp(v) / row.reduce((sum, other) => sum + Math.exp(other), 0);
    });

  it("is PyTorch's cross-entropy and divergence, and its gradient", async () => {
    const feeds = { ...labels, ...distillFeeds(weights, { y: teacher }, batch, outputs) };
    for (const found of await evaluateLoss(distilled(crossEntropy(), weights), { y: floats(Float32Array.from(one.output), one.dims) }, feeds)) {
      expect(apart(found['loss']!, [one.loss])).toBeLessThan(1e-6);
      expect(apart(found['d y']!, one.gradient)).toBeLessThan(2e-6);
    }
  }); // prettier-ignore

  it('is the same where both end in Softmax', async () => {
    const o = { ...weights, student_wt: 0, logits: false, teacherLogits: false };
    const feeds = distillFeeds(o, { y: floats(softmax(one.teacher!), one.dims) }, batch, outputs);
    const plain = { ...weights, student_wt: 0 };
    const of = (data: Float32Array) => ({ y: floats(data, one.dims) });
    const [wanted] = await evaluateLoss(distilled(undefined, plain), of(Float32Array.from(one.output)), distillFeeds(plain, { y: teacher }, batch, outputs)); // prettier-ignore
    const shares = softmax(one.output);
    const value = async (x: Float32Array) => (await evaluateLoss(distilled(undefined, o), of(x), feeds))[0]!['loss']![0]!; // prettier-ignore
    const [found] = await evaluateLoss(distilled(undefined, o), of(shares), feeds);
    expect(apart(found!['loss']!, wanted!['loss']!)).toBeLessThan(1e-5);
    // The smallest share is a few thousandths, and the step has to be smaller: float32 leaves little.
    const least = Math.min(...shares);
    expect(await worstSlope(value, shares, found!['d y']!, least / 4)).toBeLessThan(2e-2);
  });

  it('leaves out samples that fill up the batch, and makes inner values alike', async () => {
    const o: Distillation = { ...weights, student_wt: 0, hints: new Map([['inner', 0.5]]) };
    const dims = new Map([['inner', [2, 3]], ['y', [2, 4]]]); // prettier-ignore
    const filled = { ...batchOf([undefined], 2) };
    const [y, inner, taught] = [drawn(1, [2, 4]), drawn(2, [2, 3]), { y: drawn(3, [2, 4]), inner: drawn(4, [2, 3]) }];
    const of = async (x: Float32Array, h = inner.data as Float32Array) =>
      (await evaluateLoss(distilled(undefined, o), { inner: floats(h, [2, 3]), y: floats(x, [2, 4]) }, distillFeeds(o, taught, filled, dims)))[0]!; // prettier-ignore
    const found = await of(y.data as Float32Array);
    expect(found['d y']!.slice(4)).toEqual([0, 0, 0, 0]);
    expect(await worstSlope(async (x) => (await of(x))['loss']![0]!, y.data as Float32Array, found['d y']!)).toBeLessThan(2e-3);
    const h = inner.data as Float32Array;
    expect(await worstSlope(async (x) => (await of(y.data as Float32Array, x))['loss']![0]!, h, found['d inner']!)).toBeLessThan(2e-3);
    const square = h.reduce((sum, v, i) => sum + (v - (taught.inner.data as Float32Array)[i]!) ** 2, 0) / 6;
    expect(found['loss']![0]! - 0.7 * found['distill_loss']![0]!).toBeCloseTo(0.5 * square, 5);
  }); // prettier-ignore

  it("takes Distiller's arguments, and refuses a teacher that does not fit", () => {
    const options = z.strictObject(distillOptions);
    expect(options.parse({})).toEqual({ temperature: 1, distill_wt: 0.5, student_wt: 0.5, teacher_wt: 0 });
    expect(options.safeParse({ teacher_wt: 0.1 }).success).toBe(false);
    expect(options.safeParse({ temperature: 0 }).success).toBe(false);
    expect(() => distillFeeds(weights, { y: drawn(1, [3, 5]) }, batch, outputs)).toThrow('the teacher gives [3, 5] for y, and the student [3, 4]'); // prettier-ignore
    expect(() => distillFeeds(weights, {}, batch, outputs)).toThrow('the teacher gives nothing for y');
  });
});
