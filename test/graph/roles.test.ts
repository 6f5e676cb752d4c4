import type { Feeds } from '../../src/data/types.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { isMove, opOf, productOf, type Role } from '../../src/graph/ops.ts';
import type { NodeProto, TensorProto } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { optimizedOps } from '../helpers/quality.ts';

const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const longs = (name: string, values: readonly number[]) =>
  makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt));

/** An operator of data inputs `x`, `x2` … and constants, and what of it remains in the graph that onnxruntime makes of its QDQ form. */
interface Quantized {
  readonly own: NodeProto;
  readonly role: Role;
  readonly constants?: readonly TensorProto[];
  /** The operator on integers that it becomes. */
  readonly runs?: string;
  readonly opset?: number;
}
const one = (op: string, attributes: Readonly<Record<string, AttributeValue>> = {}, more: readonly string[] = []) =>
  makeNode(op, ['x', ...more], ['y'], attributes);
const product = (op: string) => makeNode(op, ['x', 'w'], ['y']);
const image = [1, 4, 4, 4];
const own = (...inputs: number[]): Role => ({ kind: 'own', inputs });
const same: Role = { kind: 'same', inputs: [0] };
const pool = { kernel_shape: [2, 2] };
const quantized: readonly Quantized[] = [
  { own: one('Add', {}, ['x2']), role: own(0, 1), runs: 'QLinearAdd' },
  { own: one('Mul', {}, ['x2']), role: own(0, 1), runs: 'QLinearMul' },
  { own: one('Concat', { axis: 1 }, ['x2', 'x3']), role: own(0, 1, 2), runs: 'QLinearConcat' },
  { own: one('GlobalAveragePool'), role: own(0), runs: 'QLinearGlobalAveragePool' },
  { own: one('AveragePool', pool), role: own(0), runs: 'QLinearAveragePool' },
  { own: one('LeakyRelu'), role: own(0), runs: 'QLinearLeakyRelu' },
  { own: one('Sigmoid'), role: own(0), runs: 'QLinearSigmoid' },
  { own: one('Relu'), role: { kind: 'clamp' } },
  {
    own: one('Clip', {}, ['low']),
    role: { kind: 'clamp' },
    constants: [makeTensor('low', 'float32', [], Float32Array.of(0))],
  },
  { own: one('MaxPool', pool), role: same },
  {
    own: one('Resize', {}, ['', 's']),
    role: same,
    constants: [makeTensor('s', 'float32', [4], Float32Array.of(1, 1, 2, 2))],
  },
  { own: one('Pad', {}, ['pads']), role: same, constants: [longs('pads', [0, 0, 1, 1, 0, 0, 1, 1])] },
  {
    own: one('Pad', { mode: 'reflect' }, ['pads', '']),
    role: same,
    constants: [longs('pads', [0, 0, 1, 1, 0, 0, 1, 1])],
  },
  { own: one('Reshape', {}, ['s']), role: same, constants: [longs('s', [4, 16])] },
  { own: one('Flatten'), role: same },
  { own: one('Transpose', { perm: [0, 2, 3, 1] }), role: same },
  { own: one('Squeeze', {}, ['a']), role: same, constants: [longs('a', [0])] },
  { own: one('Unsqueeze', {}, ['a']), role: same, constants: [longs('a', [0])] },
  { own: one('Slice', {}, ['from', 'to']), role: same, constants: [longs('from', [0, 1]), longs('to', [1, 3])] },
  { own: one('Expand', {}, ['s']), role: same, constants: [longs('s', [3, 4, 4, 4])] },
  { own: one('DepthToSpace', { blocksize: 2 }), role: same },
  { own: one('SpaceToDepth', { blocksize: 2 }), role: same },
  { own: one('ReduceMax', { axes: [2, 3] }), role: same },
  { own: one('Gather', { axis: 1 }, ['i']), role: same, constants: [longs('i', [2, 0])] },
  { own: one('Identity'), role: same },
  { own: one('Split', { axis: 1, num_outputs: 1 }), role: same, opset: 18 },
];

const dataOf = (node: NodeProto): string[] => node.input.filter((name) => /^x\d?$/.test(name));

