import type { Batch, Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import { edit } from '../../src/graph/edit.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Pass } from '../../src/passes/pass.ts';
import { dynamicQuantizer } from '../../src/passes/quantize/dynamic.ts';
import { float16Quantizer } from '../../src/passes/quantize/float16.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { contradiction } from '../../src/run/contradiction.ts';
import { findingsOf } from '../../src/run/findings.ts';
import { layerReports } from '../../src/run/layers.ts';
import { levelWarning, optimizationLevels } from '../../src/run/levels.ts';
import type { LayerReport } from '../../src/run/report.ts';
import { saturates } from '../../src/runtime/processor.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise, smallConvNet, weight } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';

const never = new AbortController().signal;

/** Samples as a run gives them, one a batch; `asked` is told how many are wanted. */
const samplesOf = (all: readonly Feeds[], asked: number[] = []) =>
  async function* (samples: number): AsyncGenerator<Batch> {
    asked.push(samples);
    for (const [i, feeds] of all.slice(0, samples).entries())
      yield { ids: [String(i)], feeds, targets: [undefined], count: 1, size: 1 };
  };
const images = Array.from({ length: 10 }, (_, i) => ({ x: floats(noise(100 + i, 192), [1, 3, 8, 8]) }));
const vectors = Array.from({ length: 10 }, (_, i) => ({ x: floats(noise(200 + i, 64), [1, 64]) }));

async function quantized(pass: unknown, model: Model, feeds: readonly Feeds[], options: object = {}) {
  const { apply, options: schema } = pass as Pass;
  const context = testContext({ calibration: feeds, reference: model });
  return apply(model, schema.parse(options), context);
}

/** x [N, 64] → MatMul → Tanh → MatMul → y [N, 8]. */
const dense = makeModel({
  opset: 21,
  inputs: [makeValue('x', 'float32', ['N', 64])],
  outputs: [makeValue('y', 'float32', ['N', 8])],
  initializers: [weight('w1', [64, 32], 1), weight('w2', [32, 8], 2)],
  nodes: [
    makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
    makeNode('Tanh', ['h'], ['t']),
    makeNode('MatMul', ['t', 'w2'], ['y'], {}, { name: 'two' }),
  ],
});

describe('optimizationLevels', () => {
  /** SQNR over the first eight samples as bare onnxruntime gives it. */
  const bare = async (model: Model, float: Model, level: 'disabled' | 'all'): Promise<number> => {
    const outputs = async (m: Model): Promise<Float32Array> => {
      const all: number[] = [];
      for (const feeds of vectors.slice(0, 8)) all.push(...((await runModel(m, feeds, level)).y?.data as Float32Array));
      return Float32Array.from(all);
    };
    return snr(await outputs(float), await outputs(model));
  };

  it('are what onnxruntime gives at each level on eight samples', async () => {
    // Weights of 8 bits as MatMulNBits: optimized it rounds activations too.
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors);
    const asked: number[] = [];
    const levels = await optimizationLevels(model, dense, samplesOf(vectors, asked), never);
    expect([levels?.samples, ...asked]).toEqual([8, 8, 8]);
    expect(levels?.disabled).toBeCloseTo(await bare(model, dense, 'disabled'), 2);
    expect(levels?.all).toBeCloseTo(await bare(model, dense, 'all'), 2);
    expect(levels!.disabled - levels!.all).toBeGreaterThan(1);
  });

  const reshaped = edit(dense, (draft) => {
    const last = draft.nodes().find(({ name }) => name === 'two')!;
    const shape = draft.add('shape', makeTensor('', 'int64', [2], BigInt64Array.of(7n, 5n)));
    draft.update(last, { output: ['raw'] });
    draft.addNode(makeNode('Reshape', ['raw', shape], ['y']));
  });
  const classes = makeModel({
    inputs: [makeValue('x', 'float32', ['N', 64])],
    outputs: [makeValue('y', 'int64', ['N'])],
    nodes: [makeNode('ArgMax', ['x'], ['y'], { axis: 1, keepdims: 0 })],
  });
  it.each([
    ['a model that does not run', reshaped, dense],
    ['outputs that are no floats', classes, classes],
  ])('are none for %s', async (_, model, float) => {
    expect(await optimizationLevels(model, float, samplesOf(vectors), never)).toBeUndefined();
  });

  it('pass on an interrupt, and what is no fault of the model', async () => {
    await expect(optimizationLevels(dense, dense, samplesOf(vectors), AbortSignal.abort())).rejects.toMatchObject({
      code: 'cancelled',
    });
    const bug = (): AsyncIterable<Batch> => {
      throw new TypeError('a bug');
    };
    await expect(optimizationLevels(dense, dense, bug, never)).rejects.toThrow(TypeError);
  });
});

