import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import { fullPrecision, fullPrecisionTensors } from '../../src/graph/full_precision.ts';
import type { Model } from '../../src/graph/model.ts';
import { AttributeCodec, GraphCodec, type NodeProto } from '../../src/graph/proto.ts';
import { layerName } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { weight } from '../helpers/models.ts';

const node = (op: string, name: string, input: string, attributes = {}): NodeProto =>
  makeNode(op, input.split(' '), [name], attributes, { name });
const ints = (name: string, ...values: number[]) =>
  makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt));
const scalar = (name: string, value: number) => makeTensor(name, 'float32', [], Float32Array.of(value));
const count = (name: string, value: number) => makeTensor(name, 'int64', [], BigInt64Array.of(BigInt(value)));
const toFloat = { to: 1 };

interface Case {
  readonly input: readonly [DType, readonly (number | string)[]];
  readonly nodes: readonly NodeProto[];
  /** The nodes that stay in float32. */
  readonly found: readonly string[];
  readonly tables?: readonly string[];
}

const tables = [
  weight('inv_freq', [1, 32], 1),
  weight('frequencies', [32], 2),
  weight('column', [1, 32, 1], 3),
  weight('turned', [32, 1], 4),
  weight('w', [16, 32], 5),
  weight('w2', [32, 32], 6),
  weight('plane', [2, 32], 7),
  weight('conv', [4, 3, 3, 3], 8),
  weight('bias', [32], 9),
  weight('arange', [64, 1], 10),
  weight('taps', [32, 1, 1], 11),
  weight('spots', [3, 32], 12),
  weight('features', [5, 32], 13),
  ints('line', 1, 1, -1),
  ...[ints('minus_one', -1), ints('zeros', 0), ints('threes', 3), ints('ones', 1)],
  ints('one', 1),
  ints('rows', 16),
  ints('shape', 1, 32, 1),
  ints('many', 1, 2, 3, 4),
  count('zero', 0),
  count('step', 1),
  count('end', 64),
  scalar('half', 0.5),
];

const positions = [node('Cast', 'pos', 'x', toFloat), node('Unsqueeze', 'p', 'pos minus_one')];
const ids = ['int64', ['B', 'S']] as const;
const batch = ['float32', ['N', 16]] as const;

