import { bytesOf } from '../../../src/graph/bytes.ts';
import { coverage } from '../../../src/analyze/coverage.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import { NodeCodec } from '../../../src/graph/proto.ts';
import { initializers, opset } from '../../../src/graph/query.ts';
import { dimsOf, floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { encoder } from '../../../src/passes/encode/encode.ts';
import type { PassContext, PassResult } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { optimizedOps } from '../../helpers/quality.ts';

const image = (seed: number): Feeds => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) });
const context = (given: Partial<PassContext> = {}) => testContext({ calibration: [image(1)], ...given });
const bytes = (model: Model): number => encodeModel(model).length;

/** Conv, residual Add, Conv, pooling, Gemm with weights enough that packing pays. Layers, unlike values, have names. */
function convNet(version = 13): Model {
  const pads = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  return makeModel({
    opset: version,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 40])],
    initializers: [
      weight('stem.weight', [64, 3, 3, 3], 1),
      weight('stem.bias', [64], 2),
      weight('block.weight', [64, 64, 3, 3], 3),
      weight('block.bias', [64], 4),
      weight('fc.weight', [40, 64], 5),
      weight('fc.bias', [40], 6),
    ],
    nodes: [
      makeNode('Conv', ['x', 'stem.weight', 'stem.bias'], ['stem_out'], pads, { name: 'stem' }),
      makeNode('Relu', ['stem_out'], ['stem_relu']),
      makeNode('Conv', ['stem_relu', 'block.weight', 'block.bias'], ['block_out'], pads, { name: 'block' }),
      makeNode('Add', ['block_out', 'stem_relu'], ['sum'], {}, { name: 'join' }),
      makeNode('Relu', ['sum'], ['sum_relu']),
      makeNode('GlobalAveragePool', ['sum_relu'], ['pooled'], {}, { name: 'pool' }),
      makeNode('Flatten', ['pooled'], ['flat']),
      makeNode('Gemm', ['flat', 'fc.weight', 'fc.bias'], ['y'], { transB: 1 }, { name: 'fc' }),
    ],
  });
}

async function quantized(options: object): Promise<PassResult> {
  const model = convNet();
  return staticQuantizer.apply(model, staticQuantizer.options.parse(options), context({ reference: model }));
}

const encode = (model: Model, options: object = {}, given: Partial<PassContext> = {}): Promise<PassResult> =>
  encoder.apply(model, encoder.options.parse(options), context(given));

async function expectSame(a: Model, b: Model, feeds = image(7)): Promise<void> {
  expect(await runModel(b, feeds)).toEqual(await runModel(a, feeds));
}

/** The model with the smallest weights of each layer at zero. */
function pruned(model: Model, share: number): Model {
  return edit(model, (draft) => {
    for (const tensor of model.graph.initializer) {
      if (tensor.dims.length < 2) continue;
      const data = floatData(tensor);
      const bound = [...data].map(Math.abs).sort((a, b) => a - b)[Math.floor(share * data.length)] as number;
      const kept = data.map((v) => (Math.abs(v) < bound ? 0 : v));
      draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dimsOf(tensor), kept));
    }
  });
}

