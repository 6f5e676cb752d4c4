import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers, opset } from '../../../src/graph/query.ts';
import { makeTensor, tensorData, typeOf } from '../../../src/graph/tensor.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

const images = [{ x: floats(noise(100, 16 * 192), [16, 3, 8, 8]) }];
const parsed = (options: object) => staticQuantizer.options.parse(options);

async function quantized(model: Model, options: object, given: Record<string, unknown> = {}) {
  const context = testContext({ calibration: images, reference: model, ...given });
  const result = await staticQuantizer.apply(model, parsed(options), context);
  const output = async (m: Model) => (await runModel(m, images[0]!, 'disabled')).y?.data as Float32Array;
  return { ...result, snr: snr(await output(model), await output(result.model)) };
}

describe('strength', () => {
  const strength = staticQuantizer.strength!;
  it.each<[number | null, (number | null)[]]>([
    [4, [4, 5, 6, 7, 8]],
    [8, [8]],
    [16, []],
    [null, [null]],
  ])('of %s bits is weakened bit by bit, up to 8', (bits_weights, wanted) => {
    const options = parsed({ bits_weights });
    expect(strength.levels?.(options).map((t) => strength.at(options, t).bits_weights)).toEqual(wanted);
    for (const t of strength.levels?.(options) ?? [])
      expect(strength.at(options, t)).toEqual({ ...options, bits_weights: strength.at(options, t).bits_weights });
  });

  it.each([
    [{ bits_weights: 4 }, 'weights 4 bit, activations 8 bit'],
    [{ bits_weights: 'float', bits_activations: 16 }, 'weights float bit, activations 16 bit'],
    [{ bits_activations: null }, 'weights 8 bit, activations float bit'],
  ])('%j is called %s', (options, text) => {
    expect(strength.describe(parsed(options))).toBe(text);
  });
});

// Operator sets by ONNX: QuantizeLinear knows uint16 and int4 from 21 on, int2 from 25 on.
it.each<[object, number]>([
  [{}, 13],
  [{ bits_weights: 4 }, 13],
  [{ bits_weights: 16 }, 21],
  [{ bits_activations: 16 }, 21],
  [{ overrides: { fc: { bits_activations: 16 } } }, 21],
  [{ overrides: { fc: { bits_weights: 16 } } }, 21],
  [{ bits_activations: null }, 13],
  [{ overrides: { fc: { bits_weights: null, bits_activations: null } } }, 13],
  [{ bits_activations: null, bits_weights: 4 }, 21],
  [{ bits_activations: null, bits_weights: 2 }, 25],
  [{ bits_weights: 2, overrides: { fc: { bits_activations: null, bits_weights: 8 } } }, 25],
  [{ bits_weights: null, overrides: { fc: { bits_activations: null, bits_weights: 8 } } }, 13],
])('%j needs operator set %d', async (options, version) => {
  expect(opset((await quantized(smallConvNet(), options)).model)).toBe(version);
});