const cases: Readonly<Record<string, Case>> = {
  'points in space times frequencies, for a Sin': {
    input: ['float32', ['N', 3]],
    nodes: [node('MatMul', 'f', 'x spots'), node('Mul', 'm', 'f half'), node('Sin', 'y', 'm')],
    found: ['f', 'm'],
    tables: ['half', 'spots'],
  },
  'points in space for anything else, and more features than a point has': {
    input: ['float32', ['N', 5]],
    nodes: [node('MatMul', 'f', 'x features'), node('Sin', 's', 'f'), node('Slice', 'three', 'x zeros threes ones'), node('MatMul', 'g', 'three spots'), node('Relu', 'y', 'g')], // prettier-ignore
    found: [],
  },
  'rows of a table that are angles': {
    input: ids,
    nodes: [node('Gather', 'rows', 'w2 x'), node('Mul', 'm', 'rows half'), node('Cos', 'y', 'm')],
    found: ['rows'],
    tables: ['w2'],
  },
  'MatMul of positions and frequencies': {
    input: ids,
    nodes: [
      ...positions,
      node('MatMul', 'f', 'p inv_freq'),
      node('Concat', 'c', 'f f', { axis: -1 }),
      node('Sin', 'y', 'c'),
    ],
    found: ['f'],
    tables: ['inv_freq'],
  },
  'Conv of counted positions with one tap a frequency': {
    input: ids,
    nodes: [
      node('Range', 'r', 'zero end step'),
      node('Cast', 'c', 'r', toFloat),
      node('Reshape', 'p', 'c line'),
      node('Conv', 'f', 'p taps'),
      node('Transpose', 't', 'f', { perm: [0, 2, 1] }),
      node('Sin', 'y', 't'),
    ],
    found: ['f'],
    tables: ['taps'],
  },
  'frequencies that are expanded to the batch, times positions, turned': {
    input: ids,
    nodes: [
      node('Expand', 'e', 'column shape'),
      node('Cast', 'pos', 'x', toFloat),
      node('Unsqueeze', 'p', 'pos one'),
      node('MatMul', 'f', 'e p'),
      node('Transpose', 't', 'f', { perm: [0, 2, 1] }),
      node('Mul', 's', 't half'),
      node('Cos', 'y', 's'),
    ],
    found: ['f', 's'],
    tables: ['column', 'half'],
  },
  'Mul of positions and frequencies': {
    input: ids,
    nodes: [...positions, node('Mul', 'f', 'p frequencies'), node('Cos', 'y', 'f')],
    found: ['f'],
    tables: ['frequencies'],
  },
  'Einsum of counted positions': {
    input: batch,
    nodes: [
      node('Shape', 'shape_of_x', 'x'),
      node('Range', 'r', 'zero end step'),
      node('Cast', 'p', 'r', toFloat),
      node('Einsum', 'f', 'p frequencies', { equation: 'i,j->ij' }),
      node('Sin', 'y', 'f'),
    ],
    found: ['f'],
    tables: ['frequencies'],
  },
  'Gemm of counted positions, frequencies turned': {
    input: batch,
    nodes: [
      node('Range', 'r', 'zero end step'),
      node('Cast', 'c', 'r', toFloat),
      node('Unsqueeze', 'p', 'c one'),
      node('Gemm', 'f', 'p turned bias', { transB: 1 }),
      node('Sin', 'y', 'f'),
    ],
    found: ['f'],
    tables: ['turned', 'bias'],
  },
  'time steps that are floats': {
    input: ['float32', ['N', 1]],
    nodes: [node('Mul', 'f', 'x frequencies'), node('Sin', 'y', 'f')],
    found: ['f'],
    tables: ['frequencies'],
  },
  'time steps by an outer MatMul': {
    input: ['float32', ['N', 1]],
    nodes: [node('MatMul', 'f', 'x inv_freq'), node('Sin', 'y', 'f')],
    found: ['f'],
    tables: ['inv_freq'],
  },
  'a table of positions': {
    input: batch,
    nodes: [
      node('Mul', 'f', 'arange inv_freq'),
      node('Sin', 's', 'f'),
      node('MatMul', 'h', 'x w'),
      node('Add', 'y', 'h s'),
    ],
    found: ['f', 's'],
    tables: ['arange', 'inv_freq'],
  },
  'a table of angles': {
    input: batch,
    nodes: [node('Reshape', 'r', 'frequencies shape'), node('Sin', 's', 'r'), node('Add', 'y', 'x s')],
    found: ['s'],
    tables: ['frequencies'],
  },
  'distances times slopes': {
    input: ['float32', ['N', 32, 1]],
    nodes: [
      node('Shape', 'sh', 'x'),
      node('Gather', 'n', 'sh zero'),
      node('Range', 'r', 'zero n step'),
      node('Cast', 'p', 'r', toFloat),
      node('Mul', 'bias_of_heads', 'p column'),
      node('Add', 'y', 'x bias_of_heads'),
    ],
    found: ['bias_of_heads'],
    tables: ['column'],
  },
  'positions summed from a mask, divided by a table': {
    input: ['bool', ['B', 'S']],
    nodes: [
      node('Not', 'n', 'x'),
      node('Cast', 'm', 'n', toFloat),
      node('CumSum', 'p', 'm step'),
      node('Unsqueeze', 'u', 'p minus_one'),
      node('Div', 'f', 'u frequencies'),
      node('Sin', 'y', 'f'),
    ],
    found: ['f'],
    tables: ['frequencies'],
  },
  'an outer product of integers that goes nowhere near Sin': {
    input: ids,
    nodes: [...positions, node('MatMul', 'y', 'p inv_freq')],
    found: ['y'],
    tables: ['inv_freq'],
  },

  'a layer whose activation is Sin': {
    input: batch,
    nodes: [
      node('MatMul', 'a', 'x w'),
      node('Add', 'b', 'a bias'),
      node('Mul', 'c', 'b half'),
      node('Sin', 's', 'c'),
      node('Gemm', 'd', 's w2 bias'),
      node('Sin', 'y', 'd'),
    ],
    found: [],
  },
  'an image of bytes': {
    input: ['uint8', ['N', 3, 8, 8]],
    nodes: [node('Cast', 'c', 'x', toFloat), node('Mul', 'm', 'c half'), node('Conv', 'y', 'm conv')],
    found: [],
  },
  'flat bytes into a layer with Sin': {
    input: ['uint8', ['N', 16]],
    nodes: [node('Cast', 'c', 'x', toFloat), node('Gemm', 'g', 'c w bias'), node('Sin', 'y', 'g')],
    found: [],
  },
  'integer features into a layer': {
    input: ['int64', ['N', 16]],
    nodes: [
      node('Cast', 'c', 'x', toFloat),
      node('Mul', 'm', 'c half'),
      node('Gemm', 'g', 'm w bias'),
      node('Relu', 'y', 'g'),
    ],
    found: [],
  },
  'learned embeddings of tokens': {
    input: ids,
    nodes: [node('Gather', 'e', 'w x'), node('MatMul', 'm', 'e w2'), node('Sin', 'y', 'm')],
    found: [],
  },
  'a scale computed from a shape': {
    input: batch,
    nodes: [
      node('MatMul', 'h', 'x w'),
      node('Shape', 'sh', 'h'),
      node('Gather', 'n', 'sh step'),
      node('Cast', 'c', 'n', toFloat),
      node('Sqrt', 'q', 'c'),
      node('Div', 'd', 'h q'),
      node('MatMul', 'y', 'd w2'),
    ],
    found: [],
  },
  'what is multiplied with Sin afterwards': {
    input: batch,
    nodes: [
      node('MatMul', 'h', 'x w'),
      node('Mul', 'f', 'arange inv_freq'),
      node('Sin', 's', 'f'),
      node('Mul', 'm', 'h s'),
      node('MatMul', 'y', 'm w2'),
    ],
    found: ['f', 's'],
    tables: ['arange', 'inv_freq'],
  },
};

