import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { makeTensor, tensorData } from '../../../src/graph/tensor.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

const image = (seed: number, count: number): Feeds => ({ x: floats(noise(seed, count * 192), [count, 3, 8, 8]) });
const images = [image(100, 16), image(101, 16)];
const convPads = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
const onImages = { opset: 13, inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])] };

async function quantized(model: Model, options: object = {}, calibration = images) {
  const context = testContext({ calibration, reference: model });
  const result = await staticQuantizer.apply(model, staticQuantizer.options.parse(options), context);
  const feeds = calibration[0] as Feeds;
  const output = model.graph.output[0]?.name as string;
  const data = async (m: Model) => (await runModel(m, feeds))[output]?.data as Float32Array;
  return { ...result, ops: await optimizedOps(result.model), snr: snr(await data(model), await data(result.model)) };
}

const stored = (model: Model, name: string) => tensorData(initializers(model.graph).get(name) as never);

describe('quantize/static', () => {
  it('makes every layer of a residual net with a depthwise Conv run in integer, close to float', async () => {
    const { ops, snr, skipped, changed, model } = await quantized(smallConvNet());
    expect(ops).toMatchObject({ QLinearConv: 3, QLinearAdd: 1, QLinearGlobalAveragePool: 1, QGemm: 1 });
    expect(ops).not.toHaveProperty('Conv');
    expect(ops).not.toHaveProperty('Relu');
    expect(skipped).toEqual([]);
    expect(changed.map((c) => c.layer)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
    // Six 8-bit roundings in a row: by the harmonic sum of 8-bit SQNRs (about 40 dB each for such data) well over 25 dB.
    expect(snr).toBeGreaterThan(25);
    expect(model.graph.output[0]?.name).toBe('y');
  });

  it('is closer to float with 16-bit activations and weights than with 8', async () => {
    const eight = await quantized(smallConvNet());
    const sixteen = await quantized(smallConvNet(), { bits_weights: 16, bits_activations: 16 });
    expect(sixteen.snr).toBeGreaterThan(eight.snr + 20);
  });

  it('stores biases as int32 at input scale times weight scale, zero points with every weight', async () => {
    const { model } = await quantized(smallConvNet());
    const bias = stored(model, 'conv1.bias_quantized') as Int32Array;
    const scale = stored(model, 'conv1.bias_scale') as Float32Array;
    const float = stored(smallConvNet(), 'conv1.bias') as Float32Array;
    // Rounding to the nearest step is off by half a step at most (and float32 noise).
    float.forEach((b, c) => {
      expect(Math.abs((bias[c] as number) * (scale[c] as number) - b)).toBeLessThanOrEqual((scale[c] as number) * 0.51);
    });
    const names = new Set(initializers(model.graph).keys());
    for (const name of ['conv1.weight', 'conv2.weight', 'dw.weight', 'fc.weight']) {
      expect(names).toContain(`${name}_zero_point`);
      expect(names).not.toContain(name);
    }
  });

  it('keeps zero weights exactly zero', async () => {
    const data = noise(5, 576).map((w, i) => (i % 3 === 0 ? 0 : w));
    const sparse = edit(smallConvNet(), (d) =>
      d.replace('conv2.weight', makeTensor('conv2.weight', 'float32', [8, 8, 3, 3], data)),
    );
    const codes = stored((await quantized(sparse)).model, 'conv2.weight_quantized') as Int8Array;
    expect(codes.filter((code, i) => i % 3 === 0 && code !== 0)).toHaveLength(0);
  });

  it('leaves out what the schedule says, by name, pattern and operator type, and says so', async () => {
    const overrides = { 'conv*': { bits_weights: 'float' }, 'op:Gemm': { bits_activations: null } };
    const { skipped, ops, changed } = await quantized(smallConvNet(), { overrides });
    expect(skipped.map((s) => s.layer)).toEqual(['conv1', 'conv2']);
    // A width for the weights and none for the activations: weights alone.
    expect(changed.find(({ layer }) => layer === 'fc')?.text).toMatch(/^weights int8 per channel .*activations float/);
    expect(skipped[0]?.text).toBe('left in float by the schedule');
    expect(ops.QLinearConv).toBe(1);
  });

  it('searches scales of weights alone as of all others', async () => {
    const alone = async (weight_scales: string) =>
      (await quantized(smallConvNet(), { bits_weights: 4, bits_activations: null, weight_scales })).snr;
    // 4-bit weights gain 1 dB and more by scales of least squared error.
    expect(await alone('mse')).toBeGreaterThan((await alone('minmax')) + 0.5);
  });

  it('decodes weights alone before a Relu at load', async () => {
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 32])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      initializers: [weight('w1', [32, 16], 1), weight('b1', [16], 2), weight('w2', [16, 8], 3)],
      nodes: [
        makeNode('Gemm', ['x', 'w1', 'b1'], ['h'], {}, { name: 'one' }),
        makeNode('Relu', ['h'], ['r']),
        makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'two' }),
      ],
    });
    const options = { bits_activations: null };
    const { ops, changed } = await quantized(model, options, [{ x: floats(noise(1, 320), [10, 32]) }]);
    expect(changed.map(({ text }) => text.split('; ')[1])).toEqual([
      expect.stringMatching(/^float weights at load time \(before a Relu/),
      'MatMulNBits at load time',
    ]);
    expect(ops).not.toHaveProperty('DequantizeLinear');
  });

  it('holds 4-bit weights to 15 levels', async () => {
    const codes = stored(
      (await quantized(smallConvNet(), { bits_weights: 4 })).model,
      'conv2.weight_quantized',
    ) as Int8Array;
    expect(Math.max(...codes)).toBe(7);
    expect(Math.min(...codes)).toBeGreaterThanOrEqual(-7);
  });

  it('absorbs Clip, whose bounds the scale must not exceed', async () => {
    const model = makeModel({
      ...onImages,
      outputs: [makeValue('y', 'float32', ['N', 4, 8, 8])],
      initializers: [
        weight('w1', [4, 3, 3, 3], 1, 4),
        weight('w2', [4, 4, 1, 1], 2),
        makeTensor('lo', 'float32', [], Float32Array.of(0)),
        makeTensor('hi', 'float32', [], Float32Array.of(6)),
      ],
      nodes: [
        makeNode('Conv', ['x', 'w1'], ['c'], convPads),
        makeNode('Clip', ['c', 'lo', 'hi'], ['r']),
        makeNode('Conv', ['r', 'w2'], ['y'], { kernel_shape: [1, 1] }),
      ],
    });
    const { ops, model: result } = await quantized(model);
    expect(ops.QLinearConv).toBe(2);
    expect(ops).not.toHaveProperty('Clip');
    expect(Math.fround((stored(result, 'r_scale')[0] as number) * 255)).toBeLessThanOrEqual(6);
    expect(result.graph.output.map((o) => o.name)).toEqual(['y']);
  });

  it('quantizes Concat, pooling and constants of Add, and stops at what has no integer kernel', async () => {
    const model = makeModel({
      ...onImages,
      opset: 14,
      outputs: [makeValue('y', 'float32', ['N', 4, 7, 7])],
      initializers: [
        weight('w1', [4, 3, 3, 3], 1),
        weight('w2', [4, 3, 1, 1], 2),
        weight('shift', [1, 8, 1, 1], 3),
        weight('w3', [4, 8, 1, 1], 4),
        weight('t', [4, 4, 2, 2], 6),
      ],
      nodes: [
        makeNode('Conv', ['x', 'w1'], ['a'], convPads),
        makeNode('Conv', ['x', 'w2'], ['b'], { kernel_shape: [1, 1] }),
        makeNode('Concat', ['a', 'b'], ['ab'], { axis: 1 }),
        makeNode('MaxPool', ['ab'], ['p'], { kernel_shape: [2, 2], strides: [2, 2] }),
        makeNode('Add', ['p', 'shift'], ['s']),
        makeNode('HardSwish', ['s'], ['h']),
        makeNode('Add', ['p', 's'], ['ps']),
        makeNode('Add', ['ps', 'h'], ['all']),
        makeNode('Conv', ['all', 'w3'], ['c'], { kernel_shape: [1, 1] }),
        makeNode('ConvTranspose', ['c', 't'], ['ct'], { kernel_shape: [2, 2], strides: [2, 2] }),
        makeNode('AveragePool', ['ct'], ['y'], { kernel_shape: [2, 2] }),
      ],
    });
    const { ops, snr, skipped } = await quantized(model);
    expect(ops).toMatchObject({ QLinearConv: 3, QLinearConcat: 1, QLinearAdd: 3, ConvTranspose: 1 });
    expect(skipped).toEqual([
      { layer: 'ct_ConvTranspose', text: 'onnxruntime has no integer kernel for ConvTranspose that QDQ fuses to' },
    ]);
    // Eight 8-bit roundings on a path; see above.
    expect(snr).toBeGreaterThan(25);
  });

  it('gives a channel of zeros, and one with a huge bias, scales that keep the bias', async () => {
    const data = noise(3, 4 * 27).map((w, i) => (i < 27 ? 0 : i < 54 ? w * 1e-9 : w));
    const bias = makeTensor('b', 'float32', [4], Float32Array.of(0.123, 50, 0, 1));
    const model = makeModel({
      ...onImages,
      outputs: [makeValue('y', 'float32', ['N', 4, 8, 8])],
      initializers: [makeTensor('w', 'float32', [4, 3, 3, 3], data), bias],
      nodes: [makeNode('Conv', ['x', 'w', 'b'], ['y'], convPads)],
    });
    // One 8-bit range up to 50 for outputs of 50: a step of 0.2 against 50 in the loudest channel alone is 58 dB.
    expect((await quantized(model)).snr).toBeGreaterThan(40);
  });

  it('lets two nodes share one weight', async () => {
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      initializers: [weight('w', [4, 4], 1), weight('b', [4], 2)],
      nodes: [
        makeNode('Gemm', ['x', 'w', 'b'], ['h'], { transB: 1 }),
        makeNode('Relu', ['h'], ['r']),
        makeNode('Gemm', ['r', 'w', 'b'], ['y'], { transB: 1 }),
      ],
    });
    const { ops, snr } = await quantized(model, {}, [{ x: floats(noise(1, 400), [100, 4]) }]);
    expect(ops.QGemm).toBe(2);
    expect(snr).toBeGreaterThan(25);
  });
});
