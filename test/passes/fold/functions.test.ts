import { makeAttribute } from '../../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { layers } from '../../../src/graph/layer.ts';
import { modelOf, type Model } from '../../../src/graph/model.ts';
import {
  AttributeCodec,
  FunctionCodec,
  ModelCodec,
  NodeCodec,
  OperatorSetCodec,
  int64,
  type AttributeProto,
  type FunctionProto,
  type NodeProto,
} from '../../../src/graph/proto.ts';
import { inlineFunctions } from '../../../src/passes/fold/functions.ts';
import { prepare } from '../../../src/passes/fold/prepare.ts';
import { control } from '../../helpers/bodies.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

const domain = 'own';

interface Parts {
  readonly input: string[];
  readonly output: string[];
  readonly node: NodeProto[];
  readonly attribute?: string[];
  readonly attribute_proto?: AttributeProto[];
  readonly opset?: number;
}
function local(name: string, { opset = 17, ...parts }: Parts): FunctionProto {
  const imports = [
    { domain: '', version: int64(opset) },
    { domain, version: int64(1) },
  ];
  return FunctionCodec.create({ name, domain, ...parts, opset_import: imports.map((o) => OperatorSetCodec.create(o)) });
}
const call = (name: string, input: string[], output: string[], attributes = {}): NodeProto =>
  makeNode(name, input, output, attributes, { domain, name: `${output[0]}!` });
/** An attribute that the caller gives under another name. */
function refers(node: NodeProto, name: string, from: string, type: number): NodeProto {
  const attribute = [...node.attribute, AttributeCodec.create({ name, ref_attr_name: from, type })];
  return NodeCodec.amend(node, { attribute });
}
const withFunctions = (model: Model, functions: FunctionProto[]): Model =>
  modelOf(ModelCodec.amend(model.proto, { functions }));

const x = floats(noise(9, 6 * 8), [6, 8]);
const model = (nodes: NodeProto[], functions: FunctionProto[], opset = 17): Model =>
  withFunctions(
    makeModel({
      opset,
      ir: 8,
      domains: { [domain]: 1 },
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [8, 8], 1), weight('v', [8, 8], 2), weight('b', [8], 3)],
      nodes,
    }),
    functions,
  );

/** onnxruntime inlines functions itself, so both models are the same graph to it. */
async function sameOutputs(before: Model, after: Model): Promise<void> {
  for (const level of ['disabled', 'all'] as const) {
    const [was, is] = [await runModel(before, { x }, level), await runModel(after, { x }, level)];
    expect(is.y?.dims).toEqual(was.y?.dims);
    expect(is.y?.data).toEqual(was.y?.data);
  }
}

// A slope that the call may give, a bias that it may leave out, an inner value called like one of the model's, and a function in it.
const leaky = local('Leaky', {
  input: ['a', 'w', 'b'],
  output: ['y'],
  attribute_proto: [makeAttribute('slope', { float: 0.25 })],
  node: [makeNode('Gemm', ['a', 'w', 'b'], ['h']), refers(call('Act', ['h'], ['y'], {}), 'alpha', 'slope', 1)],
});
const act = local('Act', {
  input: ['h'],
  output: ['y'],
  attribute: ['alpha'],
  node: [refers(makeNode('LeakyRelu', ['h'], ['x']), 'alpha', 'alpha', 1), makeNode('Neg', ['x'], ['y'])],
});
/** Adds a product or not, in the bodies of an If. */
const perhaps = local('Perhaps', {
  input: ['x', 'w'],
  output: ['y', 'same'],
  node: [
    makeNode('ReduceSum', ['x'], ['sum'], { keepdims: 0 }),
    makeNode('Constant', [], ['zero'], { value_float: { float: 0 } }),
    makeNode('Greater', ['sum', 'zero'], ['up']),
    control('If', ['up'], ['y'], {
      then_branch: { nodes: [makeNode('MatMul', ['x', 'w'], ['t'])], outputs: [makeValue('t', 'float32')] },
      else_branch: { nodes: [makeNode('Neg', ['x'], ['t2'])], outputs: [makeValue('t2', 'float32')] },
    }),
    makeNode('Identity', ['x'], ['same']),
  ],
});

