import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { notFinitePaths } from '../../src/graph/nan_paths.ts';
import { layerName } from '../../src/graph/query.ts';
import type { TensorProto } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { floats, runModel } from '../helpers/context.ts';

/** [op, inputs behind the first, attributes, outputs]. */
type Case = readonly [
  op: string,
  inputs?: readonly string[],
  attributes?: Readonly<Record<string, AttributeValue>>,
  outputs?: number,
];
const ints = (name: string, ...values: number[]) =>
  makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt));
const filled = (name: string, dims: readonly number[], value: number) =>
  makeTensor(name, 'float32', dims, new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value));
const constants: readonly TensorProto[] = [
  ints('shape', 1, 4, 16),
  ints('axis', 0),
  ints('last', 3),
  ints('from', 0),
  ints('to', 2),
  ints('wide', 2, 4, 4, 4),
  ints('pads', 0, 0, 1, 1, 0, 0, 1, 1),
  makeTensor('place', 'int64', [1, 4], BigInt64Array.of(0n, 0n, 0n, 0n)),
  makeTensor('places', 'int64', [1, 1, 1, 1], BigInt64Array.of(0n)),
  ...['none', 'one', 'six'].map((name, i) => makeTensor(name, 'float32', [], Float32Array.of([-1, 1, 6][i]!))),
  makeTensor('scales', 'float32', [4], Float32Array.of(1, 1, 2, 2)),
  filled('four', [4], 1),
  filled('matrix', [4, 4], 1),
  filled('kernel', [4, 4, 1, 1], 1),
];
const tail = ['four', 'four'];
const kernel = { kernel_shape: [2, 2] };

// What they do to NaN and infinity is IEEE 754's arithmetic and the definitions of ONNX's operators; onnxruntime says whether that is so.
const carriers: readonly Case[] = [
  ['Identity'], ['Reshape', ['shape']], ['Flatten'], ['Transpose'], ['Squeeze', ['axis']], ['Unsqueeze', ['axis']],
  ['Slice', ['from', 'to', 'last']], ['Split', [], { num_outputs: 2, axis: 1 }, 2], ['Expand', ['wide']], ['Tile', ['wide']],
  ['Concat', ['four4'], { axis: 0 }], ['Gather', ['axis']], ['Cast', [], { to: 11 }], ['Add', ['one']], ['Sub', ['one']],
  ['Mul', ['six']], ['Div', ['six']], ['Neg'], ['Abs'], ['Exp'], ['Sum', ['one']], ['Mean', ['one']], ['ReduceSum', ['last']],
  ['ReduceMean', ['last']], ['MatMul', ['matrix']], ['Conv', ['kernel']], ['ConvTranspose', ['kernel']],
  ['Einsum', ['matrix'], { equation: 'abcd,de->abce' }], ['Relu'], ['LeakyRelu'], ['PRelu', ['one']], ['Elu'], ['Selu'], ['Celu'],
  ['Gelu'], ['HardSwish'], ['Mish'], ['Softplus'], ['Sqrt'], ['Log'], ['Pow', ['six']], ['Max', ['one']],
  ['BatchNormalization', [...tail, ...tail]], ['AveragePool', [], kernel], ['GlobalAveragePool'],
  ['Pad', ['pads']], ['Resize', ['', 'scales']], ['DepthToSpace', [], { blocksize: 2 }],
  ['SpaceToDepth', [], { blocksize: 2 }], ['ReduceMax', ['last']], ['GatherND', ['place']], ['GatherElements', ['places']],
  ['LayerNormalization', tail], ['InstanceNormalization', tail], ['GroupNormalization', tail, { num_groups: 2 }],
]; // prettier-ignore
/** Of these the larger comes through; whether NaN does depends on how a processor compares. */
const higher: readonly Case[] = [['MaxPool', [], kernel], ['GlobalMaxPool']];
/** Of these the smaller comes through. */
const lower: readonly Case[] = [
  ['Min', ['one']],
  ['ReduceMin', ['last']],
];
/** They bound what is infinite, one way or the other. */
const bounded: readonly Case[] = [
  ['Sigmoid'], ['HardSigmoid'], ['Tanh'], ['Erf'], ['Clip', ['none', 'six']], ['Softmax'],
]; // prettier-ignore
const boundNaN: readonly Case[] = [['Softsign'], ['LogSoftmax']];
/** What answers with no number, or with another. */
const ends: readonly Case[] = [
  ['IsNaN'], ['IsInf'], ['Equal', ['one']], ['Greater', ['one']], ['GreaterOrEqual', ['one']], ['Less', ['one']],
  ['LessOrEqual', ['one']], ['Where', ['one', 'one']], ['ArgMax'], ['ArgMin'], ['NonZero'], ['Shape'], ['Size'],
]; // prettier-ignore