describe('levelWarning', () => {
  const layer = (kernel: LayerReport['kernel'], why = ''): LayerReport => ({
    ...{ layer: 'l', op: 'Conv', weights: 'int8', activations: 'uint8', sqnr: 20 },
    ...{ kernel, why },
  });
  const nBits = layer('integer', 'runs as MatMulNBits');
  const ofProcessor = async (otherwise: RegExp): Promise<RegExp> => ((await saturates()) ? /no VNNI/ : otherwise);
  const unknown = /another model/;

  it.each<[number, number]>([
    [20, 19],
    [19, 20],
    [50, 90],
    [90, 50],
    [NaN, NaN],
    [Infinity, Infinity],
  ])('says nothing of %d dB unoptimized and %d dB optimized', async (disabled, all) => {
    expect(await levelWarning({ samples: 8, disabled, all }, [nBits])).toBeUndefined();
  });

  it('gives both numbers', async () => {
    const text = (disabled: number, all: number) => levelWarning({ samples: 8, disabled, all }, []);
    expect(await text(38.2, 9.1)).toBe(
      'the outputs have an SQNR of 9.1 dB as onnxruntime runs the model, but of 38.2 dB with its graph optimizations off (8 samples): onnxruntime makes another model of it: look at the layers of lowest SQNR',
    );
    expect(await text(Infinity, 20)).toContain('20.0 dB as onnxruntime runs the model, but of Infinity');
    expect(await text(30, NaN)).toContain('of NaN as onnxruntime runs');
  });

  it.each<[number, number, LayerReport[], RegExp, boolean]>([
    [20, 18.9, [layer('float'), layer('integer')], unknown, true],
    // Saturation only makes it worse, and only where integers are summed.
    [18.9, 20, [layer('integer')], unknown, false],
    [49.9, 90, [layer('integer')], unknown, false],
    [20, 10, [layer('float')], unknown, false],
    [20, 10, [], unknown, false],
    [20, 10, [layer('float'), nBits], /MatMulNBits/, true],
    [10, 20, [layer('float'), nBits], /MatMulNBits/, false],
    [NaN, 20, [layer('float')], unknown, false],
    [20, NaN, [layer('float')], unknown, false],
  ])('%d dB unoptimized and %d dB optimized: the likely cause', async (disabled, all, layers, cause, mayBe) => {
    const text = await levelWarning({ samples: 8, disabled, all }, layers);
    expect(text).toMatch(mayBe ? await ofProcessor(cause) : cause);
  });
});