describe('local functions', () => {
  it.each<[string, NodeProto[], FunctionProto[], string[]]>([
    ['attributes by default', [call('Leaky', ['x', 'w', 'b'], ['y'])], [leaky, act], ['w']],
    ['attributes of the call', [call('Leaky', ['x', 'w', 'b'], ['y'], { slope: { float: 0.5 } })], [leaky, act], ['w']],
    ['an input left out', [call('Leaky', ['x', 'w'], ['y'])], [leaky, act], ['w']],
    ['two calls', [call('Leaky', ['x', 'w'], ['h']), call('Leaky', ['h', 'v', 'b'], ['y'])], [leaky, act], ['w', 'v']],
    [
      'bodies, and an output that nothing reads',
      [call('Perhaps', ['x', 'w'], ['h', 'unread']), makeNode('MatMul', ['h', 'v'], ['y'])],
      [perhaps],
      ['v'],
    ],
  ])('%s: written out to the bit', async (_, nodes, functions, weights) => {
    const before = model(nodes, functions);
    const { model: after, notes } = inlineFunctions(before);
    expect(after.graph.node.every((node) => node.domain === '' || node.op_type === 'Act')).toBe(true);
    expect(layers(after).layers.map(({ weight: { tensor } }) => tensor.name)).toEqual(weights);
    expect(notes.length).toBe(nodes.filter((node) => node.domain === domain).length);
    await sameOutputs(before, after);
  });

  it('are written out before quantizers look for layers', async () => {
    const prepared = await prepare(
      model([call('Leaky', ['x', 'w', 'b'], ['y'])], [leaky, act]),
      testContext({ calibration: [{ x }] }),
    );
    expect(layers(prepared.model).layers).toHaveLength(1);
  });

  it('stay where they hold no layer', () => {
    const before = model([call('Act', ['x'], ['y'], { alpha: { float: 0.5 } })], [act]);
    expect(inlineFunctions(before)).toEqual({ model: before, notes: [] });
  });

  it('stay with a reason where they are of another operator set', () => {
    const old = local('Old', {
      input: ['a', 'w'],
      output: ['y'],
      node: [makeNode('MatMul', ['a', 'w'], ['y'])],
      opset: 16,
    });
    const before = model([call('Old', ['x', 'w'], ['y'])], [old]);
    const { model: after, notes } = inlineFunctions(before);
    expect(after).toBe(before);
    expect(notes).toEqual([
      { layer: 'Old', text: expect.stringMatching(/operator set 16 of ai.onnx, the model of 17/) as unknown },
    ]);
  });

  it('that double 27 times are refused in one line, and at once', () => {
    const base = local('F0', { input: ['a', 'w'], output: ['y'], node: [makeNode('MatMul', ['a', 'w'], ['y'])] });
    const doubling = Array.from({ length: 27 }, (_, i) =>
      local(`F${i + 1}`, {
        input: ['a', 'w'],
        output: ['y'],
        node: [call(`F${i}`, ['a', 'w'], ['h']), call(`F${i}`, ['h', 'w'], ['y'])],
      }),
    );
    expect(() => inlineFunctions(model([call('F27', ['x', 'w'], ['y'])], [base, ...doubling]))).toThrow(
      /would be 1.3e\+8 nodes/,
    );
  });

  it('that call themselves are refused', () => {
    const one = local('One', { input: ['a'], output: ['y'], node: [call('Two', ['a'], ['y'])] });
    const two = local('Two', { input: ['a'], output: ['y'], node: [call('One', ['a'], ['y'])] });
    expect(() => inlineFunctions(model([call('One', ['x'], ['y'])], [one, two]))).toThrow(/calls itself/);
  });
});