/** The operator in float. */
const alone = ({ own: node, constants = [], opset = 17 }: Quantized): Model =>
  makeModel({
    opset,
    ir: 8,
    inputs: dataOf(node).map((name) => makeValue(name, 'float32', image)),
    outputs: [makeValue('y', 'float32')],
    initializers: constants,
    nodes: [node],
  });

/** Q and DQ around a node, as a role asks for them; scales that lose next to nothing for numbers within ±2. */
function withQdq({ own: node, role, constants = [], opset = 17 }: Quantized): Model {
  const data = dataOf(node);
  const inputs = role.kind === 'clamp' || role.kind === 'kernel' ? [0] : role.inputs;
  const pair = (from: string, to: string, zero = 'z') => [
    makeNode('QuantizeLinear', [from, 's8', zero], [`${from}_q`]),
    makeNode('DequantizeLinear', [`${from}_q`, 's8', zero], [to]),
  ];
  const clamp = role.kind === 'clamp';
  const changed = {
    ...node,
    input: node.input.map((name, i) => (inputs.includes(i) ? `${name}_dq` : name)),
    output: ['y_float'],
  };
  return makeModel({
    opset,
    ir: 8,
    inputs: data.map((name) => makeValue(name, 'float32', image)),
    outputs: [makeValue('y', 'float32')],
    initializers: [
      ...constants,
      makeTensor('s8', 'float32', [], Float32Array.of(4 / 255)),
      makeTensor('z', 'uint8', [], Uint8Array.of(128)),
      makeTensor('z0', 'uint8', [], Uint8Array.of(0)),
    ],
    nodes: [
      ...inputs.flatMap((i) =>
        clamp ? [makeNode('Exp', ['x'], ['x_dq'])] : pair(node.input[i] as string, `${node.input[i]}_dq`),
      ),
      changed,
      ...pair('y_float', 'y', clamp ? 'z0' : 'z'),
    ],
  });
}

