import type { Feeds } from '../../../src/data/types.ts';
import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { AttributeCodec, GraphCodec, NodeCodec, type NodeProto } from '../../../src/graph/proto.ts';
import { intsAttribute } from '../../../src/graph/attribute.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { foldIdentity } from '../../../src/passes/fold/identity.ts';
import { testContext } from '../../helpers/context.ts';
import { weight } from '../../helpers/models.ts';
import { applied, batch, i64, model, ops } from './helper.ts';

const relu = (from: string, to: string) => makeNode('Relu', [from], [to]);
const max = 2 ** 31 - 1;
const no = makeTensor('no', 'bool', [], Uint8Array.of(0));

interface Case {
  readonly about: string;
  readonly node: NodeProto;
  readonly constants?: ReturnType<typeof i64>[];
  readonly opset?: number;
  readonly input?: (number | string)[];
}

const without: Case[] = [
  { about: 'Identity', node: makeNode('Identity', ['h'], ['k']) },
  {
    about: 'Dropout of opset 11',
    node: makeNode('Dropout', ['h'], ['k', 'mask'], { ratio: { float: 0.4 } }),
    opset: 11,
  },
  { about: 'Dropout told not to train', node: makeNode('Dropout', ['h', '', 'no'], ['k']), constants: [no] },
  { about: 'Cast to the same type', node: makeNode('Cast', ['h'], ['k'], { to: 1 }) },
  {
    about: 'Reshape to [0, 0, -1]',
    node: makeNode('Reshape', ['h', 's'], ['k']),
    constants: [i64('s', [0, 0, -1])],
    input: ['N', 3, 4],
  },
  {
    about: 'Reshape to the same numbers',
    node: makeNode('Reshape', ['h', 's'], ['k']),
    constants: [i64('s', [2, 3, 4])],
  },
  { about: 'Transpose in order', node: makeNode('Transpose', ['h'], ['k'], { perm: [0, 1, 2] }) },
  { about: 'Pad of nothing', node: makeNode('Pad', ['h', 'p'], ['k']), constants: [i64('p', [0, 0, 0, 0, 0, 0])] },
  {
    about: 'Slice to the end',
    node: makeNode('Slice', ['h', 'b', 'e', 'a', 's'], ['k']),
    constants: [i64('b', [0, 0]), i64('e', [max, 2 ** 53]), i64('a', [-1, 0]), i64('s', [1, 1])],
    input: ['N', 3, 4],
  },
  {
    about: 'Slice to the last of a fixed axis',
    node: makeNode('Slice', ['h', 'b', 'e'], ['k']),
    constants: [i64('b', [0, 0]), i64('e', [2, 3])],
  },
  { about: 'Tile once', node: makeNode('Tile', ['h', 't'], ['k']), constants: [i64('t', [1, 1, 1])] },
  { about: 'Expand to the same', node: makeNode('Expand', ['h', 't'], ['k']), constants: [i64('t', [1, 4])] },
  { about: 'Concat of one', node: makeNode('Concat', ['h'], ['k'], { axis: 0 }) },
  { about: 'Max of one', node: makeNode('Max', ['h'], ['k']) },
];

const effective: Case[] = [
  { about: 'Dropout whose training is not known', node: makeNode('Dropout', ['h', '', 'train'], ['k']), constants: [] },
  { about: 'Cast to another type', node: makeNode('Cast', ['h'], ['k'], { to: 10 }) },
  {
    about: 'Reshape to numbers of a free axis',
    node: makeNode('Reshape', ['h', 's'], ['k']),
    constants: [i64('s', [2, 3, 4])],
    input: ['N', 3, 4],
  },
  { about: 'Reshape to other axes', node: makeNode('Reshape', ['h', 's'], ['k']), constants: [i64('s', [2, 12])] },
  { about: 'Transpose', node: makeNode('Transpose', ['h'], ['k'], { perm: [0, 2, 1] }) },
  { about: 'Transpose that reverses', node: makeNode('Transpose', ['h'], ['k']) },
  { about: 'Pad', node: makeNode('Pad', ['h', 'p'], ['k']), constants: [i64('p', [0, 0, 0, 0, 0, 1])] },
  {
    about: 'Slice of a free axis',
    node: makeNode('Slice', ['h', 'b', 'e'], ['k']),
    constants: [i64('b', [0]), i64('e', [2])],
    input: ['N', 3, 4],
  },
  {
    about: 'Slice from the second',
    node: makeNode('Slice', ['h', 'b', 'e'], ['k']),
    constants: [i64('b', [1]), i64('e', [max])],
  },
  {
    about: 'Slice by twos',
    node: makeNode('Slice', ['h', 'b', 'e', '', 's'], ['k']),
    constants: [i64('b', [0]), i64('e', [max]), i64('s', [2])],
  },
  { about: 'Tile', node: makeNode('Tile', ['h', 't'], ['k']), constants: [i64('t', [1, 1, 2])] },
  { about: 'Expand to more axes', node: makeNode('Expand', ['h', 't'], ['k']), constants: [i64('t', [1, 1, 1, 1])] },
  { about: 'Concat of two', node: makeNode('Concat', ['h', 'h'], ['k'], { axis: 0 }) },
];