describe('contradiction', () => {
  const net = smallConvNet();
  const note = (layer: string) => ({ layer, text: `${layer} must not` });
  const withFloat = async (...layers: string[]): Promise<Model> => {
    const overrides = Object.fromEntries(layers.map((name) => [name, { bits_weights: 'float' }]));
    return (await quantized(staticQuantizer, net, images, { overrides })).model;
  };

  it('names the layer that runs in integer, and why it should not', async () => {
    const whole = await withFloat();
    const text = 'conv2 was left in float (conv2 must not), but onnxruntime runs it as QLinearConv';
    expect(await contradiction(net, whole, [note('elsewhere'), note('conv2')])).toBe(text);
    // What ran in integer before the stage is no contradiction, the next one is.
    expect(await contradiction(await withFloat('conv2'), whole, [note('conv1'), note('conv2')])).toBe(text);
    expect(await contradiction(whole, whole, [note('conv1'), note('conv2')])).toBeUndefined();
  });

  it('is none where the layer runs in float, or what runs in integer is no layer', async () => {
    const some = await withFloat('conv2');
    expect(await contradiction(net, some, [note('conv2')])).toBeUndefined();
    // The pooling has an integer kernel; it stands in no list of layers.
    expect(await contradiction(net, some, [note('conv2'), note('pool')])).toBeUndefined();
    expect(await contradiction(net, some, [note('elsewhere')])).toBeUndefined();
  });
});

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
    expect(reports.find(({ layer }) => layer === 'pool')?.weights ?? '').toBe('');
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
    expect(asked).toEqual([]);
  });

  it("measure each layer's output on at most 64 samples", async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors, { bits_weights: 4 });
    const asked: number[] = [];
    const [, last] = await layerReports(model, dense, samplesOf(vectors, asked), never);
    expect(new Set(asked)).toEqual(new Set([64]));
    const joined = { x: floats(Float32Array.from(vectors.flatMap(({ x }) => [...x.data])), [10, 64]) };
    const y = async (m: Model): Promise<Float32Array> => (await runModel(m, joined)).y?.data as Float32Array;
    // MatMulNBits rounds ten rows together as it does one.
    expect(last?.sqnr).toBeCloseTo(snr(await y(dense), await y(model)), 1);
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

describe('findingsOf', () => {
  type Asked = { status?: 'finished' | 'stopped' | 'cancelled'; measure?: boolean; signal?: AbortSignal; twin?: Model };
  const found = async (model: Model, stages: number[], o: Asked = {}, calibration = samplesOf(vectors)) =>
    findingsOf(
      { model, twin: o.twin, stages, plan: new Map(), measurement: undefined },
      o.status ?? 'finished',
      { calibration } as never,
      { model: dense, measure: o.measure ?? true, signal: o.signal ?? never },
    );
  const nothing = 'no stage was kept: the result is the float model';

  it.each<[string, Asked]>([
    ['where nothing is to be measured', { measure: false }],
    ['after Ctrl-C', { status: 'cancelled' }],
  ])('look at no layer %s', async (_, asked) => {
    expect(await found(dense, [1], asked)).toEqual({ layers: [], levels: undefined, warnings: [] });
  });

  it('say that nothing was kept, of a run that came to its end', async () => {
    const whole = await found(dense, []);
    expect([whole.layers.length, whole.levels, whole.warnings]).toEqual([2, undefined, [nothing]]);
    expect((await found(dense, [], { status: 'stopped' })).warnings).toEqual([]);
    expect((await found(dense, [1])).warnings).toEqual([]);
  });

  it('say first that the levels differ, then that the file grew', async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors);
    const pad = edit(model, (draft) => {
      const zeros = draft.add('zeros', makeTensor('', 'float32', [3000], new Float32Array(3000)));
      const last = draft.nodes().find(({ name }) => name === 'two')!;
      draft.update(last, { output: ['raw'] });
      draft.addNode(makeNode('ReduceSum', [zeros], ['nothing'], { keepdims: 0 }));
      draft.addNode(makeNode('Add', ['raw', 'nothing'], ['y']));
    });
    const percent = ((100 * encodeModel(pad).length) / encodeModel(dense).length).toFixed(1);
    const { warnings, layers, levels } = await found(pad, [1]);
    expect(warnings).toEqual([expect.stringContaining('SQNR'), expect.stringContaining(`grew: it has ${percent} %`)]);
    expect([layers.length, levels?.samples]).toEqual([2, 8]);
  });

  it('compare with the float model as the passes prepared it', async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors, { bits_weights: 4 });
    const errors = (await found(model, [1])).layers.map(({ sqnr }) => sqnr);
    expect(errors.every((db) => db !== undefined && db > 5 && db < 40)).toBe(true);
    expect((await found(model, [1], { twin: model })).layers.map(({ sqnr }) => sqnr)).toEqual([undefined, undefined]);
  });

  it('end where the run is interrupted meanwhile, and pass on what is a fault', async () => {
    const fails = () => {
      throw new TypeError('a bug');
    };
    expect(await found(dense, [1], { signal: AbortSignal.abort() }, fails)).toMatchObject({ warnings: [] });
    await expect(found(dense, [1], {}, fails)).rejects.toThrow('a bug');
  });
});
