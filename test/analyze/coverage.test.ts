import { coverage } from '../../src/analyze/coverage.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { ifModel } from '../runtime/models.ts';
import { builder, image, row } from './qdq.ts';

type Build = ReturnType<typeof builder>;

async function layer(model: Model, name: string) {
  const found = (await coverage(model)).find((entry) => entry.layer === name);
  expect(found).toBeDefined();
  return found as NonNullable<typeof found>;
}

function conv(change: (b: Build) => { input: string; weight: string; then?: (v: string) => string }): Model {
  const b = builder();
  const { input, weight, then = (v) => b.qdq(v) } = change(b);
  return b.model([image], [then(b.node('Conv', [input, weight], 'c'))]);
}

function gemm(zeroPoint: boolean, op: 'Gemm' | 'MatMul' = 'Gemm'): Model {
  const b = builder();
  return b.model([row], [b.qdq(b.node(op, [b.qdq('x'), b.weight('w', [32, 8], 'int8', zeroPoint)], 'g'))]);
}

describe('coverage: integer kernels', () => {
  it('finds the kernels of a residual block behind the fusions', async () => {
    const b = builder();
    const input = b.qdq('x');
    const first = b.node('Relu', [b.node('Conv', [input, b.weight('w1', [4, 4, 1, 1])], 'c1')], 'r1');
    const second = b.node('Conv', [b.qdq(first, 'uint8', 0), b.weight('w2', [4, 4, 1, 1])], 'c2');
    const sum = b.node('Add', [b.qdq(second), input], 's');
    const pooled = b.node('GlobalAveragePool', [b.qdq(sum)], 'p');
    const entries = await coverage(b.model([image], [b.qdq(pooled)]));
    expect(entries.map(({ layer: name, kernel, runs }) => [name, kernel, runs])).toEqual([
      ['the c1', 'integer', 'com.microsoft.QLinearConv'],
      ['the c2', 'integer', 'com.microsoft.QLinearConv'],
      ['the s', 'integer', 'com.microsoft.QLinearAdd'],
      ['the p', 'integer', 'com.microsoft.QLinearGlobalAveragePool'],
    ]);
  });

  it.each([
    ['Gemm', 'com.microsoft.QGemm'],
    ['MatMul', 'QLinearMatMul'],
  ] as const)('%s as %s', async (op, runs) => {
    expect(await layer(gemm(true, op), 'the g')).toMatchObject({ kernel: 'integer', runs });
  });

  it('weights alone as MatMulNBits', async () => {
    const b = builder();
    const model = b.model([row], [b.node('MatMul', ['x', b.weight('w', [32, 8], 'int4')], 'm')]);
    expect(await layer(model, 'the m')).toMatchObject({ kernel: 'integer', runs: 'com.microsoft.MatMulNBits' });
  });

  it('max pooling between integer layers', async () => {
    const b = builder();
    const c = b.qdq(b.node('Conv', [b.qdq('x'), b.weight('w', [4, 4, 1, 1])], 'c'), 'uint8', 100);
    const model = b.model([image], [b.qdq(b.node('MaxPool', [c], 'p', { kernel_shape: [2, 2] }), 'uint8', 100)]);
    const [, pool] = await coverage(model);
    expect([pool?.layer, pool?.kernel]).toEqual(['the p', 'integer']);
  });
});

