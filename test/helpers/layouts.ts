import fc from './fc.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../src/graph/proto.ts';
import { makeTensor, renamed } from '../../src/graph/tensor.ts';
import { weight } from './models.ts';

/** One way in which two layers of an operator, with a Relu between and a head behind, may read their weights and biases. */
export interface LayoutCase {
  readonly op: 'Gemm' | 'MatMul' | 'Conv' | 'ConvTranspose';
  /** Axes of the weight: 2 to 4 of MatMul, 3 to 5 of Conv. */
  readonly rank: number;
  readonly groups: number;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  /** C of Gemm, or the bias of a Conv. */
  readonly bias: 'none' | 'row' | 'matrix row' | 'scalar' | 'column' | 'matrix';
  readonly biasOf: 'own' | 'shared by 2' | 'shared by 3';
  readonly weightOf: 'own' | 'shared alike' | 'shared turned' | 'also added';
  /** Called as qtool might call something of its own. */
  readonly taken: string;
}

/** Channels of every value, so that weights are square and can be shared in any way. */
const width = 8;

/** Suffixes that names may get in a quantized model. */
export const takenNames = [
  '',
  '_scale',
  '_zero_point',
  '_quantized',
  '_dequantized',
  '_transposed',
  '_product',
  '_cast',
];

/** All the ways that are legal. */
export const layoutCases: fc.Arbitrary<LayoutCase> = fc.oneof(
  fc.record({
    op: fc.constant('Gemm' as const),
    rank: fc.constant(2),
    groups: fc.constant(1),
    attributes: fc.record({
      transA: fc.constantFrom(0, 1),
      transB: fc.constantFrom(0, 1),
      alpha: fc.constantFrom({ float: 1 }, { float: 0.5 }),
      beta: fc.constantFrom({ float: 1 }, { float: 2 }),
    }),
    bias: fc.constantFrom('none' as const, 'row', 'matrix row', 'scalar', 'column', 'matrix'),
    ...sharing(),
  }),
  fc.record({
    op: fc.constant('MatMul' as const),
    rank: fc.constantFrom(2, 3, 4),
    groups: fc.constant(1),
    attributes: fc.constant({}),
    bias: fc.constant('none' as const),
    ...sharing(),
  }),
  fc.record({
    op: fc.constantFrom('Conv' as const, 'ConvTranspose'),
    rank: fc.constantFrom(3, 4, 5),
    groups: fc.constantFrom(1, 2, width),
    attributes: fc.constant({}),
    bias: fc.constantFrom('none' as const, 'row'),
    ...sharing(),
  }),
);

function sharing() {
  return {
    biasOf: fc.constantFrom('own' as const, 'shared by 2', 'shared by 3'),
    weightOf: fc.constantFrom('own' as const, 'shared alike', 'shared turned', 'also added'),
    taken: fc.constantFrom(...takenNames),
  };
}

/** The net of a case: input `x`, output `y`, the layers `first`, `second` and `third`, a Sigmoid behind. */
export function layoutNet(given: LayoutCase): Model {
  const { op, rank, groups, attributes, bias, biasOf, weightOf, taken } = given;
  const spatial = op === 'Conv' || op === 'ConvTranspose' ? rank - 2 : 0;
  const shape =
    spatial > 0
      ? [2, width, ...Array<number>(spatial).fill(5)]
      : [...Array<number>(Math.max(0, rank - 2)).fill(2), width, width];
  const dims =
    spatial > 0
      ? op === 'Conv'
        ? [width, width / groups, ...Array<number>(spatial).fill(3)]
        : [width, width / groups, ...Array<number>(spatial).fill(3)]
      : [...Array<number>(rank - 2).fill(2), width, width];
  const fan = dims.slice(spatial > 0 ? 1 : -1).reduce((a, b) => a * b, 1);
  const scale = 1 / Math.sqrt(fan);
  const biasDims = {
    none: [],
    row: [width],
    'matrix row': [1, width],
    scalar: [],
    column: [width, 1],
    matrix: [width, width],
  };
  const tensors = new Map<string, TensorProto>();
  const store = (name: string, make: (seed: number) => TensorProto): string => {
    if (!tensors.has(name)) tensors.set(name, make(tensors.size + 1));
    return name;
  };
  const layer = (name: string, x: string, y: string, index: number): NodeProto => {
    const own = weightOf === 'own' || (weightOf === 'also added' && index > 0);
    const w = store(own ? `${name}.w` : 'shared.w', (seed) => weight('w', dims, seed, scale));
    const together = biasOf === 'shared by 3' || (biasOf === 'shared by 2' && index < 2);
    const b =
      bias === 'none' ? [] : [store(together ? 'shared.b' : `${name}.b`, (s) => weight('b', biasDims[bias], s, 0.3))];
    const turned = weightOf === 'shared turned' && index === 1 && op === 'Gemm';
    const more =
      spatial > 0
        ? { group: groups, kernel_shape: Array<number>(spatial).fill(3), pads: Array<number>(2 * spatial).fill(1) }
        : turned
          ? { transB: 1 - Number(attributes.transB) }
          : {};
    return makeNode(op, [x, w, ...b], [y], { ...attributes, ...more }, { name });
  };
  const nodes = [
    layer('first', 'x', 'h0', 0),
    makeNode('Relu', ['h0'], ['h1']),
    layer('second', 'h1', 'h2', 1),
    makeNode('Relu', ['h2'], ['h3']),
    layer('third', 'h3', 'h4', 2),
    makeNode('Sigmoid', ['h4'], ['h5']),
    makeNode('Mul', ['h5', 'h4'], ['y']),
  ];
  if (weightOf === 'also added') {
    // Only where the weight has the shape of what it is added to, or is broadcast to it.
    const fits = spatial === 0;
    if (fits) {
      nodes[2] = layer('second', 'added', 'h2', 1);
      nodes.splice(2, 0, makeNode('Add', ['h1', 'shared.w'], ['added']));
    }
  }
  let initializers = [...tensors].map(([name, tensor]) => renamed(tensor, name));
  // A tensor of the model's own that stands where qtool would put one of its.
  if (taken !== '') {
    const name = `${initializers[0]?.name}${taken}`;
    initializers = [...initializers, makeTensor(name, 'float32', [], Float32Array.of(0.75))];
    nodes.splice(1, 0, makeNode('Mul', ['h0', name], ['h0_own']));
    nodes[2] = makeNode('Relu', ['h0_own'], ['h1']);
  }
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', shape)],
    outputs: [makeValue('y', 'float32', shape)],
    initializers,
    nodes,
  });
}