/** x + stored → op → y. */
function through([op, more = [], attributes = {}, outputs = 1]: Case, value: number): Model {
  const data = new Float32Array(64).fill(1);
  data[0] = value;
  const y = Array.from({ length: outputs }, (_, i) => (i === 0 ? 'y' : `y${i}`));
  const inputs = op === 'Where' ? ['asked', ...more] : ['sum', ...more];
  const all = [...constants, filled('four4', [1, 4, 4, 4], 1), makeTensor('stored', 'float32', [1, 4, 4, 4], data)];
  return makeModel({
    opset: 21,
    inputs: [makeValue('x', 'float32', [1, 4, 4, 4])],
    outputs: [makeValue('y', op === 'Cast' ? 'float64' : /^(Is|Equal|Greater|Less)/.test(op) ? 'bool' : /^(Arg|NonZero|Shape|Size)/.test(op) ? 'int64' : 'float32')], // prettier-ignore
    initializers: all.filter(({ name }) => name === 'stored' || inputs.includes(name)),
    nodes: [
      makeNode('Add', ['x', 'stored'], ['sum'], {}, { name: 'sum' }),
      ...(op === 'Where' ? [makeNode('IsNaN', ['sum'], ['asked'])] : []),
      makeNode(op, inputs, y, attributes, { name: 'op' }),
    ],
  });
}

/** Whether the outputs hold a number that is not finite, and what is said of the node that gives them. */
async function ask(one: Case, value: number) {
  const model = through(one, value);
  const { y } = await runModel(model, { x: floats(new Float32Array(64), [1, 4, 4, 4]) }, 'disabled');
  const told = new Map([...notFinitePaths(model)].map(([node, text]) => [layerName(node), text]));
  return [Array.from(y!.data as Float32Array, Number).some((v) => !Number.isFinite(v)), told.get('op')] as const;
}

const named = (cases: readonly Case[]) => cases.map((one) => [one[0], one] as const);
const says = (what: string) =>
  `it computes with "stored", which holds ${what} at element 0 of 64, which integers cannot hold`;

describe('notFinitePaths', () => {
  it.each(named([...carriers, ...lower, ...bounded, ...boundNaN]))('follows NaN through %s', async (_, one) => {
    expect(await ask(one, NaN)).toEqual([true, says('NaN')]);
  });

  it.each(named([...carriers, ...higher]))('follows infinity through %s', async (_, one) => {
    expect(await ask(one, Infinity)).toEqual([true, says('Infinity')]);
  });

  it.each(named(lower))('follows what is infinitely low through %s', async (_, one) => {
    expect(await ask(one, -Infinity)).toEqual([true, says('-Infinity')]);
  });

  it.each(named(bounded))('knows that infinity ends at %s', async (_, one) => {
    expect(await ask(one, -Infinity)).toEqual([false, undefined]);
  });

  it.each(named(ends))('knows that NaN ends at %s', async (_, one) => {
    expect(await ask(one, NaN)).toEqual([false, undefined]);
  });

  it('names the first of several that a node computes with, and none where all are finite', () => {
    const [first, second] = ['first', 'second'].map((name, i) => filled(name, [1], [Infinity, NaN][i]!));
    const model = (tensors: readonly (TensorProto | undefined)[]) =>
      makeModel({
        inputs: [makeValue('x', 'float32', [1])],
        outputs: [makeValue('y', 'float32', [1])],
        initializers: tensors.map((tensor, i) => tensor ?? filled(['first', 'second'][i]!, [1], 1)),
        nodes: [
          makeNode('Add', ['x', 'first'], ['a'], {}, { name: 'a' }),
          makeNode('Mul', ['a', 'second'], ['y'], {}, { name: 'y' }),
        ],
      });
    const told = (...tensors: (TensorProto | undefined)[]) =>
      [...notFinitePaths(model(tensors))].map(([node, text]) => [layerName(node), /"(\w+)"/.exec(text)?.[1]]);
    expect(told(undefined, undefined)).toEqual([]);
    expect(told(undefined, second)).toEqual([['y', 'second']]);
    expect(told(first, second)).toEqual([['a', 'first'], ['y', 'first']]); // prettier-ignore
  });
});
