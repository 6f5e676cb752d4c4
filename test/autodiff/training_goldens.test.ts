import { readFileSync } from 'node:fs';
import { buildTraining } from '../../src/autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { crossEntropy, rowsInput, sharesInput } from '../../src/passes/train/loss/cross_entropy.ts';
import { sgd } from '../../src/passes/train/optimizer/sgd.ts';
import { floats, testContext } from '../helpers/context.ts';
import { float32, int64 } from './differences.ts';
import { openTrainer } from './trainer.ts';

/** As scripts/goldens/training.py writes them. */
interface Net {
  readonly name: string;
  readonly parameters: Readonly<Record<string, { readonly dims: readonly number[]; readonly '64ths': readonly number[]; readonly last: readonly number[] }>>; // prettier-ignore
  readonly running: Readonly<Record<string, readonly number[]>>;
  readonly batches: readonly {
    readonly x: { readonly dims: readonly number[]; readonly '64ths'?: readonly number[]; readonly int64?: readonly number[] }; // prettier-ignore
    readonly labels: readonly number[];
  }[];
  readonly losses: readonly number[];
}
const file = new URL('goldens/training.json', import.meta.url);
const golden = JSON.parse(readFileSync(file, 'utf8')) as {
  readonly lr: number;
  readonly momentum: number;
  readonly weight_decay: number;
  readonly nets: readonly Net[];
};
const [convolutions, attention] = golden.nets as [Net, Net];
const classes = 3;

// Three steps in float32 through some ten layers, each with rounding of 1e-6 of its largest number.
const tolerance = 1e-5;

const parts = (of64: readonly number[]): Float32Array => Float32Array.from(of64, (value) => value / 64);

function model(
  net: Net,
  type: 'float32' | 'int64',
  nodes: readonly NodeProto[],
  constants: readonly TensorProto[],
): Model {
  const parameters = Object.entries(net.parameters).map(([name, p]) => makeTensor(name, 'float32', p.dims, parts(p['64ths']))); // prettier-ignore
  return makeModel({
    opset: 20,
    inputs: [makeValue('x', type, net.batches[0]!.x.dims)],
    outputs: [makeValue('y', 'float32')],
    initializers: [...parameters, ...constants],
    nodes,
  });
}

const epsilon = { float: 1 / 64 };
const named = (name: string, tensor: TensorProto): TensorProto => ({ ...tensor, name });

const convolutional = (): Model =>
  model(
    convolutions,
    'float32',
    [
      makeNode('Conv', ['x', 'w1'], ['h1'], { pads: [1, 1, 1, 1] }),
      makeNode('BatchNormalization', ['h1', 'scale', 'shift', 'mean', 'variance'], ['h2'], { epsilon, momentum: { float: 0.75 } }),
      makeNode('Tanh', ['h2'], ['h3']),
      makeNode('Conv', ['h3', 'w2', 'b2'], ['h4'], { pads: [1, 1, 1, 1], strides: [2, 2], group: 4 }),
      makeNode('Tanh', ['h4'], ['h5']),
      makeNode('Slice', ['h3', 'from', 'to', 'axes', 'every'], ['h6']),
      makeNode('Add', ['h5', 'h6'], ['h7']),
      makeNode('AveragePool', ['h7'], ['h8'], { kernel_shape: [2, 2], strides: [2, 2] }),
      makeNode('Flatten', ['h8'], ['h9']),
      makeNode('Gemm', ['h9', 'w3', 'b3'], ['y'], { transB: 1 }),
    ],
    [
      named('mean', float32([0, 0, 0, 0])), named('variance', float32([1, 1, 1, 1])), named('from', int64([0, 0])), named('to', int64([8, 8])),
      named('axes', int64([2, 3])), named('every', int64([2, 2])),
    ],
  ); // prettier-ignore

