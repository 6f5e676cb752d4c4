import type { AttributeValue } from '../../../src/graph/attribute.ts';
import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { initializers } from '../../../src/graph/query.ts';
import { foldBias } from '../../../src/passes/fold/conv_add.ts';
import { weight } from '../../helpers/models.ts';
import { applied, batch, model, ops } from './helper.ts';

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

describe('fold/conv_add', () => {
  it.each(folded)('$op, $about', async (c) => {
    const op = c.op === 'MatMul' ? 'Gemm' : c.op;
    for (const m of [build(c), build(c, true), build(c, false, 'Sub')]) {
      const result = await applied(foldBias, m, batch(...c.input));
      expect(ops(result.model)).toEqual([op]);
      expect(result.changed).toEqual([{ layer: 'add', text: 'became the bias of "layer"' }]);
      expect(initializers(result.model.graph).size).toBe(2);
    }
  });

  it.each(kept)('not $op, $about', async ({ why, ...c }) => {
    const result = await applied(foldBias, build(c), batch(...c.input));
    expect(result.changed).toEqual([]);
    expect(result.skipped[0]?.text).toContain(why);
  });

  it('does not take a constant minus the layer for its negative', async () => {
    const m = build(folded[0] as Case, true, 'Sub');
    expect((await applied(foldBias, m, batch(1, 3, 4, 4))).model).toBe(m);
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
      expect((await applied(foldBias, m, batch(1, 3, 2, 2))).skipped[0]?.text).toBe('"h" is read by others too');
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
    const once = await applied(foldBias, m, batch(1, 3, 2, 2));
    expect(ops((await applied(foldBias, once.model, batch(1, 3, 2, 2))).model)).toEqual(['Conv']);
  });

  it('gives layers that share a bias each their own', async () => {
    const conv = (from: string, to: string) => makeNode('Conv', [from, 'w', 'b'], [to], {}, { name: `conv_${to}` });
    const m = model(
      [1, 3, 2, 2],
      [conv('x', 'h'), makeNode('Add', ['h', 'c'], ['k']), conv('k', 'y')],
      [weight('w', [3, 3, 1, 1], 1), weight('b', [3], 2), weight('c', [3, 1, 1], 3)],
    );
    const result = await applied(foldBias, m, batch(1, 3, 2, 2));
    expect(result.model.graph.node.map((n) => n.input[2])).toEqual(['c', 'b']);
  });
});