describe('weights alone', () => {
  it.each([true, false])('of any layer keep their accuracy, one scale a channel: %s', async (per_channel) => {
    const {
      changed,
      skipped,
      snr: db,
      model,
    } = await quantized(smallConvNet(), { bits_activations: null, per_channel });
    expect(skipped).toEqual([]);
    expect(changed.map(({ layer }) => layer)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
    for (const { text } of changed) expect(text).toMatch(/^weights int8 .*, activations float; /);
    // 8 bits of weights in four layers.
    expect(db).toBeGreaterThan(30);
    expect(model.graph.node.map(({ op_type }) => op_type)).not.toContain('QuantizeLinear');
  });

  it('of one scale hold all channels alike', async () => {
    const overrides = { fc: { bits_activations: null, per_channel: false } };
    const { model } = await quantized(smallConvNet(), { overrides });
    const [scale] = [...initializers(model.graph)].filter(([name]) => /fc\.weight.*scale/.test(name));
    expect(new Set(tensorData(scale![1]) as Float32Array).size).toBe(1);
  });

  it('stand beside integers, and what the schedule leaves in float is neither', async () => {
    const overrides = { conv2: { bits_activations: null, bits_weights: 4 }, dw: { bits_weights: null } };
    const { changed, skipped, snr: db } = await quantized(smallConvNet(), { overrides });
    expect(changed.map(({ layer, text }) => [layer, /^weights (\w+)/.exec(text)?.[1], /float/.test(text)])).toEqual([
      ['conv1', 'int8', false],
      ['fc', 'int8', false],
      ['conv2', 'int4', true],
    ]);
    expect(skipped).toEqual([{ layer: 'dw', text: 'left in float by the schedule' }]);
    expect(db).toBeGreaterThan(15);
  });

  it('say why not where a layer cannot be: its weights are not finite', async () => {
    const data = noise(3, 40).map((w, i) => (i === 7 ? Infinity : w));
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [makeTensor('w', 'float32', [8, 5], data), weight('v', [5, 4], 2)],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['h'], {}, { name: 'one' }),
        makeNode('Tanh', ['h'], ['t']),
        makeNode('MatMul', ['t', 'v'], ['y'], {}, { name: 'two' }),
      ],
    });
    const { skipped, changed } = await quantized(model, {});
    expect(skipped).toEqual([{ layer: 'one', text: expect.stringMatching(/"w" holds Infinity/) as unknown }]);
    expect(changed.map(({ layer }) => layer)).toEqual(['two']);
    const alone = await quantized(model, { overrides: { one: { bits_activations: null } } });
    expect(alone.skipped[0]).toMatchObject({ layer: 'one' });
  });

  it('say why not where no kernel is near: an Einsum with a vector', async () => {
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [8, 8], 1), weight('v', [8], 2)],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['h'], {}, { name: 'one' }),
        makeNode('Einsum', ['h', 'v'], ['y'], { equation: 'nchw,w->nch' }, { name: 'two' }),
      ],
    });
    const { skipped } = await quantized(model, {});
    expect(skipped).toEqual([{ layer: 'two', text: expect.stringMatching(/"?v"? is a vector/) as unknown }]);
  });

  it.each([null, 16])(
    'that two layers read are held as each of them asks, activations of %s bits',
    async (bits_activations) => {
      const model = makeModel({
        opset: 21,
        ir: 10,
        inputs: [makeValue('x', 'float32', ['N', 16])],
        outputs: ['narrow', 'wide'].map((name) => makeValue(name, 'float32')),
        initializers: [weight('w', [16, 8], 1)],
        nodes: ['narrow', 'wide'].map((name) => makeNode('MatMul', ['x', 'w'], [name], {}, { name })),
      });
      const x = { x: floats(noise(2, 64), [4, 16]) };
      const options = { bits_activations, overrides: { narrow: { bits_weights: 3 } } };
      const context = testContext({ calibration: [x], reference: model });
      const result = await staticQuantizer.apply(model, parsed(options), context);
      const [wanted, got] = [await runModel(model, x), await runModel(result.model, x, 'disabled')];
      const [narrow, wide] = ['narrow', 'wide'].map((name) =>
        snr(wanted[name]!.data as Float32Array, got[name]!.data as Float32Array),
      );
      // About 6 dB a bit.
      expect(narrow).toBeLessThan(20);
      expect(wide).toBeGreaterThan(35);
    },
  );

  it('of an embedding are its table', async () => {
    const ids = { ids: { type: 'int64', dims: [3], data: BigInt64Array.of(1n, 2n, 3n) } } as const;
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('ids', 'int64', ['N'])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('table', [64, 32], 1)],
      nodes: [makeNode('Gather', ['table', 'ids'], ['y'], {}, { name: 'lookup' })],
    });
    const context = testContext({ calibration: [ids], reference: model });
    const { changed } = await staticQuantizer.apply(model, parsed({ bits_activations: null }), context);
    expect(changed).toEqual([{ layer: 'lookup', text: expect.stringMatching(/^table uint8/) as unknown }]);
  });
});

it('a value is quantized for those that run in integers, and left to others', async () => {
  const model = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32'), makeValue('z', 'float32')],
    initializers: [weight('w', [4, 3, 1, 1], 1)],
    nodes: [makeNode('Conv', ['x', 'w'], ['y']), makeNode('Neg', ['x'], ['z'])],
  });
  const { model: result } = await quantized(model, {});
  const reads = (op: string) => result.graph.node.find(({ op_type }) => op_type === op)?.input[0];
  expect([reads('Neg'), reads('Conv')]).toEqual(['x', expect.not.stringMatching(/^x$/)]);
});

