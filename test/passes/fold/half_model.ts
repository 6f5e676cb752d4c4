import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import {
  AttributeCodec,
  FunctionCodec,
  GraphCodec,
  ModelCodec,
  OperatorSetCodec,
  int64,
  type NodeProto,
} from '../../../src/graph/proto.ts';
import { modelOf, type Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { toFloat16 } from '../../../src/numerics/float16.ts';
import { toBfloat16 } from '../../helpers/bfloat16.ts';
import { noise } from '../../helpers/models.ts';

export type Half = 'float16' | 'bfloat16';

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** A constant of 16-bit noise. */
export function half(name: string, dims: readonly number[], seed: number, type: Half = 'float16', scale = 0.3) {
  const data = noise(seed, size(dims), scale);
  return makeTensor(name, type, dims, type === 'float16' ? toFloat16(data) : toBfloat16(data));
}

const code = { float16: 10, bfloat16: 16 } as const;

/** A node with bodies. */
function withBodies(
  node: NodeProto,
  bodies: Readonly<Record<string, ReturnType<typeof GraphCodec.create>>>,
): NodeProto {
  const graphs = Object.entries(bodies).map(([name, g]) => AttributeCodec.create({ name, type: 5, g }));
  return { ...node, attribute: [...node.attribute, ...graphs] };
}

/**
 * A model of 16-bit floats from x [N, 8] to y [N, 8] with a constant in every place that one can stand: initializers (a vector that is
 * small, a weight), Constants (small, large), ConstantOfShape, Cast to the type, a weight that is float32 behind a Cast (mixed
 * precision), a body of If with an initializer, a Constant and a captured weight, a local function with a Constant, a node of
 * com.microsoft. `given` says what the ends are.
 */
export function halfModel(type: Half, ends: Half | 'float32' = type): Model {
  const value = (name: string, of: Half | 'float32') => makeValue(name, of, ['N', 8]);
  const body = (seed: number) =>
    GraphCodec.create({
      name: `body${seed}`,
      node: [
        makeNode('Constant', [], [`c${seed}`], { value: { tensor: half('', [1, 8], seed, type) } }),
        makeNode('Constant', [], [`m${seed}`], { value: { tensor: half('', [8, 8], seed + 1, type) } }),
        makeNode('MatMul', ['h4', `m${seed}`], [`p${seed}`]),
        makeNode('MatMul', [`p${seed}`, `w${seed}`], [`q${seed}`]),
        makeNode('MatMul', [`q${seed}`, 'outer'], [`r${seed}`]),
        makeNode('Add', [`r${seed}`, `c${seed}`], [`s${seed}`]),
      ],
      initializer: [half(`w${seed}`, [8, 8], seed + 2, type)],
      output: [value(`s${seed}`, type)],
    });
  const enter = ends === 'float32' ? [makeNode('Cast', ['x'], ['x16'], { to: code[type] })] : [];
  const leave = ends === 'float32' ? [makeNode('Cast', ['y16'], ['y'], { to: 1 })] : [];
  const [x, y] = ends === 'float32' ? ['x16', 'y16'] : ['x', 'y'];
  const made = makeModel({
    opset: 17,
    ir: 8,
    domains: { 'com.microsoft': 1, own: 1 },
    inputs: [value('x', ends)],
    outputs: [value('y', ends)],
    initializers: [
      half('w', [8, 8], 1, type),
      half('bias', [8], 2, type),
      half('outer', [8, 8], 3, type),
      makeTensor('wide', 'float32', [8, 8], noise(4, 64, 0.3)),
      makeTensor('two', 'int64', [1], BigInt64Array.of(8n)),
      makeTensor('yes', 'bool', [], Uint8Array.of(1)),
      makeTensor('ids', 'int64', [8], BigInt64Array.from([1n, 0n, 3n, 2n, 5n, 4n, 7n, 6n])),
    ],
    nodes: [
      ...enter,
      makeNode('MatMul', [x, 'w'], ['h0'], {}, { name: 'first' }),
      makeNode('Add', ['h0', 'bias'], ['h1']),
      makeNode('Constant', [], ['large'], { value: { tensor: half('', [8, 8], 5, type) } }),
      makeNode('MatMul', ['h1', 'large'], ['h2'], {}, { name: 'second' }),
      makeNode('Constant', [], ['small'], { value: { tensor: half('', [8], 6, type) } }),
      makeNode('ConstantOfShape', ['two'], ['ones'], { value: { tensor: half('', [1], 7, type) } }),
      makeNode('Mul', ['small', 'ones'], ['factor']),
      makeNode('Cast', ['ids'], ['order'], { to: code[type] }),
      makeNode('Add', ['factor', 'order'], ['shift']),
      makeNode('Add', ['h2', 'shift'], ['h3']),
      makeNode('Cast', ['wide'], ['narrow'], { to: code[type] }),
      makeNode('MatMul', ['h3', 'narrow'], ['third']),
      makeNode('FastGelu', ['third', 'bias'], ['h4'], {}, { name: 'gelu', domain: 'com.microsoft' }),
      withBodies(makeNode('If', ['yes'], ['h5']), { then_branch: body(10), else_branch: body(20) }),
      makeNode('Scaled', ['h5'], ['h6'], {}, { name: 'called', domain: 'own' }),
      { ...makeNode('Add', ['h6', 'bias'], [y]), name: '' },
      ...leave,
    ],
  });
  const scaled = FunctionCodec.create({
    name: 'Scaled',
    domain: 'own',
    input: ['a'],
    output: ['b'],
    opset_import: [OperatorSetCodec.create({ domain: '', version: int64(17) })],
    node: [
      makeNode('Constant', [], ['k'], { value: { tensor: half('', [8, 8], 8, type) } }),
      makeNode('MatMul', ['a', 'k'], ['p']),
      makeNode('Constant', [], ['half'], { value: { tensor: half('', [], 9, type) } }),
      makeNode('Mul', ['p', 'half'], ['b']),
    ],
  });
  return modelOf(ModelCodec.amend(made.proto, { functions: [scaled] }));
}