function attentive(): Model {
  const head = (one: string): NodeProto[] => [
    makeNode('MatMul', ['h1', `w${one}`], [`${one}1`]),
    makeNode('Add', [`${one}1`, `b${one}`], [`${one}2`]),
    makeNode('Reshape', [`${one}2`, 'heads'], [`${one}3`]),
    makeNode('Transpose', [`${one}3`], [`${one}4`], { perm: one === 'k' ? [0, 2, 3, 1] : [0, 2, 1, 3] }),
  ];
  return model(
    attention,
    'int64',
    [
      makeNode('Gather', ['table', 'x'], ['x1']),
      makeNode('LayerNormalization', ['x1', 's1', 'c1'], ['h1'], { epsilon }),
      ...['q', 'k', 'v'].flatMap(head),
      makeNode('MatMul', ['q4', 'k4'], ['a1']),
      makeNode('Div', ['a1', 'two'], ['a2']),
      makeNode('Softmax', ['a2'], ['a3'], { axis: -1 }),
      makeNode('MatMul', ['a3', 'v4'], ['a4']),
      makeNode('Transpose', ['a4'], ['a5'], { perm: [0, 2, 1, 3] }),
      makeNode('Reshape', ['a5', 'whole'], ['a6']),
      makeNode('MatMul', ['a6', 'wo'], ['a7']),
      makeNode('Add', ['x1', 'a7'], ['x2']),
      makeNode('LayerNormalization', ['x2', 's2', 'c2'], ['h2'], { epsilon }),
      makeNode('MatMul', ['h2', 'wf'], ['f1']),
      makeNode('Add', ['f1', 'bf'], ['f2']),
      makeNode('Gelu', ['f2'], ['f3']),
      makeNode('MatMul', ['f3', 'wg'], ['f4']),
      makeNode('Add', ['x2', 'f4'], ['x3']),
      makeNode('ReduceMean', ['x3', 'one'], ['x4'], { keepdims: 0 }),
      makeNode('Gemm', ['x4', 'wh', 'bh'], ['y'], { transB: 1 }),
    ],
    [
      named('heads', int64([3, 5, 2, 4])), named('whole', int64([3, 5, 8])), named('one', int64([1])), named('two', float32([2], [])),
    ],
  ); // prettier-ignore
}

function fed({ x, labels }: Net['batches'][number]): Feeds {
  const input: Tensor = x.int64 ? { type: 'int64', dims: x.dims, data: BigInt64Array.from(x.int64, BigInt) } : floats(parts(x['64ths']!), x.dims); // prettier-ignore
  const shares = new Float32Array(labels.length * classes);
  labels.forEach((label, row) => (shares[row * classes + label] = 1));
  const rows = floats(new Float32Array(labels.length).fill(1), [labels.length, 1]);
  return { x: input, [sharesInput]: floats(shares, [labels.length, classes]), [rowsInput]: rows };
}

describe('three steps against PyTorch in float64', () => {
  it.each([
    [convolutions.name, 'cpu', convolutions, convolutional],
    [convolutions.name, 'webgpu', convolutions, convolutional],
    [attention.name, 'cpu', attention, attentive],
    [attention.name, 'webgpu', attention, attentive],
  ] as const)('%s, written for %s', async (_, target, net, build) => {
    const made = build();
    const batches = net.batches.map(fed);
    const shapes = await testContext({ calibration: [{ x: batches[0]!['x']! }] }).shapes(made);
    const trainable = Object.keys(net.parameters);
    const { momentum, weight_decay, lr } = golden;
    const optimizer = sgd({ momentum, weight_decay });
    const graph = buildTraining(made, shapes, { trainable, loss: crossEntropy(), optimizer, batchNorm: 'train', target }); // prettier-ignore
    for (const optimization of ['disabled', 'all'] as const) {
      const trainer = await openTrainer(graph, { threads: 1, optimization });
      for (const [i, batch] of batches.entries()) {
        const { loss } = await trainer.step(batch, { lr });
        expect(Math.abs(loss! - net.losses[i]!)).toBeLessThan(tolerance);
      }
      const got = trainer.weights();
      const expected = new Map([...Object.entries(net.parameters).map(([name, { last }]) => [name, last] as const), ...Object.entries(net.running)]); // prettier-ignore
      for (const [name, last] of expected) {
        const data = got.get(name)!.data as Float32Array;
        const largest = Math.max(...last.map(Math.abs));
        const worst = Math.max(...last.map((value, i) => Math.abs(value - data[i]!)));
        expect([name, worst / largest < tolerance]).toEqual([name, true]);
      }
      await trainer.close();
    }
  });
});
