import type { AttributeValue } from '../../../src/graph/attribute.ts';
import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { initializers } from '../../../src/graph/query.ts';
import { foldAffine } from '../../../src/passes/fold/affine.ts';
import { weight } from '../../helpers/models.ts';
import { testContext } from '../../helpers/context.ts';
import { applied, batch, batchNorm, f32, model, ops } from './helper.ts';

interface Case {
  readonly about: string;
  readonly op: string;
  readonly input: number[];
  readonly weights: number[][];
  readonly constant: number[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

const folded: Case[] = [
  { about: 'one number a channel', op: 'Conv', input: [1, 3, 4, 4], weights: [[5, 3, 1, 1]], constant: [5, 1, 1] },
  {
    about: 'four axes, on a bias',
    op: 'Conv',
    input: [1, 3, 4, 4],
    weights: [[5, 3, 1, 1], [5]],
    constant: [1, 5, 1, 1],
  },
  { about: 'one number for all', op: 'Conv', input: [1, 3, 4, 4], weights: [[5, 3, 1, 1]], constant: [] },
  {
    about: 'groups',
    op: 'ConvTranspose',
    input: [1, 4, 4],
    weights: [[4, 3, 2]],
    constant: [6, 1],
    attributes: { group: 2 },
  },
  { about: 'a row', op: 'Gemm', input: [3, 4], weights: [[4, 5]], constant: [5] },
  {
    about: 'a row on a scaled bias',
    op: 'Gemm',
    input: [3, 4],
    weights: [[4, 5], [5]],
    constant: [1, 5],
    attributes: { beta: { float: 2 }, alpha: { float: 0.5 } },
  },
  { about: 'a row', op: 'MatMul', input: [3, 4], weights: [[4, 5]], constant: [5] },
  { about: 'one number', op: 'MatMul', input: [3, 4], weights: [[4, 5]], constant: [1] },
];

const kept: (Case & { why: string })[] = [
  {
    about: 'a number a row of pixels',
    op: 'Conv',
    input: [1, 3, 4, 4],
    weights: [[4, 3, 1, 1]],
    constant: [4],
    why: 'not one number a channel',
  },
  {
    about: 'more axes',
    op: 'Conv',
    input: [1, 3, 4, 4],
    weights: [[4, 3, 1, 1]],
    constant: [2, 1, 1, 1, 1],
    why: 'not one number a channel',
  },
  {
    about: 'a number a row',
    op: 'Gemm',
    input: [3, 4],
    weights: [[4, 5]],
    constant: [3, 1],
    why: 'not one number a channel',
  },
  {
    about: 'an input of three axes',
    op: 'MatMul',
    input: [2, 3, 4],
    weights: [[4, 5]],
    constant: [5],
    why: 'has 3 axes, and Gemm takes 2',
  },
  {
    about: 'a weight of three axes',
    op: 'MatMul',
    input: [3, 4],
    weights: [[2, 4, 5]],
    constant: [5],
    why: 'has 3 axes',
  },
];

function build({ op, input, weights, constant, attributes }: Case, swap = false, add = 'Add') {
  const names = weights.map((_, i) => ['w', 'b'][i] as string);
  const sum = swap ? ['c', 'h'] : ['h', 'c'];
  const nodes = [
    makeNode(op, ['x', ...names], ['h'], attributes, { name: 'layer' }),
    makeNode(add, sum, ['y'], {}, { name: 'add' }),
  ];
  return model(input, nodes, [
    ...weights.map((dims, i) => weight(names[i] as string, dims, i + 1)),
    weight('c', constant, 9),
  ]);
}

describe('fold/affine', () => {
  it.each(folded)('$op, $about', async (c) => {
    const op = c.op === 'MatMul' ? 'Gemm' : c.op;
    for (const m of [build(c), build(c, true), build(c, false, 'Sub')]) {
      const result = await applied(foldAffine, m, batch(...c.input));
      expect(ops(result.model)).toEqual([op]);
      expect(result.changed).toEqual([{ layer: 'add', text: 'became the bias of "layer"' }]);
      expect(initializers(result.model.graph).size).toBe(2);
    }
    for (const m of [build(c, false, 'Mul'), build(c, true, 'Mul'), build(c, false, 'Div')]) {
      const result = await applied(foldAffine, m, batch(...c.input), 3);
      expect(ops(result.model)).toEqual([c.op]);
      expect(result.changed).toEqual([{ layer: 'add', text: 'became a factor in "layer"' }]);
      expect(initializers(result.model.graph).size).toBe(c.weights.length);
    }
  });

  it.each(kept)('not $op, $about', async ({ why, ...c }) => {
    const result = await applied(foldAffine, build(c), batch(...c.input));
    expect(result.changed).toEqual([]);
    expect(result.skipped[0]?.text).toContain(why);
  });

  it('does not take a constant minus the layer for its negative', async () => {
    const m = build(folded[0] as Case, true, 'Sub');
    expect((await applied(foldAffine, m, batch(1, 3, 4, 4))).model).toBe(m);
  });

  it('leaves a layer that others read or that is an output', async () => {
    const conv = makeNode('Conv', ['x', 'w'], ['h']);
    const add = makeNode('Add', ['h', 'c'], ['k']);
    const tensors = [weight('w', [3, 3, 1, 1], 1), weight('c', [3, 1, 1], 2)];
    const read = model([1, 3, 2, 2], [conv, add, makeNode('Mul', ['h', 'k'], ['y'])], tensors);
    const shown = model([1, 3, 2, 2], [conv, add], tensors, {
      outputs: ['h', 'k'].map((name) => makeValue(name, 'float32')),
    });
    for (const m of [read, shown])
      expect((await applied(foldAffine, m, batch(1, 3, 2, 2))).skipped[0]?.text).toBe('"h" is read by others too');
  });

  it('multiplies the columns of a MatMul of any number of axes', async () => {
    const m = build({ about: '', op: 'MatMul', input: [2, 3, 4], weights: [[4, 5]], constant: [5] }, false, 'Mul');
    expect(ops((await applied(foldAffine, m, batch(2, 3, 4))).model)).toEqual(['MatMul']);
  });

  it('into BatchNormalization, whose channels are on the second axis', async () => {
    const bn = batchNorm('x', 'h', 3);
    const behind = (op: string, dims: number[], input: number[]) =>
      applied(
        foldAffine,
        model(input, [bn.node, makeNode(op, ['h', 'c'], ['y'])], [...bn.tensors, weight('c', dims, 4)]),
        batch(...input),
        3,
      );
    for (const op of ['Add', 'Sub', 'Mul', 'Div']) {
      expect(ops((await behind(op, [3, 1, 1], [1, 3, 3, 3])).model)).toEqual(['BatchNormalization']);
      expect(ops((await behind(op, [3], [2, 3])).model)).toEqual(['BatchNormalization']);
      // [3] lies on the last axis of four.
      expect((await behind(op, [3], [1, 3, 3, 3])).skipped[0]?.text).toContain('not one number a channel of "h_bn"');
    }
  });

  it('gives a BatchNormalization that shares its parameters its own', async () => {
    const one = batchNorm('x', 'h', 3);
    const two = makeNode('BatchNormalization', ['k', ...one.node.input.slice(1)], ['y']);
    const nodes = [one.node, makeNode('Mul', ['h', 'c'], ['k0']), makeNode('Add', ['k0', 'c'], ['k']), two];
    const m = model([1, 3, 2, 2], nodes, [...one.tensors, weight('c', [3, 1, 1], 4)]);
    expect(ops((await applied(foldAffine, m, batch(1, 3, 2, 2))).model)).toEqual(Array(2).fill('BatchNormalization'));
  });

  it('does not divide by zero, nor take a quotient for its inverse', async () => {
    const conv = makeNode('Conv', ['x', 'w'], ['h']);
    const quotient = (of: string[]) =>
      model(
        [1, 2, 2, 2],
        [conv, makeNode('Div', of, ['y'])],
        [weight('w', [2, 2, 1, 1], 1), f32('c', [2, 1, 1], [1, 0])],
      );
    const { skipped } = await foldAffine.apply(quotient(['h', 'c']), {}, testContext());
    expect(skipped[0]?.text).toBe('the constant "c" divides by zero');
    const inverse = quotient(['c', 'h']);
    expect((await foldAffine.apply(inverse, {}, testContext())).model).toBe(inverse);
  });

  it('folds two Adds in a row', async () => {
    const nodes = [
      makeNode('Conv', ['x', 'w'], ['h']),
      makeNode('Add', ['h', 'c'], ['k']),
      makeNode('Add', ['d', 'k'], ['y']),
    ];
    const m = model([1, 3, 2, 2], nodes, [
      weight('w', [3, 3, 1, 1], 1),
      weight('c', [3, 1, 1], 2),
      weight('d', [3, 1, 1], 3),
    ]);
    expect(ops((await applied(foldAffine, m, batch(1, 3, 2, 2))).model)).toEqual(['Conv']);
  });

  it('gives layers that share a bias each their own', async () => {
    const conv = (from: string, to: string) => makeNode('Conv', [from, 'w', 'b'], [to], {}, { name: `conv_${to}` });
    const m = model(
      [1, 3, 2, 2],
      [conv('x', 'h'), makeNode('Add', ['h', 'c'], ['k']), conv('k', 'y')],
      [weight('w', [3, 3, 1, 1], 1), weight('b', [3], 2), weight('c', [3, 1, 1], 3)],
    );
    const result = await applied(foldAffine, m, batch(1, 3, 2, 2));
    expect(result.model.graph.node.map((n) => n.input[2])).toEqual(['c', 'b']);
  });
});