describe('encode', () => {
  it.each([2, 3, 4, 5, 6])(
    'stores %i-bit weights of a quantized net in fewer bits, on the same kernels',
    async (bits) => {
      const { model } = await quantized({ bits_weights: bits });
      const { model: packed, changed, skipped } = await encode(model);
      await expectSame(model, packed);
      expect(await optimizedOps(packed)).toEqual(await optimizedOps(model));
      const kernels = (await coverage(packed)).map(({ layer, kernel }) => `${layer} ${kernel}`);
      expect(kernels).toEqual(['stem', 'block', 'join', 'pool', 'fc'].map((layer) => `${layer} integer`));
      // 41,152 weights in int8 before; what is left above them is nodes, scales and biases, which only get shorter names.
      const saved = bytes(model) - bytes(packed);
      expect(saved).toBeGreaterThan((41152 * (8 - bits)) / 8);
      expect(changed.map((note) => note.layer).sort()).toEqual(['block', 'fc', 'stem']);
      expect(skipped).toEqual([]);
    },
  );

  it('stores layers of different widths apart where that is smaller', async () => {
    const overrides = { stem: { bits_weights: 7 }, block: { bits_weights: 3 }, fc: { bits_weights: 7 } };
    const { model } = await quantized({ overrides });
    const { model: packed, changed } = await encode(model, { forms: ['bits'] });
    await expectSame(model, packed);
    expect(changed.map(({ layer, text }) => `${layer} ${/\d-bit codes/.exec(text)?.[0]}`).sort()).toEqual([
      'block 3-bit codes',
      'fc 7-bit codes',
      'stem 7-bit codes',
    ]);
  });

  it('keeps names of inputs, outputs and layers, and shortens the others in the float twin alike', async () => {
    const { model, twin } = await quantized({ bits_weights: 4 });
    const result = await encode(model, {}, { twin: twin as Model });
    expect(result.model.graph.input.map((v) => v.name)).toEqual(['x']);
    expect(result.model.graph.output.map((v) => v.name)).toEqual(['y']);
    const names = result.model.graph.node.map((node) => node.name);
    for (const layer of ['stem', 'block', 'fc', 'join', 'pool']) expect(names).toContain(layer);
    const inner = result.model.graph.node.flatMap((node) => [...node.input, ...node.output]);
    expect(Math.max(...inner.map((name) => name.length))).toBe(2);
    const outputOf = (of: Model | undefined, name: string) => of?.graph.node.find((n) => n.name === name)?.output[0];
    expect(outputOf(result.twin, 'block')).toBe(outputOf(result.model, 'block'));
    await expectSame(twin as Model, result.twin as Model);
    const kept = await encode(model, { names: 'keep' }, { twin: twin as Model });
    expect(outputOf(kept.model, 'block')).toBe('block_out');
    expect(kept.twin).toBeUndefined();
    await expectSame(model, kept.model);
  });

  it('stores a pruned float model sparse and computes the same', async () => {
    const model = pruned(convNet(), 0.8);
    const { model: packed, changed } = await encode(model);
    await expectSame(model, packed);
    // A fifth of 4 bytes and a bit each, against 4 bytes.
    expect(bytes(packed)).toBeLessThan(0.3 * bytes(model));
    expect(changed[0]?.text).toContain('% zeros as a bitmask');
    expect((await encode(convNet())).skipped.map((note) => note.layer).sort()).toEqual(['block', 'fc', 'stem']);
  });

  it('packs the folded INT4 weights of a weight-only model further, and leaves those of MatMulNBits', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 32, 6, 6])],
      outputs: [makeValue('y', 'float32', ['N', 128, 6, 64])],
      initializers: [weight('c.weight', [128, 32, 3, 3], 1), weight('m.weight', [6, 64], 2)],
      nodes: [
        makeNode('Conv', ['x', 'c.weight'], ['c'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }, { name: 'c' }),
        makeNode('MatMul', ['c', 'm.weight'], ['y'], {}, { name: 'm' }),
      ],
    });
    const given = { calibration: [{ x: floats(noise(3, 1152), [1, 32, 6, 6]) }], reference: model };
    const only = await weightsOnlyQuantizer.apply(
      model,
      weightsOnlyQuantizer.options.parse({ bits_weights: 4 }),
      testContext(given),
    );
    const { model: packed, changed, skipped } = await encode(only.model);
    expect(changed.map((note) => note.layer)).toEqual(['c']);
    expect(skipped.find((note) => note.layer === 'm')?.text).toContain('int4 stays as it is');
    expect(bytes(packed)).toBeLessThan(bytes(only.model));
    await expectSame(only.model, packed, { x: floats(noise(4, 1152), [1, 32, 6, 6]) });
  });

  it('raises the operator set where INT4 is worth it, never beyond max_opset', async () => {
    const { model } = await quantized({ bits_weights: 4 });
    const cast = await encode(model, { forms: ['cast'] });
    expect(opset(cast.model)).toBe(21);
    expect(cast.notes?.[0]).toBe('raised to opset 21');
    await expectSame(model, cast.model);
    const old = await encode(model, { forms: ['cast'], max_opset: 13 });
    expect(opset(old.model)).toBe(13);
    expect(old.changed).toEqual([]);
    const bits = await encode(model);
    expect(opset(bits.model)).toBe(13);
  });

  it('reads models older than the operators that decode', async () => {
    const model = pruned(convNet(11), 0.8);
    const { model: packed } = await encode(model);
    expect(opset(packed)).toBe(13);
    await expectSame(model, packed);
  });

  it('takes INT4 alone where decoding may take no memory', async () => {
    const { model } = await quantized({ bits_weights: 4 });
    const { changed } = await encode(model, { load_memory: 0 });
    expect(changed).toHaveLength(3);
    for (const { text } of changed) expect(text).toContain('INT4');
  });

  it('leaves what can be replaced or is an output, and says so', async () => {
    const model = edit(pruned(convNet(), 0.9), (draft) => {
      draft.addOutput(makeValue('block.weight', 'float32', [64, 64, 3, 3]));
    });
    const listed = {
      ...model,
      graph: { ...model.graph, input: [...model.graph.input, makeValue('stem.weight', 'float32', [64, 3, 3, 3])] },
    };
    const { skipped, changed } = await encode(
      makeModel({
        inputs: listed.graph.input,
        outputs: model.graph.output,
        nodes: model.graph.node,
        initializers: model.graph.initializer,
        opset: 13,
      }),
    );
    expect(skipped.map((note) => note.text)).toEqual([
      'stem.weight: it is listed as a graph input, so a user may replace it',
      'block.weight: it is an output of the model',
    ]);
    expect(changed.map((note) => note.layer)).toEqual(['fc']);
  });

  it('leaves a tensor that onnxruntime would decode to something else', async () => {
    const { model } = await quantized({ bits_weights: 4 });
    const wrong: PassContext['compute'] = async (graph) =>
      Object.fromEntries(
        graph.graph.output.map(({ name }) => [name, { type: 'int8', dims: [1], data: new Int8Array(1) }]),
      );
    const { model: same, changed, skipped } = await encode(model, {}, { compute: wrong });
    expect(changed).toEqual([]);
    expect(skipped).toHaveLength(3);
    expect(skipped[0]?.text).toContain('to other values');
    await expectSame(model, same);
    expect([...initializers(same.graph).values()].some((tensor) => tensor.dims.length === 4)).toBe(true);
  });

  it('removes documentation and shares equal constants', async () => {
    const { model } = await quantized({ bits_weights: 4 });
    const talking = makeModel({
      inputs: model.graph.input,
      outputs: model.graph.output,
      initializers: model.graph.initializer,
      nodes: model.graph.node.map((node) => NodeCodec.amend(node, { doc_string: 'a stack trace '.repeat(20) })),
      opset: opset(model),
    });
    const { model: packed } = await encode(talking);
    expect(bytes(packed)).toBe(bytes((await encode(model)).model));
    const counts = new Set(
      packed.graph.initializer.map((t) => `${t.data_type} ${dimsOf(t).join()} ${bytesOf(t.raw_data).join()}`),
    );
    expect(counts.size).toBe(packed.graph.initializer.length);
  });
});