it('a layer that the schedule leaves in float between integers stays float when onnxruntime optimizes', async () => {
  const model = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32'), makeValue('z', 'float32')],
    initializers: [weight('a', [4, 3, 1, 1], 1), weight('b', [4, 4, 1, 1], 2), weight('c', [4, 4, 1, 1], 3)],
    nodes: [
      makeNode('Conv', ['x', 'a'], ['h'], {}, { name: 'before' }),
      makeNode('Conv', ['h', 'b'], ['k'], {}, { name: 'float' }),
      makeNode('Conv', ['k', 'c'], ['y'], {}, { name: 'after' }),
      makeNode('Neg', ['k'], ['z']),
    ],
  });
  const { model: result } = await quantized(model, { overrides: { float: { bits_weights: null } } });
  expect(await optimizedOps(result)).toMatchObject({ QLinearConv: 2, Conv: 1 });
  const reads = (op: string) => result.graph.node.find(({ op_type }) => op_type === op)?.input[0];
  expect([reads('Neg'), reads('Max')]).toEqual(['k', 'k']);
});

it.each(['Conv', 'ConvTranspose', 'Gemm'])(
  'a %s in float whose only reader is an integer layer stays float too',
  async (op) => {
    const [first, dims] = op === 'Gemm' ? [[192, 4], [4, 4]] : [[4, 3, 1, 1], [4, 4, 1, 1]]; // prettier-ignore
    const same = op === 'Gemm' ? op : 'Conv';
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('a', first, 1), weight('b', dims, 2), weight('v', [4], 5), weight('c', dims, 3)],
      nodes: [
        ...(op === 'Gemm' ? [makeNode('Flatten', ['x'], ['f'])] : []),
        makeNode(same, [op === 'Gemm' ? 'f' : 'x', 'a'], ['h'], {}, { name: 'before' }),
        makeNode(op, ['h', 'b', 'v'], ['k'], {}, { name: 'float' }),
        makeNode(same, ['k', 'c'], ['y'], {}, { name: 'after' }),
      ],
    });
    const { model: result } = await quantized(model, { overrides: { float: { bits_weights: null } } });
    expect(await optimizedOps(result)).toMatchObject({ [op]: 1 });
    // What is quantized is what the guard lets through.
    const guards = result.graph.node.filter(({ op_type }) => op_type === 'Max');
    const read = guards.flatMap(({ output }) => result.graph.node.filter(({ input }) => input.includes(output[0]!)));
    expect(read.map(({ op_type }) => op_type)).toEqual(guards.map(() => 'QuantizeLinear'));
  },
);

it('weights and scales have the types and numbers that ONNX and the notes say', async () => {
  const { model, changed } = await quantized(smallConvNet(), { weights_symmetric: false, weight_scales: 'mse' });
  expect(changed[0]?.text).toMatch(/^weights uint8 per channel \(8 scales\), input uint8 -\d.* … \d/);
  const quantizers = model.graph.node.filter(({ op_type }) => op_type === 'QuantizeLinear');
  const stored = initializers(model.graph);
  for (const { input } of quantizers) {
    expect(stored.get(input[1]!)?.dims).toEqual([]);
    expect(typeOf(stored.get(input[2]!)!)).toBe('uint8');
  }
});

it('notes tell what preparing and calibrating did', async () => {
  const { notes } = await quantized(smallConvNet(), {}, {});
  expect(notes).toEqual([]);
  const own = testContext({ calibration: images });
  const collect: typeof own.collect = (model, wanted, samples, _, bounds) => {
    bounds?.planned?.(2, 1e6);
    return own.collect(model, wanted, samples);
  };
  const old = makeModel({
    opset: 9,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32')],
    initializers: [weight('w', [4, 3, 1, 1], 1)],
    nodes: [makeNode('Conv', ['x', 'w'], ['c']), makeNode('Clip', ['c'], ['y'], { min: { float: 0 } }, { name: 'bound' })], // prettier-ignore
  });
  const told = (await quantized(old, {}, { collect })).notes;
  expect(told).toEqual(expect.arrayContaining([expect.stringMatching(/^bound: ./), expect.stringMatching(/^calibration: 2 passes/)])); // prettier-ignore
});
