import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import { AttributeCodec, GraphCodec, type NodeProto } from '../../../src/graph/proto.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { embeddings } from '../../../src/passes/quantize/embedding.ts';
import { isMatrix, weightKey, weightLayers } from '../../../src/passes/quantize/targets.ts';
import { weight } from '../../helpers/models.ts';

const small = [
  weight('m', [4, 4], 1),
  weight('m3', [2, 4, 4], 2),
  weight('c', [4, 4, 1], 3),
  makeTensor('half', 'float16', [4, 4], new Uint16Array(16)),
  makeTensor('nan', 'float32', [4, 4], Float32Array.of(...Array<number>(15).fill(1), NaN)),
  makeTensor('inf', 'float32', [4, 4], Float32Array.of(Infinity, ...Array<number>(15).fill(1))),
  weight('table', [32, 32], 4),
  weight('less', [31, 33], 5),
  weight('flat', [1024], 6),
  makeTensor('halves', 'float16', [32, 32], new Uint16Array(1024)),
  makeTensor('doubles', 'float64', [32, 32], new Float64Array(1024)),
  makeTensor('numbers', 'int64', [32, 32], new BigInt64Array(1024)),
];
const graph = (nodes: readonly NodeProto[], outputs = ['y']): Model => {
  const bodies = nodes.flatMap((node) => node.attribute.flatMap(({ g }) => g?.node ?? []));
  const used = new Set([...nodes, ...bodies].flatMap(({ input }) => input));
  return makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', [4, 4]), makeValue('flag', 'bool', []), makeValue('ids', 'int64', [2])],
    outputs: outputs.map((name) => makeValue(name, 'float32')),
    initializers: small.filter(({ name }) => used.has(name) || outputs.includes(name)),
    nodes,
  });
};
const named = (op: string, inputs: string[], output = 'y', attributes = {}): NodeProto =>
  makeNode(op, inputs, [output], attributes, { name: `${output}!` });
/** An If that computes `nodes` either way. */
function branch(...nodes: NodeProto[]): NodeProto {
  const node = named('If', ['flag']);
  node.attribute = ['then_branch', 'else_branch'].map((name) =>
    AttributeCodec.create({
      ...{ name, type: 5 },
      g: GraphCodec.create({ name, node: nodes, output: [makeValue(nodes.at(-1)!.output[0]!, 'float32')] }),
    }),
  );
  return node;
}

describe('weightLayers', () => {
  it.each<[string, NodeProto, RegExp | undefined]>([
    ['a matrix', named('MatMul', ['x', 'm']), undefined],
    ['a constant on the left', named('MatMul', ['m', 'x']), undefined],
    ['float16', named('MatMul', ['x', 'half']), /float16/],
    ['NaN', named('MatMul', ['x', 'nan']), /"nan" holds NaN/],
    ['infinity', named('MatMul', ['x', 'inf']), /"inf" holds Infinity/],
    ['computed weights', named('MatMul', ['x', 'x']), /no constant weights/],
    ['no order of axes', named('Einsum', ['x', 'm'], 'y', { equation: 'ij,jk->ki' }), undefined],
  ])('%s', (_, node, why) => {
    const { layers: found, skipped } = weightLayers(graph([node]));
    // An Einsum is given where its axes have an order, and else its reason.
    if (node.op_type === 'Einsum') expect([found.length, skipped.length].sort()).toEqual([0, 1]);
    else expect([found.map(({ name }) => name), skipped]).toEqual(
      why === undefined ? [['y!'], []] : [[], [{ layer: 'y!', text: expect.stringMatching(why) as unknown }]],
    ); // prettier-ignore
  });

  it('names what lies inside of bodies', () => {
    const { layers: found, skipped } = weightLayers(graph([branch(named('MatMul', ['x', 'm'], 'inner'))]));
    expect(found).toEqual([]);
    expect(skipped.length).toBeGreaterThan(0);
    for (const { layer, text } of skipped) {
      expect(layer).toContain('inner');
      expect(text).toMatch(/this MatMul lies inside a body/);
    }
  });
});

it('a matrix is what a Gemm or MatMul multiplies by from the right', () => {
  const nodes = [
    named('MatMul', ['x', 'm'], 'a'),
    named('Gemm', ['x', 'm'], 'b'),
    named('MatMul', ['m', 'x'], 'c'),
    named('MatMul', ['x', 'm3'], 'd'),
    named('Gather', ['table', 'ids'], 'e'),
  ];
  const found = layers(graph(nodes, ['a', 'b', 'c', 'd', 'e'])).layers;
  expect(found.filter(isMatrix).map(({ name }) => name)).toEqual(['a!', 'b!']);
});

it('codes are shared by layers that see the same matrix in a tensor and hold it alike', () => {
  const nodes = [
    named('MatMul', ['x', 'm'], 'a'),
    named('Gemm', ['x', 'm'], 'b'),
    named('Gemm', ['x', 'm'], 'c', { transB: 1 }),
    named('MatMul', ['x', 'nan'], 'd'),
  ];
  const found = layers(graph(nodes, ['a', 'b', 'c', 'd'])).layers;
  const [a, b, c, d] = found.map((layer) => weightKey(layer, 8));
  expect(a).toBe(b);
  expect(new Set([a, c, d, weightKey(found[0]!, 4)]).size).toBe(4);
});

describe('embeddings', () => {
  const look = (table: string, output = 'y', attributes = {}): NodeProto =>
    named('Gather', [table, 'ids'], output, attributes);
  it.each<[string, readonly NodeProto[], string[], RegExp | 'taken' | undefined]>([
    ['1024 elements', [look('table')], ['y'], 'taken'],
    ['1023 elements', [look('less')], ['y'], /1023 elements only/],
    ['a vector', [look('flat')], ['y'], undefined],
    ['whole numbers', [look('numbers')], ['y'], undefined],
    ['float16', [look('halves')], ['y'], /float16/],
    ['float64', [look('doubles')], ['y'], /float64/],
    ['another axis', [look('table', 'y', { axis: 1 })], ['y'], /another axis/],
    ['a table that is an output too', [look('table')], ['y', 'table'], /output of the model/],
    [
      'a table that a body reads',
      [look('table', 'e'), branch(named('Neg', ['table'], 'inner'))],
      ['y', 'e'],
      /read by "y!" too/,
    ],
    ['a table that a sum reads', [look('table', 'e'), named('Neg', ['table'])], ['y', 'e'], /read by "y!" too/],
    ['a table looked up twice', [look('table', 'e'), look('table')], ['y', 'e'], 'taken'],
  ])('%s', (_, nodes, outputs, found) => {
    const { sites, skipped } = embeddings(graph(nodes, outputs), [], () => undefined);
    const lookups = nodes.filter(({ op_type }) => op_type === 'Gather').map(({ name }) => name);
    expect(sites.map(({ node }) => node.name)).toEqual(found === 'taken' ? lookups : []);
    expect(skipped).toEqual(
      found === 'taken' || found === undefined
        ? []
        : lookups.map((layer) => ({ layer, text: expect.stringMatching(found) as unknown })),
    );
  });

  it('asks what is wanted last', () => {
    expect(embeddings(graph([look('table')]), [], () => 'no').skipped).toEqual([{ layer: 'y!', text: 'no' }]);
    expect(embeddings(graph([look('less')]), [], () => 'no').skipped[0]?.text).toMatch(/only/);
  });
});