function modelOf({ input, nodes }: Case): Model {
  return makeModel({
    opset: 17,
    inputs: [makeValue('x', input[0], input[1])],
    outputs: [makeValue('y', 'float32')],
    nodes,
    initializers: tables,
  });
}

describe('graph/full_precision', () => {
  it.each(Object.entries(cases))('%s', (_, of) => {
    const model = modelOf(of);
    expect([...fullPrecision(model).keys()].map(layerName)).toEqual(of.found);
    expect(new Set(fullPrecisionTensors(model).keys())).toEqual(new Set(of.tables ?? []));
  });

  it('says why', () => {
    const sentences = (name: string): string[] => [...fullPrecision(modelOf(cases[name] as Case)).values()];
    expect(sentences('Mul of positions and frequencies')).toEqual([
      'it makes the angles of "y", and coarser numbers would put large positions elsewhere',
    ]);
    expect(sentences('distances times slopes')[0]).toContain('multiplies or adds positions');
  });

  it('looks into bodies, and through them', () => {
    const branch = (name: string, table: string) =>
      GraphCodec.create({
        name,
        node: [node('Mul', `${name}_f`, `p ${table}`)],
        output: [makeValue(`${name}_f`, 'float32')],
      });
    const choose = makeNode('If', ['long'], ['angles'], {}, { name: 'choose' });
    choose.attribute = (['then_branch', 'else_branch'] as const).map((name, i) =>
      AttributeCodec.create({ name, type: 5, g: branch(name, i === 0 ? 'frequencies' : 'bias') }),
    );
    const model = makeModel({
      opset: 17,
      inputs: [makeValue('x', 'int64', ['B', 'S']), makeValue('long', 'bool', [])],
      outputs: [makeValue('y', 'float32')],
      nodes: [...positions, choose, node('Sin', 'y', 'angles')],
      initializers: tables,
    });
    expect([...fullPrecision(model).keys()].map(layerName)).toEqual(['then_branch_f', 'else_branch_f']);
    expect([...fullPrecisionTensors(model).keys()].sort()).toEqual(['bias', 'frequencies']);
  });

  it('reads axes that are an attribute, and constants that are nodes', () => {
    const table = makeNode('Constant', [], ['table'], { value: { tensor: weight('', [1, 8], 1) } });
    const model = makeModel({
      opset: 11,
      inputs: [makeValue('x', 'int32', ['N'])],
      outputs: [makeValue('y', 'float32')],
      nodes: [
        table,
        node('Cast', 'c', 'x', toFloat),
        node('Unsqueeze', 'u', 'c', { axes: [1] }),
        node('MatMul', 'y', 'u table'),
      ],
    });
    expect([...fullPrecision(model).keys()].map(layerName)).toEqual(['y']);
  });
});