describe('what static quantization does at an operator', () => {
  it.each(quantized.map((c) => [`${c.own.op_type} ${c.own.attribute.map((a) => a.name).join()}`, c] as const))(
    '%s',
    async (_, c) => {
      const op = opOf(c.own);
      const role = op?.quantization(c.own);
      expect(role).toEqual(c.role);
      expect(op?.product?.as).toBe(c.own.op_type === 'Gather' ? 'Gather' : undefined);
      const data = dataOf(c.own);
      const feeds: Feeds = Object.fromEntries(data.map((n, i) => [n, floats(noise(i, 64, 0.9), image)]));
      const plain = (await runModel(alone(c), feeds, 'disabled'))['y'];
      const y = plain?.data as Float32Array;
      const known = new Set([0, ...Object.values(feeds).flatMap((t) => [...(t.data as Float32Array)])]);
      // Relu and Clip move too, but through a bound: they are known apart.
      if (c.role.kind !== 'clamp') expect(isMove(c.own)).toBe([...y].every((value) => known.has(value)));
      else expect(isMove(c.own)).toBe(false);
      // Quantized so, what runs stands between one QuantizeLinear an input and one DequantizeLinear, Pad and SpaceToDepth in float.
      const { QuantizeLinear: q, DequantizeLinear: dq, ...others } = await optimizedOps(withQdq(c));
      const inFloat = c.own.op_type === 'Pad' || c.own.op_type === 'SpaceToDepth';
      if (!inFloat) expect([q, dq]).toEqual([data.length, 1]);
      if (c.runs) expect(others).toEqual({ [c.runs]: 1 });
      // What stood before the clamp.
      if (c.role.kind === 'clamp') expect(others).toEqual({ Exp: 1 });
    },
  );

  it('multiplies in integers where a kernel is claimed, in Conv only where its output is quantized too', async () => {
    for (const [op, x, w, kernels] of [
      ['Conv', [1, 4, 4, 4], [8, 4, 1, 1], ['QLinearConv', 'Conv']],
      ['Gemm', [2, 4], [4, 8], ['QGemm', 'QGemm']],
      ['MatMul', [2, 4], [4, 8], ['QLinearMatMul', 'MatMulIntegerToFloat']],
    ] as const) {
      const role = opOf(product(op))?.quantization(product(op));
      if (typeof role === 'string' || role?.kind !== 'kernel') throw new Error(`${op} has no kernel`);
      expect(role).toMatchObject({ weight: productOf(product(op))?.weights[0], bias: productOf(product(op))?.bias });
      const model = (quantizedOutput: boolean): Model =>
        makeModel({
          opset: 17,
          ir: 8,
          inputs: [makeValue('x', 'float32', x)],
          outputs: [makeValue('y', 'float32')],
          initializers: [
            makeTensor('w', 'int8', w, Int8Array.from(noise(1, size(w), 30))),
            makeTensor('s8', 'float32', [], Float32Array.of(4 / 255)),
            makeTensor('z', 'uint8', [], Uint8Array.of(128)),
            makeTensor('wz', 'int8', [], Int8Array.of(0)),
          ],
          nodes: [
            makeNode('QuantizeLinear', ['x', 's8', 'z'], ['xq']),
            makeNode('DequantizeLinear', ['xq', 's8', 'z'], ['xf']),
            makeNode('DequantizeLinear', ['w', 's8', 'wz'], ['wf']),
            makeNode(op, ['xf', 'wf'], [quantizedOutput ? 'yf' : 'y']),
            ...(quantizedOutput
              ? [
                  makeNode('QuantizeLinear', ['yf', 's8', 'z'], ['yq']),
                  makeNode('DequantizeLinear', ['yq', 's8', 'z'], ['y']),
                ]
              : []),
          ],
        });
      expect(await optimizedOps(model(true))).toHaveProperty(kernels[0]);
      const bare = await optimizedOps(model(false));
      expect([op, kernels[1] in bare]).toEqual([op, true]);
      expect(role.needsOutput).toBe(bare[op] === 1);
    }
  });

  it.each([
    [makeNode('MaxPool', ['x'], ['y', 'i'], pool), 'indices'],
    [makeNode('MaxPool', ['x'], ['y', ''], pool), undefined],
    [one('Resize', { mode: 'cubic' }), 'cubic'],
    [one('Resize', { mode: 'linear' }), undefined],
    [one('Pad', {}, ['pads', 'value']), 'pads with a value'],
    [one('Pad', { mode: 'edge' }, ['pads', 'value']), undefined],
    [one('Pad', { mode: 'constant' }, ['pads']), undefined],
    [product('ConvTranspose'), 'ConvTranspose'],
    [product('QLinearConv'), 'QLinearConv'],
  ])('stops where no kernel would do: %#', (own, word) => {
    const role = opOf(own)?.quantization(own);
    if (word === undefined) expect(role).toEqual(same);
    else expect(role).toContain(word);
  });
});

describe('why a layer is not what it could be', () => {
  it.each([
    [{}, undefined],
    [{ transA: 1 }, 'transA'],
    [{ transB: 1 }, undefined],
    [{ alpha: { float: 2 } }, 'alpha'],
    [{ beta: { float: 0 } }, 'beta'],
    [{ alpha: { float: 1 }, beta: { float: 1 }, transA: 0 }, undefined],
  ])('Gemm %j is no plain product for %j', (attributes, word) => {
    const gemm = makeNode('Gemm', ['x', 'w'], ['y'], attributes);
    const quirk = productOf(gemm)?.quirk(gemm);
    if (word === undefined) expect(quirk).toBeUndefined();
    else expect(quirk).toContain(word);
  });

  it.each('Conv ConvTranspose DeformConv Gemm MatMul Einsum LSTM GRU RNN Gather Attention'.split(' '))(
    '%s: is said, and an integer kernel that QDQ fuses to is claimed where there is a role for it',
    (op) => {
      const { dynamic, noKernel, quirk } = productOf(product(op)) ?? {};
      const role = opOf(product(op))?.quantization(product(op));
      expect(quirk?.(product(op))).toBeUndefined();
      expect(typeof role === 'string').toBe(noKernel !== undefined);
      if (typeof role === 'string') expect(role).toContain(op);
      // Gemm and MatMul have fast dynamic kernels; a Gather multiplies nothing.
      expect(dynamic !== undefined).toBe(op !== 'Gemm' && op !== 'MatMul');
      expect(dynamic).not.toBe('');
      expect(noKernel).not.toBe('');
    },
  );
});