describe('coverage: why not', () => {
  const w = (b: Build, type: 'int8' | 'int4' = 'int8') => b.weight('w', [4, 4, 1, 1], type);
  const cases: [string, string, RegExp, () => Model][] = [
    [
      'output not quantized',
      'c',
      /its output is not quantized|model output and is not quantized/,
      () => conv((b) => ({ input: b.qdq('x'), weight: w(b), then: (v) => v })),
    ],
    [
      'int4 weights',
      'c',
      /no integer kernel for int4 weights/,
      () => conv((b) => ({ input: b.qdq('x'), weight: w(b, 'int4') })),
    ],
    [
      'weights alone',
      'c',
      /input is not quantized.*int8.*on every run/,
      () => conv((b) => ({ input: 'x', weight: w(b), then: (v) => v })),
    ],
    [
      '16-bit activations',
      'c',
      /no integer kernels for uint16/,
      () => conv((b) => ({ input: b.qdq('x', 'uint16'), weight: w(b), then: (v) => b.qdq(v, 'uint16') })),
    ],
    [
      'a Relu that stays',
      'c',
      /Relu after it cannot go away/,
      () =>
        conv((b) => ({ input: b.qdq('x'), weight: w(b), then: (v) => b.qdq(b.node('Relu', [v], 'r'), 'uint8', 128) })),
    ],
    ['Gemm without zero point', 'g', /no zero-point tensor/, () => gemm(false)],
  ];
  it.each(cases)('%s', async (_, name, why, make) => {
    const entry = await layer(make(), `the ${name}`);
    expect(entry.kernel).toBe('float');
    expect(entry.why).toMatch(why);
  });

  it('weights that plain arithmetic decodes at load', async () => {
    const codes = makeTensor(
      'codes',
      'int4',
      [8, 32],
      Int8Array.from({ length: 256 }, (_, i) => (i % 15) - 7),
    );
    const scale = makeTensor('scale', 'float32', [8, 1], new Float32Array(8).fill(0.1));
    const model = makeModel({
      opset: 21,
      inputs: [row],
      outputs: [makeValue('y', 'float32')],
      initializers: [codes, scale],
      nodes: [
        makeNode('Cast', ['codes'], ['c'], { to: 1 }),
        makeNode('Mul', ['c', 'scale'], ['m']),
        makeNode('Transpose', ['m'], ['w'], { perm: [1, 0] }),
        makeNode('Gemm', ['x', 'w'], ['y'], {}, { name: 'the g' }),
      ],
    });
    const why = 'its weights are stored as int4 and become float32 when the model is loaded';
    expect(await layer(model, 'the g')).toMatchObject({ kernel: 'float', why });
  });

  it('a MatMul with float weights; those of a Conv onnxruntime quantizes itself', async () => {
    const b = builder();
    const product = b.model([row], [b.qdq(b.node('MatMul', [b.qdq('x'), b.float('w', [32, 8])], 'm'))]);
    expect(await layer(product, 'the m')).toMatchObject({ kernel: 'float', why: 'its weights are not quantized' });
    const convolution = conv((c) => ({ input: c.qdq('x'), weight: c.float('w', [4, 4, 1, 1]) }));
    expect((await layer(convolution, 'the c')).kernel).toBe('integer');
  });

  it('a transposed convolution', async () => {
    const b = builder();
    const model = b.model([image], [b.qdq(b.node('ConvTranspose', [b.qdq('x'), b.weight('w', [4, 4, 1, 1])], 't'))]);
    expect((await layer(model, 'the t')).why).toMatch(/no integer kernel for ConvTranspose/);
  });

  it('a Gemm of float bias and float output', async () => {
    const b = builder();
    const model = b.model([row], [b.node('Gemm', [b.qdq('x'), b.weight('w', [32, 8]), b.float('bias', [8])], 'g')]);
    expect((await layer(model, 'the g')).why).toMatch(/bias is float while its output is not quantized/);
  });
});

describe('coverage: identity', () => {
  it('finds float kernels under fusion, whatever the names', async () => {
    const model = makeModel({
      inputs: [image],
      outputs: [makeValue('y', 'float32')],
      // Two nodes of the same name, and none: exporters do both.
      nodes: [
        makeNode('Conv', ['x', 'w'], ['a'], {}, { name: 'same' }),
        makeNode('Conv', ['a', 'w'], ['b'], {}, { name: 'same' }),
        makeNode('Add', ['b', 'x'], ['c'], {}, { name: '' }),
        makeNode('Relu', ['c'], ['y'], {}, { name: '' }),
      ],
      initializers: [makeTensor('w', 'float32', [4, 4, 1, 1], new Float32Array(16).fill(0.25))],
    });
    const entries = await coverage(model);
    expect(entries.map(({ op, kernel, why }) => [op, kernel, why])).toEqual([
      ['Conv', 'float', 'is not quantized'],
      ['Conv', 'float', 'is not quantized'],
    ]);
    expect(entries.every((entry) => entry.runs.endsWith('Conv'))).toBe(true);
  });

  it('says what is computed at load', async () => {
    const b = builder();
    b.node('MatMul', [b.float('p', [2, 3]), b.float('q', [3, 32])], 'folded');
    const model = b.model([row], [b.node('MatMul', ['x', b.node('Transpose', ['folded'], 't')], 'm')]);
    expect(await layer(model, 'the folded')).toMatchObject({
      kernel: 'gone',
      why: expect.stringMatching(/at load/) as string,
    });
    expect((await layer(model, 'the m')).kernel).toBe('float');
  });

  it('leaves bodies of control flow as they are', async () => {
    expect(await coverage(ifModel())).toEqual([]);
  });

  it("says refusals in the model's own names", async () => {
    const b = builder();
    b.node('Nonsense', ['x'], 'n');
    await expect(coverage(b.model([row], ['n']))).rejects.toMatchObject({ code: 'runtime', at: 'the n' });
  });
});

it('lists no product of scales beside the integer MatMul that takes it in', async () => {
  const b = builder();
  b.weight('w', [32, 8]);
  const model = b.model([row], [b.node('Mul', [b.node('Cast', [b.node('MatMulInteger', ['xq', 'w_q', 'xz', 'w_zp'], 'i')], 'f', { to: 1 }), b.node('Mul', ['xs', 'w_scale'], 's')], 'y')]); // prettier-ignore
  model.graph.node.unshift(makeNode('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']));
  expect((await coverage(model)).map(({ layer: name, runs }) => [name, runs])).toEqual([
    ['the i', 'com.microsoft.DynamicQuantizeMatMul'],
  ]);
});
