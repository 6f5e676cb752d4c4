import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { AttributeCodec, GraphCodec, NodeCodec, int64, type TensorProto } from '../../../src/graph/proto.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, makeTensor, tensorNumbers } from '../../../src/graph/tensor.ts';
import { foldConstants } from '../../../src/passes/fold/constants.ts';
import { testContext } from '../../helpers/context.ts';
import { weight } from '../../helpers/models.ts';
import { applied, batch, f32, i64, model, ops } from './helper.ts';

const constantOf = (m: ReturnType<typeof model>, name: string) => initializers(m.graph).get(name) as TensorProto;
const withGraph = (
  op: string,
  input: string[],
  output: string[],
  name: string,
  g: ReturnType<typeof GraphCodec.create>[],
) =>
  NodeCodec.create({
    op_type: op,
    name,
    input,
    output,
    attribute: g.map((body) => AttributeCodec.create({ name: body.name, type: 5, g: body })),
  });

/** A condition that no number fulfils. */
const never = [makeNode('ReduceMax', ['x'], ['largest'], { keepdims: 0 }), makeNode('IsNaN', ['largest'], ['c'])];

describe('fold/constants', () => {
  it('makes initializers of Constant nodes in all their spellings', async () => {
    const values: [string, Parameters<typeof makeNode>[3], number[], number[]][] = [
      ['a', { value: { tensor: f32('', [2], [1, 2]) } }, [2], [1, 2]],
      ['b', { value_float: { float: 0.5 } }, [], [0.5]],
      ['c', { value_floats: { floats: [3, 4] } }, [2], [3, 4]],
      ['i', { value_int: 7 }, [], [7]],
      ['j', { value_ints: [0, 2] }, [2], [0, 2]],
    ];
    const nodes = values.map(([name, attributes]) => makeNode('Constant', [], [name], attributes));
    const use = [
      makeNode('Sum', ['x', 'a', 'b', 'c'], ['s']),
      makeNode('Gather', ['s', 'k'], ['y']),
      makeNode('Mod', ['j', 'i'], ['k0']),
      makeNode('Mod', ['k0', 'two'], ['k']),
    ];
    const result = await applied(foldConstants, model([2], [...nodes, ...use], [i64('two', [2], [])]), batch(2));
    expect(ops(result.model)).toEqual(['Sum', 'Gather']);
    for (const [name, , dims, numbers] of values.slice(0, 3)) {
      expect(dimsOf(constantOf(result.model, name))).toEqual(dims);
      expect(tensorNumbers(constantOf(result.model, name))).toEqual(numbers);
    }
    expect(tensorNumbers(constantOf(result.model, 'k'))).toEqual([0, 0]);
    expect(result.changed[0]).toEqual({ layer: 'Constant', text: '5 Constant nodes became initializers' });
  });

  it('keeps a Constant that is an output, one of strings as strings, and a sparse one', async () => {
    const strings = makeNode('Constant', [], ['t']);
    strings.attribute.push(
      AttributeCodec.create({ name: 'value_strings', type: 8, strings: [new TextEncoder().encode('né')] }),
    );
    const sparse = makeNode('Constant', [], ['z'], {}, { name: 'sparse' });
    sparse.attribute.push(
      AttributeCodec.create({
        name: 'sparse_value',
        type: 11,
        sparse_tensor: { values: f32('', [1], [5]), indices: i64('', [1]), dims: [int64(3)] },
      }),
    );
    const m = model(
      [2],
      [
        strings,
        sparse,
        makeNode('Constant', [], ['y'], { value_float: { float: 1 } }, { name: 'shown' }),
        makeNode('Equal', ['t', 't'], ['e']),
        makeNode('Neg', ['z'], ['q']),
      ],
      [],
      {
        outputs: [makeValue('y', 'float32'), makeValue('e', 'bool'), makeValue('q', 'float32')],
        opset: 19,
      },
    );
    const { model: next, skipped } = await foldConstants.apply(m, {}, testContext({ calibration: [batch(2)] }));
    expect(Buffer.from(constantOf(next, 't').string_data[0] ?? []).toString()).toBe('né');
    expect(skipped).toContainEqual({ layer: 'shown', text: 'this constant is an output of the model' });
    expect(skipped).toContainEqual({ layer: 'sparse', text: 'a sparse constant stays as it is' });
  });

  it('makes constants of overridable inputs', async () => {
    const m = model([2], [makeNode('Mul', ['x', 'w'], ['y'])], [f32('w', [2], [2, 3])], {
      ir: 3,
      opset: 8,
      inputs: [makeValue('x', 'float32', [2]), makeValue('w', 'float32', [2])],
    });
    const result = await applied(foldConstants, m, batch(2));
    expect(result.model.graph.input.map((i) => i.name)).toEqual(['x']);
    expect(result.changed).toEqual([{ layer: 'inputs', text: '1 initializers listed as inputs are constants now' }]);
  });

  it('computes a transposed and reshaped weight, which keeps its name', async () => {
    const nodes = [
      makeNode('Transpose', ['fc.weight'], ['t'], { perm: [1, 0] }),
      makeNode('Reshape', ['t', 'shape'], ['r']),
      makeNode('MatMul', ['x', 'r'], ['y']),
    ];
    const result = await applied(
      foldConstants,
      model([2, 4], nodes, [weight('fc.weight', [6, 2], 1), i64('shape', [4, 3])]),
      batch(2, 4),
    );
    expect(ops(result.model)).toEqual(['MatMul']);
    expect(result.model.graph.node[0]?.input[1]).toBe('fc.weight');
    expect(dimsOf(constantOf(result.model, 'fc.weight'))).toEqual([4, 3]);
    expect(result.changed).toEqual([
      { layer: 'r_Reshape', text: 'Transpose, Reshape of constants became the constant "fc.weight"' },
    ]);
  });

  it('does not take the name where a step on the way is read too', async () => {
    const nodes = [
      makeNode('Transpose', ['w'], ['t'], { perm: [1, 0] }),
      makeNode('Reshape', ['t', 'shape'], ['r']),
      makeNode('MatMul', ['x', 'r'], ['h']),
      makeNode('Concat', ['h', 't'], ['y'], { axis: 1 }),
    ];
    const m = model([3, 6], nodes, [weight('w', [4, 3], 1), i64('shape', [6, 2])]);
    const result = await applied(foldConstants, m, batch(3, 6));
    expect(result.model.graph.node.map((node) => node.input)).toEqual([
      ['x', 'r'],
      ['h', 'w'],
    ]);
  });

  it('leaves a constant that would take more room than what it is made of', async () => {
    const packed = makeTensor(
      'packed',
      'int8',
      [40, 10],
      Int8Array.from({ length: 400 }, (_, i) => i % 7),
    );
    const nodes = [
      makeNode('Cast', ['packed'], ['c'], { to: 1 }, { name: 'cast' }),
      makeNode('Mul', ['c', 'scale'], ['w'], {}, { name: 'unpack' }),
      makeNode('MatMul', ['x', 'w'], ['y']),
    ];
    const result = await applied(
      foldConstants,
      model([1, 40], nodes, [packed, f32('scale', [1], [0.1])]),
      batch(1, 40),
    );
    expect(ops(result.model)).toEqual(['Cast', 'Mul', 'MatMul']);
    expect(result.skipped).toEqual([
      { layer: 'unpack', text: 'its constant result takes 1600 bytes, what it is made of and would go 404' },
    ]);
  });

  it('does not copy a weight that others read, nor fold quantized weights and random numbers', async () => {
    const shared = [
      makeNode('Transpose', ['w'], ['t'], { perm: [1, 0] }, { name: 'turn' }),
      makeNode('MatMul', ['x', 'w'], ['h']),
      makeNode('MatMul', ['h', 't'], ['y']),
    ];
    const result = await applied(foldConstants, model([1, 9], shared, [weight('w', [9, 9], 1)]), batch(1, 9));
    expect(result.skipped[0]?.text).toContain('takes 324 bytes, what it is made of and would go 0');
    const quantized = [makeNode('DequantizeLinear', ['q', 's'], ['d']), makeNode('Add', ['x', 'd'], ['y'])];
    const m = model([2], quantized, [makeTensor('q', 'int8', [2], Int8Array.of(1, 2)), f32('s', [], [0.5])]);
    expect((await applied(foldConstants, m, batch(2))).model.graph.node).toHaveLength(2);
    const random = [
      makeNode('RandomNormalLike', ['w'], ['r']),
      makeNode('Sub', ['r', 'r'], ['z']),
      makeNode('Add', ['x', 'z'], ['y']),
    ];
    expect(
      (await applied(foldConstants, model([2], random, [f32('w', [2], [1, 1])]), batch(2))).model.graph.node,
    ).toHaveLength(3);
  });

  it('gives a body of If the constant it reads by name', async () => {
    const branch = (name: string, op: string) =>
      GraphCodec.create({
        name,
        node: [makeNode(op, ['x', 't'], [`${name}_y`])],
        output: [makeValue(`${name}_y`, 'float32')],
      });
    const choose = withGraph('If', ['c'], ['y'], 'choose', [
      branch('then_branch', 'Add'),
      branch('else_branch', 'Mul'),
    ]);
    const m = model([2], [makeNode('Transpose', ['w'], ['t']), ...never, choose], [f32('w', [1, 2], [2, 3])]);
    const result = await applied(foldConstants, m, batch(2));
    expect(ops(result.model)).toEqual(['ReduceMax', 'IsNaN', 'If']);
    expect(dimsOf(constantOf(result.model, 't'))).toEqual([2, 1]);
  });

  it('leaves vectors of one element that Range reads, which onnxruntime takes computed but not as constants', async () => {
    const nodes = [
      makeNode('Add', ['four', 'one'], ['limit']),
      makeNode('ReduceMax', ['x'], ['x0'], { keepdims: 0 }),
      makeNode('Cast', ['x0'], ['start'], { to: 7 }),
      makeNode('Range', ['start', 'limit', 'step'], ['r']),
      makeNode('Cast', ['r'], ['f'], { to: 1 }),
      makeNode('ReduceSum', ['f'], ['sum'], { keepdims: 0 }),
      makeNode('Shape', ['x'], ['dims']),
      makeNode('Range', ['start', 'dims', 'step'], ['r2']),
      makeNode('Cast', ['r2'], ['f2'], { to: 1 }),
      makeNode('ReduceSum', ['f2'], ['sum2'], { keepdims: 0 }),
      makeNode('Add', ['sum', 'sum2'], ['total']),
      makeNode('Add', ['x', 'total'], ['y']),
    ];
    const constants = [i64('four', [4]), i64('one', [1]), i64('step', [1], [])];
    const result = await applied(foldConstants, model([2], nodes, constants), batch(2));
    expect(ops(result.model)).toEqual(nodes.map((node) => node.op_type));
    expect(result.skipped.map((note) => note.text).filter((text) => text.includes('Range'))).toHaveLength(2);
  });

  it('keeps a constant result that is an output of the model', async () => {
    const m = model([2], [makeNode('Neg', ['w'], ['n']), makeNode('Add', ['x', 'n'], ['y'])], [f32('w', [2], [1, 2])], {
      outputs: [makeValue('y', 'float32'), makeValue('n', 'float32')],
    });
    expect(ops((await applied(foldConstants, m, batch(2))).model)).toEqual(['Neg', 'Add']);
  });

  it('says what could not be computed, and folds the rest', async () => {
    // Reshape of 3 elements to [2] fails when run; it stands behind a condition that never holds.
    const branch = (name: string, value: string) =>
      GraphCodec.create({
        name,
        node: [makeNode('Add', ['x', value], [`${name}_y`])],
        output: [makeValue(`${name}_y`, 'float32')],
      });
    const choose = withGraph('If', ['c'], ['h'], 'choose', [
      branch('then_branch', 'bad'),
      branch('else_branch', 'good'),
    ]);
    const nodes = [
      makeNode('Gather', ['w', 'far'], ['bad'], {}, { name: 'wrong' }),
      makeNode('Neg', ['w'], ['good']),
      ...never,
      choose,
      makeNode('Relu', ['h'], ['y']),
    ];
    const m = model([3], nodes, [f32('w', [3], [1, 2, 3]), i64('far', [9])]);
    const result = await foldConstants.apply(m, {}, testContext({ calibration: [batch(3)] }));
    expect(ops(result.model)).toEqual(['Gather', 'ReduceMax', 'IsNaN', 'If', 'Relu']);
    expect(result.skipped[0]).toMatchObject({
      layer: 'wrong',
      text: expect.stringContaining('could not be computed') as string,
    });
  });

  const packed = (starts: readonly number[], ends: readonly number[]) => {
    const parts = starts.map((_, i) => `part${i}`);
    return model(
      ['N', 8],
      [
        ...parts.map((part, i) => makeNode('Slice', ['qkv', `from${i}`, `to${i}`, 'axis'], [part], {}, { name: part })),
        ...parts.map((part, i) => makeNode('MatMul', ['x', part], [`m${i}`])),
        makeNode('Concat', ['m0', 'm1', 'm2'], ['y'], { axis: 1 }),
      ],
      [
        weight('qkv', [8, 48], 1),
        i64('axis', [1]),
        ...starts.map((v, i) => i64(`from${i}`, [v])),
        ...ends.map((v, i) => i64(`to${i}`, [v])),
      ],
    );
  };

  it('takes all parts that a constant is cut into, for then it is not needed any more', async () => {
    const result = await applied(foldConstants, packed([0, 16, 32], [16, 32, 48]), batch(5, 8));
    expect(ops(result.model)).toEqual(['MatMul', 'MatMul', 'MatMul', 'Concat']);
    expect(result.model.graph.initializer.map((t) => dimsOf(t))).toEqual([1, 2, 3].map(() => [8, 16]));
  });

  it('takes rows that Gather cuts out of a constant likewise', async () => {
    const parts = ['a', 'b'];
    const cut = model(
      ['N', 8],
      [
        ...parts.map((part, i) => makeNode('Gather', ['both', `rows${i}`], [part])),
        ...parts.map((part) => makeNode('MatMul', ['x', part], [`m${part}`])),
        makeNode('Add', ['ma', 'mb'], ['y']),
      ],
      [weight('both', [2, 8, 16], 1), i64('rows0', [0], []), i64('rows1', [1], [])],
    );
    const result = await applied(foldConstants, cut, batch(5, 8));
    expect(ops(result.model)).toEqual(['MatMul', 'MatMul', 'Add']);
  });

  it('leaves parts that overlap, or of which the whole is read too', async () => {
    const { model: same, skipped } = await applied(foldConstants, packed([0, 16, 16], [16, 48, 48]), batch(5, 8));
    expect(ops(same)).toContain('Slice');
    expect(skipped.find(({ layer }) => layer === 'part1')?.text).toBe(
      'its constant result takes 1024 bytes, what it is made of and would go 16',
    );
  });
});
