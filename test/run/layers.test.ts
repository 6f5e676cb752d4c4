import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import { type Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { dynamicQuantizer } from '../../src/passes/quantize/dynamic.ts';
import { float16Quantizer } from '../../src/passes/quantize/float16.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { layerReports, withOwnErrors } from '../../src/run/layers.ts';
import type { LayerReport } from '../../src/run/report.ts';
import { floats, runModel } from '../helpers/context.ts';
import { smallConvNet, weight } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';
import { never, samplesOf, images, vectors, quantized, dense } from './support.ts';

describe('layerReports', () => {
  const net = smallConvNet();
  const table = makeModel({
    opset: 13,
    inputs: [makeValue('ids', 'int64', ['N'])],
    outputs: [makeValue('y', 'float32', ['N', 32])],
    initializers: [weight('table', [64, 32], 3)],
    nodes: [makeNode('Gather', ['table', 'ids'], ['y'], {}, { name: 'lookup' })],
  });
  const ids: Feeds[] = [{ ids: { type: 'int64', dims: [1], data: BigInt64Array.of(3n) } }];
  const block = { storage: 'packed', block_size: 16 };
  const upwards = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32')],
    initializers: [weight('w', [3, 5, 3, 3], 3)],
    nodes: [makeNode('ConvTranspose', ['x', 'w'], ['y'], {}, { name: 'up' })],
  });

  // [pass, model, samples, options, types of the weights and of what they multiply, a layer each].
  it.each<[string, unknown, Model, Feeds[], object, string[]]>([
    ['static', staticQuantizer, net, images, {}, Array<string>(4).fill('int8 × uint8')],
    [
      'static, 4 bits',
      staticQuantizer,
      net,
      images,
      { bits_weights: 4 },
      Array<string>(4).fill('int8, 4 bits × uint8'),
    ],
    ['static, 16', staticQuantizer, net, images, { bits_weights: 16, bits_activations: 16 }, Array<string>(4).fill('int16 × uint16')], // prettier-ignore
    [
      'dynamic',
      dynamicQuantizer,
      dense,
      vectors,
      { bits_weights: 7 },
      ['int8, 7 bits × uint8', 'int8, 7 bits × uint8'],
    ],
    ['float16', float16Quantizer, net, images, {}, Array<string>(4).fill('float16 × float32')],
    ['weights, decoded', weightsOnlyQuantizer, net, images, { bits_weights: 3, storage: 'folded' }, Array<string>(4).fill('int4 × float32')], // prettier-ignore
    // 27 columns in blocks of 16, cut off, and turned round.
    ['weights, in order', weightsOnlyQuantizer, upwards, images, { bits_weights: 4, weights_symmetric: false, block_size: 16 }, ['uint4 × float32']], // prettier-ignore
    [
      'weights, matrices',
      weightsOnlyQuantizer,
      dense,
      vectors,
      { bits_weights: 4 },
      ['int4 × float32', 'int4 × float32'],
    ],
    ['weights, packed', weightsOnlyQuantizer, dense, vectors, { bits_weights: 4, ...block }, ['uint8 × float32', 'uint8 × float32']], // prettier-ignore
    ['a table', staticQuantizer, table, ids, {}, ['uint8 × ']],
  ])('say what layers are held in: %s', async (_, pass, model, feeds, options, types) => {
    const result = await quantized(pass, model, feeds, options);
    const reports = await layerReports(result.model, model, samplesOf(feeds), never);
    const layers = new Set(result.changed.map(({ layer }) => layer));
    const own = reports.filter(({ layer }) => layers.has(layer));
    expect(own.map(({ weights, activations }) => `${weights} × ${activations}`)).toEqual(types);
    expect(own.filter(({ why }) => why.includes('at load'))).toEqual([]);
    for (const name of ['pool', 'add']) expect(reports.find(({ layer }) => layer === name)?.weights ?? '').toBe('');
    // What is no layer is listed for its integer kernel: the sums and poolings of static quantization.
    expect(reports.filter(({ layer }) => !layers.has(layer)).map(({ layer }) => layer)).toEqual(
      pass === staticQuantizer && model === net ? ['add', 'pool'] : [],
    );
  });

  it('end where the run is interrupted', async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors);
    const reports = layerReports(model, dense, samplesOf(vectors), AbortSignal.abort());
    await expect(reports).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('read a layer as the file has it where decoding gives it another name', async () => {
    const at = (type: DType, data: Uint16Array | Int8Array, nodes: ReturnType<typeof makeNode>[]) =>
      makeModel({
        opset: 21,
        inputs: [makeValue('x', 'float32', ['N', 8])],
        outputs: [makeValue('y', 'float32', ['N', 4])],
        initializers: [
          makeTensor('w', type, [8, 4], data),
          makeTensor('s', 'float32', [], Float32Array.of(0.1)),
          makeTensor('z', 'int8', [], Int8Array.of(0)),
          weight('b', [4], 1),
        ],
        // With the sum behind it onnxruntime makes a Gemm of another name.
        nodes: [
          ...nodes,
          makeNode('MatMul', ['x', 'd'], ['m'], {}, { name: 'product' }),
          makeNode('Add', ['m', 'b'], ['y']),
        ],
      });
    const half = at('float16', new Uint16Array(32).fill(0x3c00), [makeNode('Cast', ['w'], ['d'], { to: 1 })]);
    const codes = at('int4', new Int8Array(32).fill(3), [
      makeNode('Cast', ['w'], ['c'], { to: 3 }),
      makeNode('DequantizeLinear', ['c', 's', 'z'], ['d']),
    ]);
    const [first] = await layerReports(half, half, samplesOf([]), never);
    const [second] = await layerReports(codes, codes, samplesOf([]), never);
    expect([first?.layer, first?.weights]).toEqual(['product', 'float16']);
    expect([second?.layer, second?.weights]).toEqual(['product', 'int8']);
  });

  it('mean the layer where another node has its name', async () => {
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 4]), makeValue('r', 'float32', ['N', 8])],
      initializers: [makeTensor('w', 'float16', [8, 4], new Uint16Array(32).fill(0x3c00))],
      nodes: [
        makeNode('Cast', ['w'], ['d'], { to: 1 }),
        makeNode('MatMul', ['x', 'd'], ['y'], {}, { name: '' }),
        makeNode('Relu', ['x'], ['r'], {}, { name: 'y' }),
      ],
    });
    const [report] = await layerReports(model, model, samplesOf([]), never);
    expect(report).toMatchObject({ layer: 'y', weights: 'float16' });
  });

  it('of the float model itself have no error', async () => {
    const asked: number[] = [];
    const reports = await layerReports(net, net, samplesOf(images, asked), never);
    const rest = { weights: 'float32', activations: 'float32', kernel: 'float', sqnr: undefined };
    expect(reports).toMatchObject(['conv1', 'conv2', 'dw', 'fc'].map((layer) => ({ layer, ...rest })));
    // One sample for the shapes.
    expect(asked).toEqual([1]);
    expect(reports.filter(({ why, activationSpread }) => why.includes('at load') || activationSpread)).toEqual([]);
  });

  it("measure each layer's output on at most 64 samples", async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors, { bits_weights: 4 });
    const asked: number[] = [];
    const [, last] = await layerReports(model, dense, samplesOf(vectors, asked), never);
    expect(new Set(asked)).toEqual(new Set([1, 64]));
    const joined = { x: floats(Float32Array.from(vectors.flatMap(({ x }) => [...x.data])), [10, 64]) };
    const y = async (m: Model): Promise<Float32Array> => (await runModel(m, joined)).y?.data as Float32Array;
    // MatMulNBits rounds ten rows together as it does one.
    expect(last?.sqnr).toBeCloseTo(snr(await y(dense), await y(model)), 1);
  });

  it('draw what each layer of the float model gives, and what the quantized one can hold of it', async () => {
    const { model } = await quantized(staticQuantizer, dense, vectors);
    const reports = await layerReports(model, dense, samplesOf(vectors), never);
    const exposed = { ...dense.graph, output: [makeValue('h', 'float32', ['N', 32]), ...dense.graph.output] };
    const watched = makeModel({ opset: 21, inputs: exposed.input, outputs: exposed.output, initializers: exposed.initializer, nodes: exposed.node }); // prettier-ignore
    for (const [layer, value] of [
      ['one', 'h'],
      ['two', 'y'],
    ] as const) {
      const given = await Promise.all(vectors.map(async (feeds) => [...((await runModel(watched, feeds))[value]?.data as Float32Array)])); // prettier-ignore
      const all = given.flat();
      const { activationSpread: spread, macs, weightSpread } = reports.find((one) => one.layer === layer)!;
      expect(spread?.low).toBeCloseTo(Math.min(...all), 3);
      expect(spread?.high).toBeCloseTo(Math.max(...all), 3);
      expect(spread?.counts.reduce((a, b) => a + b, 0)).toBe(all.length);
      expect([macs, weightSpread?.quantized?.length]).toEqual([layer === 'one' ? 2048 : 256, 40]);
    }
  });

  it('draw what the quantized model can hold of it, where that is one scale', async () => {
    const { model } = await quantized(staticQuantizer, net, images);
    const reports = await layerReports(model, net, samplesOf(images), never);
    const spreads = reports.flatMap(({ activationSpread }) => (activationSpread?.range ? [activationSpread] : []));
    expect(spreads.length).toBeGreaterThanOrEqual(3);
    // Calibrated on the same samples by their extremes: a range of 255 steps that holds them, and zero.
    for (const { low, high, range, clipped } of spreads) {
      const step = (range![1] - range![0]) / 255;
      expect([range![0] <= Math.min(0, Math.max(low, range![0])) + step, range![1] >= high - step]).toEqual([
        true,
        true,
      ]);
      expect(range![1] - range![0]).toBeLessThan(1.02 * (Math.max(0, high) - Math.min(0, low)));
      expect(clipped).toBeLessThan(0.6);
    }
  });

  it('draw nothing of a layer that gives what is no number, or of one in float64', async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors, { bits_weights: 4 });
    const odd = [...vectors.slice(0, 2), { x: floats(new Float32Array(64).fill(Infinity), [1, 64]) }];
    const [first] = await layerReports(model, dense, samplesOf(odd), never);
    // The two samples that are numbers.
    expect(first?.activationSpread?.counts.reduce((a, b) => a + b, 0)).toBe(64);
    const double = (off: number) =>
      makeModel({
        opset: 13,
        inputs: [makeValue('x', 'float32', ['N', 64])],
        outputs: [makeValue('y', 'float64', ['N', 2])],
        initializers: [
          makeTensor(
            'w',
            'float64',
            [64, 2],
            Float64Array.from({ length: 128 }, (_, i) => i + off),
          ),
        ],
        nodes: [
          makeNode('Cast', ['x'], ['c'], { to: 11 }),
          makeNode('MatMul', ['c', 'w'], ['y'], {}, { name: 'wide' }),
        ],
      });
    const reports = await layerReports(double(0.5), double(0), samplesOf(vectors), never);
    const wide = reports.find(({ layer }) => layer === 'wide');
    expect([wide?.weights, wide?.activationSpread, Number.isFinite(wide?.sqnr)]).toEqual(['float64', undefined, true]);
  });

  it('have the error of each layer itself where that was measured', () => {
    const [one, two] = [{ layer: 'one', why: 'a' }, { layer: 'two', why: 'b' }] as never as LayerReport[]; // prettier-ignore
    const error = { layer: 'two', value: 'h', rounded: undefined, own: 30, input: 31, weights: 32, inherited: 20 };
    expect(withOwnErrors([one!, two!], [error])).toEqual([one, { ...two, own: 30, inherited: 20 }]);
  });

  // Without a zero point codes are uint8; with one they are of its type.
  it.each<[string, (string | undefined)[], string]>([
    ['none', [], 'uint8'],
    ['int8', ['z'], 'int8'],
  ])('read the type of computed codes from the zero point: %s', async (_, zero, type) => {
    const zeros = zero.filter((one) => one !== undefined);
    const common = {
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
    };
    const [scale, none] = [makeTensor('s', 'float32', [], Float32Array.of(0.1)), makeTensor('z', 'int8', [], Int8Array.of(0))]; // prettier-ignore
    const quantize = makeNode('QuantizeLinear', ['x', 's', ...zeros], ['xq']);
    const behind = makeModel({
      ...common,
      initializers: [weight('w', [8, 4], 1), scale, none],
      nodes: [
        quantize,
        makeNode('DequantizeLinear', ['xq', 's', ...zeros], ['d']),
        makeNode('MatMul', ['d', 'w'], ['y'], {}, { name: 'product' }),
      ],
    });
    const direct = makeModel({
      ...common,
      initializers: [makeTensor('w', 'int8', [8, 4], new Int8Array(32).fill(100)), scale, none],
      nodes: [
        quantize,
        makeNode('MatMulInteger', ['xq', 'w'], ['i'], {}, { name: 'product' }),
        makeNode('Cast', ['i'], ['y'], { to: 1 }),
      ],
    });
    for (const model of [behind, direct]) {
      const [report] = await layerReports(model, model, samplesOf([]), never);
      expect(report).toMatchObject({ layer: 'product', activations: type });
    }
  });

  // Codes of n bits in two's complement are −2^(n−1) to 2^(n−1) − 1, unsigned ones 0 to 2^n − 1.
  it.each<[DType, number[], string]>([
    ['int8', [-8, 7], 'int8, 4 bits'],
    ['int8', [-9, 7], 'int8, 5 bits'],
    ['int8', [-8, 8], 'int8, 5 bits'],
    ['int8', [-1, 1], 'int8, 2 bits'],
    ['int8', [-64, 63], 'int8, 7 bits'],
    ['int8', [-65], 'int8'],
    ['int8', [127], 'int8'],
    ['int8', [0], 'int8'],
    ['uint8', [15], 'uint8, 4 bits'],
    ['uint8', [16], 'uint8, 5 bits'],
    ['uint8', [127], 'uint8, 7 bits'],
    ['uint8', [128], 'uint8'],
    ['uint8', [1], 'uint8, 1 bits'],
    ['int16', [7], 'int16'],
  ])('count the bits of %s codes %j', async (type, some, text) => {
    const array = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array }[type as 'int8'];
    const codes = array.from({ length: 32 }, (_, i) => some[i % some.length] as number);
    const model = makeModel({
      opset: 21,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      initializers: [makeTensor('w', type, [8, 4], codes), makeTensor('s', 'float32', [], Float32Array.of(0.1))],
      nodes: [
        makeNode('DequantizeLinear', ['w', 's'], ['d']),
        makeNode('MatMul', ['x', 'd'], ['y'], {}, { name: 'product' }),
      ],
    });
    const [report] = await layerReports(model, model, samplesOf([]), never);
    expect(report).toMatchObject({ layer: 'product', weights: text, activations: 'float32' });
  });

  it('read the types of a product of integers from its own inputs', async () => {
    const one = (name: string, type: DType, value: number) =>
      makeTensor(name, type, [], type === 'float32' ? Float32Array.of(value) : Uint8Array.of(value));
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      initializers: [
        makeTensor(
          'w',
          'int8',
          [8, 4],
          Int8Array.from({ length: 32 }, (_, i) => (i % 16) - 8),
        ),
        ...[one('s', 'float32', 0.1), one('z', 'uint8', 128), makeTensor('wz', 'int8', [], Int8Array.of(0))],
      ],
      nodes: [
        makeNode('QuantizeLinear', ['x', 's', 'z'], ['xq']),
        makeNode('QLinearMatMul', ['xq', 's', 'z', 'w', 's', 'wz', 's', 'z'], ['yq'], {}, { name: 'product' }),
        makeNode('DequantizeLinear', ['yq', 's', 'z'], ['y']),
      ],
    });
    const [report] = await layerReports(model, model, samplesOf([]), never);
    expect(report).toMatchObject({ layer: 'product', weights: 'int8, 4 bits', activations: 'uint8' });
  });

  it('say where onnxruntime quantizes a float weight by itself', async () => {
    // A Gemm between quantized values: WeightBiasQuantization takes its float weights.
    const one = (name: string, value: number) => makeTensor(name, 'float32', [], Float32Array.of(value));
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      initializers: [weight('w', [8, 4], 1), one('s', 0.02), makeTensor('z', 'uint8', [], Uint8Array.of(128))],
      nodes: [
        makeNode('QuantizeLinear', ['x', 's', 'z'], ['xq']),
        makeNode('DequantizeLinear', ['xq', 's', 'z'], ['xd']),
        makeNode('Gemm', ['xd', 'w'], ['g'], {}, { name: 'product' }),
        makeNode('QuantizeLinear', ['g', 's', 'z'], ['gq']),
        makeNode('DequantizeLinear', ['gq', 's', 'z'], ['y']),
      ],
    });
    const [report] = await layerReports(model, model, samplesOf([]), never);
    expect(report).toMatchObject({ weights: 'float32', activations: 'uint8', kernel: 'integer' });
    expect(report?.why).toMatch(/onnxruntime quantizes its weights at load/);
  });
});