function around({ node, constants, opset = 13, input = [2, 3, 4] }: Case) {
  const back = makeNode('Cast', ['k'], ['c'], { to: 1 }, { name: 'back' });
  const train = makeTensor('train0', 'bool', [], Uint8Array.of(0));
  const given = [makeNode('Not', ['train0'], ['t1']), makeNode('Not', ['t1'], ['train'])];
  const nodes = [
    relu('x', 'h'),
    ...(node.input.includes('train') ? given : []),
    node,
    ...(ops1(node) ? [back] : []),
    relu(ops1(node) ? 'c' : 'k', 'y'),
  ];
  return model(input, nodes, [...(constants ?? []), train], { opset });
}
const ops1 = (node: NodeProto) => node.op_type === 'Cast' && node.attribute[0]?.i.low !== 1;
const feeds: Feeds = batch(2, 3, 4);

describe('fold/identity', () => {
  it.each(without)('removes $about', async (c) => {
    const result = await applied(foldIdentity, around(c), feeds);
    expect(ops(result.model)).toEqual(['Relu', 'Relu']);
    expect(result.changed).toEqual([
      { layer: c.node.name, text: expect.stringContaining(`${c.node.op_type} removed`) as string },
    ]);
  });

  it.each(effective)('keeps $about', async (c) => {
    const m = around(c);
    const result = await applied(foldIdentity, m, feeds);
    expect(ops(result.model)).toEqual(ops(m));
    expect(result.changed).toEqual([]);
  });

  it('removes Flatten of two axes only', async () => {
    const flat = (axis: number) =>
      model([2, 12], [relu('x', 'h'), makeNode('Flatten', ['h'], ['k'], { axis }), relu('k', 'y')], []);
    for (const axis of [1, -1])
      expect(ops((await applied(foldIdentity, flat(axis), batch(2, 12))).model)).toHaveLength(2);
    expect(ops((await applied(foldIdentity, flat(0), batch(2, 12))).model)).toHaveLength(3);
  });

  it('keeps the name of an output: the node before takes it', async () => {
    const nodes = [relu('x', 'h'), makeNode('Abs', ['h'], ['z']), makeNode('Identity', ['h'], ['y'])];
    const m = model([2], nodes, [], { outputs: [makeValue('y', 'float32'), makeValue('z', 'float32')] });
    const result = await applied(foldIdentity, m, batch(2));
    expect(result.model.graph.node.map((n) => [n.op_type, n.input, n.output])).toEqual([
      ['Relu', ['x'], ['y']],
      ['Abs', ['y'], ['z']],
    ]);
  });

  it('removes a chain up to an output', async () => {
    const chain = ['h', 'a', 'b', 'y'];
    const nodes = chain.slice(1).map((to, i) => makeNode('Identity', [chain[i] as string], [to]));
    const result = await applied(foldIdentity, model([2], [relu('x', 'h'), ...nodes], []), batch(2));
    expect(ops(result.model)).toEqual(['Relu']);
  });

  it('keeps one that names an input or constant as output, or doubles an output', async () => {
    const outputs = ['y', 'z', 'h', 'k'].map((name) => makeValue(name, 'float32'));
    const nodes = [
      makeNode('Identity', ['x'], ['y'], {}, { name: 'in' }),
      makeNode('Identity', ['w'], ['z'], {}, { name: 'constant' }),
      relu('x', 'h'),
      makeNode('Identity', ['h'], ['k'], {}, { name: 'twice' }),
    ];
    const result = await applied(foldIdentity, model([2], nodes, [weight('w', [2], 1)], { outputs }), batch(2));
    expect(ops(result.model)).toHaveLength(4);
    expect(result.skipped.map((n) => `${n.layer}: ${n.text}`)).toEqual([
      'in: it passes its input on, but it gives an input or constant the name of the output "y"',
      'constant: it passes its input on, but it gives an input or constant the name of the output "z"',
      'twice: it passes its input on, but "h" and "k" are both outputs of the model',
    ]);
  });

  it('keeps one that a body of If reads', async () => {
    const branch = (name: string) =>
      AttributeCodec.create({
        name,
        type: 5,
        g: GraphCodec.create({ name, node: [relu('i', `${name}_y`)], output: [makeValue(`${name}_y`, 'float32')] }),
      });
    const choose = NodeCodec.create({
      op_type: 'If',
      name: 'if',
      input: ['c'],
      output: ['y'],
      attribute: [branch('then_branch'), branch('else_branch')],
    });
    const m = model([2], [makeNode('Identity', ['x'], ['i']), choose], [makeTensor('c', 'bool', [], Uint8Array.of(1))]);
    const result = await applied(foldIdentity, m, batch(2));
    expect(result.skipped[0]?.text).toContain('a body of an If or Loop reads "i"');
  });

  it('joins Transposes, and removes two that undo each other', async () => {
    const turn = (from: string, to: string, perm?: number[]) =>
      makeNode('Transpose', [from], [to], perm ? { perm } : {}, { name: to });
    const joined = await applied(
      foldIdentity,
      model([2, 3, 4], [turn('x', 'h', [1, 2, 0]), turn('h', 'y', [0, 2, 1])], []),
      feeds,
    );
    expect(joined.model.graph.node.map((n) => intsAttribute(n, 'perm'))).toEqual([[1, 0, 2]]);
    expect(joined.changed).toEqual([{ layer: 'y', text: 'joined with the Transpose "h" before it' }]);
    const undone = model(
      [2, 3, 4],
      [relu('x', 'a'), turn('a', 'h', [1, 2, 0]), turn('h', 'b', [2, 0, 1]), relu('b', 'y')],
      [],
    );
    expect(ops((await applied(foldIdentity, undone, feeds)).model)).toEqual(['Relu', 'Relu']);
    const reversed = model([2, 3, 4], [turn('x', 'h'), turn('h', 'k', [0, 2, 1]), relu('k', 'y')], []);
    expect(
      (await applied(foldIdentity, reversed, feeds)).model.graph.node.map((n) => intsAttribute(n, 'perm')),
    ).toEqual([[2, 0, 1], undefined]);
    const unsaid = model([2, 3, 4], [turn('x', 'h'), turn('h', 'k'), relu('k', 'y')], []);
    expect(ops((await applied(foldIdentity, unsaid, feeds)).model)).toEqual(['Transpose', 'Transpose', 'Relu']);
  });

  it('keeps a first Transpose that others read, unless the two undo each other', async () => {
    const two = (perm: number[]) =>
      model(
        [2, 3, 4],
        [
          makeNode('Transpose', ['x'], ['h'], { perm: [1, 2, 0] }),
          makeNode('Transpose', ['h'], ['y'], { perm }),
          relu('h', 'z'),
        ],
        [],
        {
          outputs: [makeValue('y', 'float32'), makeValue('z', 'float32')],
        },
      );
    expect((await applied(foldIdentity, two([0, 2, 1]), feeds)).changed).toEqual([]);
    const undone = await applied(foldIdentity, two([2, 0, 1]), feeds);
    // The output must have its name, so a Transpose in order stays to give it.
    expect(undone.model.graph.node.find((n) => n.output[0] === 'y')?.input).toEqual(['x']);
  });

  it('writes a Sum of two as Add', async () => {
    const nodes = [makeNode('Sum', ['x', 'w'], ['h'], {}, { name: 'sum' }), makeNode('Sum', ['h', 'x', 'w'], ['y'])];
    const result = await applied(foldIdentity, model([2], nodes, [weight('w', [3, 2], 1)]), batch(2));
    expect(ops(result.model)).toEqual(['Add', 'Sum']);
    expect(result.changed).toEqual([{ layer: 'sum', text: 'Sum of two values written as Add' }]);
  });

  it('runs nothing where no node comes into question', async () => {
    const m = model([2], [relu('x', 'y')], []);
    expect((await foldIdentity.apply(m, {}, testContext())).model).toBe(m);
  });
});
