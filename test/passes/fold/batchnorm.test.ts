import type { AttributeValue } from '../../../src/graph/attribute.ts';
import { makeNode, makeValue } from '../../../src/graph/build.ts';
import type { TensorProto } from '../../../src/graph/proto.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { foldBatchNorm } from '../../../src/passes/fold/batchnorm.ts';
import { testContext } from '../../helpers/context.ts';
import { weight } from '../../helpers/models.ts';
import { applied, batch, batchNorm, f32, model, ops } from './helper.ts';

interface Layer {
  readonly about: string;
  readonly op: string;
  readonly input: number[];
  readonly tensors: readonly TensorProto[];
  readonly channels: number;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

const before: Layer[] = [
  {
    about: 'with bias and padding',
    op: 'Conv',
    input: [2, 3, 5, 5],
    tensors: [weight('w', [4, 3, 3, 3], 1), weight('b', [4], 2)],
    channels: 4,
    attributes: { pads: [1, 1, 1, 1] },
  },
  { about: 'without bias', op: 'Conv', input: [2, 3, 5, 5], tensors: [weight('w', [4, 3, 3, 3], 1)], channels: 4 },
  {
    about: 'of two groups',
    op: 'Conv',
    input: [1, 4, 5],
    tensors: [weight('w', [6, 2, 3], 1)],
    channels: 6,
    attributes: { group: 2 },
  },
  {
    about: 'depthwise',
    op: 'Conv',
    input: [1, 4, 5, 5],
    tensors: [weight('w', [4, 1, 3, 3], 1)],
    channels: 4,
    attributes: { group: 4 },
  },
  {
    about: 'with bias',
    op: 'ConvTranspose',
    input: [1, 3, 4, 4],
    tensors: [weight('w', [3, 5, 2, 2], 1), weight('b', [5], 2)],
    channels: 5,
    attributes: { strides: [2, 2] },
  },
  {
    about: 'of two groups',
    op: 'ConvTranspose',
    input: [1, 4, 4],
    tensors: [weight('w', [4, 3, 2], 1)],
    channels: 6,
    attributes: { group: 2 },
  },
  {
    about: 'transposed, alpha and beta',
    op: 'Gemm',
    input: [3, 4],
    tensors: [weight('w', [5, 4], 1), weight('b', [5], 2)],
    channels: 5,
    attributes: { transB: 1, alpha: { float: 0.5 }, beta: { float: 3 } },
  },
  {
    about: 'bias of one row',
    op: 'Gemm',
    input: [3, 4],
    tensors: [weight('w', [4, 5], 1), weight('b', [1, 5], 2)],
    channels: 5,
  },
  {
    about: 'one number as bias',
    op: 'Gemm',
    input: [3, 4],
    tensors: [weight('w', [4, 5], 1), f32('b', [], [0.7])],
    channels: 5,
  },
  { about: 'of rows', op: 'MatMul', input: [3, 4], tensors: [weight('w', [4, 5], 1)], channels: 5 },
];

const after: Layer[] = [
  {
    about: 'with bias',
    op: 'Conv',
    input: [2, 3, 5, 5],
    tensors: [weight('w', [4, 3, 3, 3], 1), weight('b', [4], 2)],
    channels: 3,
  },
  {
    about: 'of two groups',
    op: 'Conv',
    input: [1, 4, 5],
    tensors: [weight('w', [6, 2, 3], 1)],
    channels: 4,
    attributes: { group: 2 },
  },
  {
    about: 'transposed, alpha and beta',
    op: 'Gemm',
    input: [3, 4],
    tensors: [weight('w', [5, 4], 1), weight('b', [5], 2)],
    channels: 4,
    attributes: { transB: 1, alpha: { float: 0.5 }, beta: { float: 3 } },
  },
  { about: 'of rows', op: 'MatMul', input: [3, 4], tensors: [weight('w', [4, 5], 1)], channels: 4 },
];

const skips = async (m: Parameters<typeof applied>[1], feeds = batch(1, 3, 5, 5)) => {
  const result = await applied(foldBatchNorm, m, feeds);
  expect(result.changed).toEqual([]);
  expect(result.model).toBe(m);
  return result.skipped.map((note) => `${note.layer}: ${note.text}`).join('\n');
};

describe('fold/batchnorm', () => {
  it.each(before)('into $op $about before it', async ({ op, input, tensors, channels, attributes }) => {
    const bn = batchNorm('h', 'y', channels);
    const layer = makeNode(op, ['x', ...tensors.map((t) => t.name)], ['h'], attributes, { name: 'layer' });
    const m = model(input, [layer, bn.node], [...tensors, ...bn.tensors]);
    const result = await applied(foldBatchNorm, m, batch(...input));
    expect(ops(result.model)).toEqual([op === 'MatMul' ? 'Gemm' : op]);
    expect(result.changed).toEqual([{ layer: 'y_bn', text: 'folded into "layer" before it' }]);
    expect(result.skipped).toEqual([]);
    expect([...initializers(result.model.graph).keys()].sort()).toEqual(
      tensors.length === 2 ? ['b', 'w'] : ['w', 'w_bias'],
    );
  });

  it.each(after)('into $op $about after it', async ({ op, input, tensors, channels, attributes }) => {
    const bn = batchNorm('x', 'h', channels);
    const layer = makeNode(op, ['h', ...tensors.map((t) => t.name)], ['y'], attributes, { name: 'layer' });
    const m = model(input, [bn.node, layer], [...tensors, ...bn.tensors]);
    const result = await applied(foldBatchNorm, m, batch(...input));
    expect(ops(result.model)).toEqual([op === 'MatMul' ? 'Gemm' : op]);
    expect(result.changed[0]?.text).toBe('folded into "layer" after it');
  });

  it.each([
    ['h', 'c'],
    ['c', 'h'],
  ])('into a MatMul and the Add behind it: %s + %s', async (...sum) => {
    const bn = batchNorm('s', 'y', 5);
    const nodes = [makeNode('MatMul', ['x', 'w'], ['h'], {}, { name: 'fc' }), makeNode('Add', sum, ['s']), bn.node];
    const m = model([3, 4], nodes, [weight('w', [4, 5], 1), weight('c', [5], 2), ...bn.tensors]);
    const result = await applied(foldBatchNorm, m, batch(3, 4));
    expect(ops(result.model)).toEqual(['Gemm']);
  });

  // a = 2 / sqrt(0.25 - 0 + eps with eps = 0) = 4, b = 1 - 4 * 3 = -11; W = 0.5 -> 2, bias 0.25 -> 0.25 * 4 - 11 = -10.
  it('gives the numbers of the definition', async () => {
    const bn = makeNode('BatchNormalization', ['h', 's', 'b', 'm', 'v'], ['y'], { epsilon: { float: 0 } });
    const m = model(
      [1, 1, 2],
      [makeNode('Conv', ['x', 'w', 'c'], ['h']), bn],
      [
        f32('w', [1, 1, 1], [0.5]),
        f32('c', [1], [0.25]),
        f32('s', [1], [2]),
        f32('b', [1], [1]),
        f32('m', [1], [3]),
        f32('v', [1], [0.25]),
      ],
    );
    const tensors = initializers((await applied(foldBatchNorm, m, batch(1, 1, 2))).model.graph);
    expect(floatData(tensors.get('w') as TensorProto)).toEqual(Float32Array.of(2));
    expect(floatData(tensors.get('c') as TensorProto)).toEqual(Float32Array.of(-10));
  });

  it('into two layers that share a weight, each getting its own', async () => {
    const [one, two] = [batchNorm('h', 'r', 3), batchNorm('k', 'y', 3)];
    const conv = (from: string, to: string) =>
      makeNode('Conv', [from, 'conv.weight'], [to], {}, { name: `conv_${to}` });
    const m = model(
      [1, 3, 4, 4],
      [conv('x', 'h'), one.node, conv('r', 'k'), two.node],
      [weight('conv.weight', [3, 3, 1, 1], 1), ...one.tensors, ...two.tensors],
    );
    const result = await applied(foldBatchNorm, m, batch(1, 3, 4, 4));
    expect(ops(result.model)).toEqual(['Conv', 'Conv']);
    expect([...initializers(result.model.graph).keys()]).toHaveLength(4);
    expect(floatData(initializers(m.graph).get('conv.weight') as TensorProto)).toEqual(
      floatData(weight('', [3, 3, 1, 1], 1)),
    );
  });

  it('into two layers that read it, sharing weight and bias', async () => {
    const bn = batchNorm('x', 'h', 3);
    const conv = (to: string) => makeNode('Conv', ['h', 'conv.weight', 'conv.bias'], [to], {}, { name: to });
    const m = model(
      [1, 3, 4, 4],
      [bn.node, conv('p'), conv('q'), makeNode('Mul', ['p', 'q'], ['y'])],
      [weight('conv.weight', [2, 3, 1, 1], 1), weight('conv.bias', [2], 2), ...bn.tensors],
    );
    const result = await applied(foldBatchNorm, m, batch(1, 3, 4, 4));
    expect(ops(result.model)).toEqual(['Conv', 'Conv', 'Mul']);
    expect(result.changed[0]?.text).toBe('folded into "p", "q" after it');
  });

  it('into a padded Conv after it where it shifts by nothing', async () => {
    const bn = batchNorm('x', 'h', 3);
    const zeros = [1, 2].map((i) => makeTensor(bn.node.input[i + 1] as string, 'float32', [3], new Float32Array(3)));
    const scale = bn.tensors.filter((_, i) => i === 0 || i === 3);
    const conv = makeNode('Conv', ['h', 'w'], ['y'], { pads: [1, 1, 1, 1] });
    const m = model([1, 3, 4, 4], [bn.node, conv], [weight('w', [2, 3, 3, 3], 1), ...scale, ...zeros]);
    expect(ops((await applied(foldBatchNorm, m, batch(1, 3, 4, 4))).model)).toEqual(['Conv']);
  });

  it('prefers the layer before', async () => {
    const bn = batchNorm('h', 'k', 4);
    const m = model(
      [1, 3, 4, 4],
      [
        makeNode('Conv', ['x', 'v'], ['h'], {}, { name: 'one' }),
        bn.node,
        makeNode('Conv', ['k', 'w'], ['y'], {}, { name: 'two' }),
      ],
      [weight('v', [4, 3, 1, 1], 1), weight('w', [2, 4, 1, 1], 2), ...bn.tensors],
    );
    expect((await applied(foldBatchNorm, m, batch(1, 3, 4, 4))).changed[0]?.text).toContain('"one" before');
  });

  it('leaves one between other operators, saying what they are', async () => {
    const bn = batchNorm('h', 'k', 3);
    const m = model(
      [1, 3, 5, 5],
      [makeNode('Abs', ['x'], ['h']), bn.node, makeNode('Relu', ['k'], ['y'], {}, { name: 'relu' })],
      bn.tensors,
    );
    expect(await skips(m)).toBe('k_bn: it follows Abs; its reader "relu" is Relu');
  });

  it('leaves one whose layer is read by others, or is an output', async () => {
    const bn = batchNorm('h', 'k', 3);
    const conv = makeNode('Conv', ['x', 'w'], ['h']);
    const tensors = [weight('w', [3, 3, 1, 1], 1), ...bn.tensors];
    const m = model([1, 3, 5, 5], [conv, bn.node, makeNode('Add', ['h', 'k'], ['y'])], tensors);
    expect(await skips(m)).toContain('"h" is read by others too');
    const shown = model([1, 3, 5, 5], [conv, bn.node], tensors, {
      outputs: [makeValue('h', 'float32'), makeValue('k', 'float32')],
    });
    expect(await skips(shown)).toBe('k_bn: "h" is read by others too; its result is an output of the model');
  });

  it('leaves one before padding, a transposed convolution or a MatMul of three axes', async () => {
    const bn = batchNorm('x', 'h', 3);
    const follow = (op: string, dims: number[], attributes = {}) =>
      model(
        [1, 3, 5, 5],
        [bn.node, makeNode(op, ['h', 'w'], ['y'], attributes)],
        [weight('w', dims, 1), ...bn.tensors],
      );
    expect(await skips(follow('Conv', [2, 3, 3, 3], { pads: [0, 1, 0, 1] }))).toContain('the zero padding');
    expect(await skips(follow('Conv', [2, 3, 3, 3], { auto_pad: 'SAME_UPPER' }))).toContain('the zero padding');
    expect(await skips(follow('ConvTranspose', [3, 2, 3, 3]))).toContain('at the borders');
    expect(await skips(follow('MatMul', [5, 2]))).toContain('no rows and columns only');
  });

  it('leaves one behind a MatMul of three axes, whose columns are not the channels', async () => {
    const bn = batchNorm('h', 'y', 5);
    const m = model(
      [1, 5, 4],
      [makeNode('MatMul', ['x', 'w'], ['h']), bn.node],
      [weight('w', [4, 5], 1), ...bn.tensors],
    );
    expect(await skips(m, batch(1, 5, 4))).toContain('has no rows and columns only');
  });

  it('leaves one that trains, or whose parameters or weights are no float32 constants', async () => {
    const bn = batchNorm('h', 'y', 3);
    const conv = makeNode('Conv', ['x', 'w'], ['h']);
    const w = weight('w', [3, 3, 1, 1], 1);
    const ctx = testContext();
    const training = batchNorm('h', 'y', 3, { training_mode: 1 }).node;
    const at = async (m: Parameters<typeof applied>[1]) => (await foldBatchNorm.apply(m, {}, ctx)).skipped[0]?.text;
    expect(await at(model([1, 3, 5, 5], [conv, training], [w, ...bn.tensors], { opset: 14 }))).toBe(
      'it is in training mode',
    );
    const listed = [makeValue('x', 'float32', [1, 3, 5, 5]), makeValue('w', 'float32', dimsOf(w))];
    expect(await at(model([], [conv, bn.node], [w, ...bn.tensors], { inputs: listed }))).toContain(
      'the weight "w" of "h_Conv" is not a constant',
    );
    const [scale, ...rest] = bn.tensors;
    const computed = makeNode('Abs', ['raw'], [scale?.name ?? '']);
    const raw = weight('raw', [3], 5);
    expect(await at(model([1, 3, 5, 5], [conv, computed, bn.node], [w, raw, ...rest]))).toBe(
      'its parameter "y.scale" is not a float32 constant',
    );
    const negative = f32('y.variance', [3], [-1, 1, 1]);
    expect(await at(model([1, 3, 5, 5], [conv, bn.node], [w, ...bn.tensors.slice(0, 3), negative]))).toContain(
      'not finite',
    );
  });
});
