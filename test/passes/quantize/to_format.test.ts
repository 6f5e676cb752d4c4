import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import type { NodeProto } from '../../../src/graph/proto.ts';
import { initializers, opset } from '../../../src/graph/query.ts';
import { typeOf } from '../../../src/graph/tensor.ts';
import { sqnr } from '../../../src/numerics/error.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { formats } from '../../../src/numerics/formats/index.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';

const images = { x: floats(noise(1, 8 * 192), [8, 3, 8, 8]) };
const float = smallConvNet();
const quantized = (options: object, memory = new Map<string, unknown>()) =>
  formatQuantizer.apply(
    float,
    { ...formatQuantizer.options.parse({}), ...options },
    testContext({ calibration: [images], reference: float, memory }),
  );

describe('FormatQuantizer', () => {
  it.each([
    ['fp8_e4m3', 'float8e4m3fn'],
    ['fp8_e5m2', 'float8e5m2'],
  ])('stores %s as %s where asked to, and onnxruntime reads the same weights at both levels', async (name, type) => {
    const format = writtenFormat.parse(name);
    const [codes, own] = [await quantized({ format }), await quantized({ format, storage: 'onnx' })];
    const types = [...initializers(own.model.graph).values()].map(typeOf);
    expect(types.filter((one) => one === type)).toHaveLength(4);
    expect([...initializers(codes.model.graph).values()].map(typeOf)).not.toContain(type);
    expect(opset(own.model)).toBeGreaterThanOrEqual(19);
    for (const level of ['disabled', 'all'] as const)
      expect((await runModel(own.model, images, level)).y).toEqual((await runModel(codes.model, images, level)).y);
  });

  it('stores what ONNX has no type for as codes, whatever is asked', async () => {
    for (const name of ['fp4_e2m1', 'minifloat']) {
      const { model } = await quantized({ format: writtenFormat.parse(name), storage: 'onnx' });
      expect([...initializers(model.graph).values()].some((one) => /float[48]e/.test(typeOf(one)))).toBe(false);
    }
  });

  it('fits weights once for the same model, with and without activations', async () => {
    let fits = 0;
    const int4 = writtenFormat.parse('int4');
    const format = { ...int4, fit: (...given: Parameters<typeof int4.fit>) => (fits++, int4.fit(...given)) };
    const memory = new Map<string, unknown>();
    const first = await quantized({ format }, memory);
    const once = fits;
    const second = await quantized({ format, activations: writtenFormat.parse('int8') }, memory);
    expect(once).toBeGreaterThan(0);
    expect(fits).toBe(once);
    const weights = (result: typeof first) => result.changed.filter(({ text }) => text.startsWith('weights'));
    expect(weights(second)).toEqual(weights(first));
    // Other options are another fit.
    await quantized({ format, importance: 'inputs' }, memory);
    expect(fits).toBeGreaterThan(once);
  });
});

describe('a table that is looked up and read in float too', () => {
  const table = weight('t', [50, 16], 1);
  const model = (others: readonly NodeProto[], outputs: readonly string[]) =>
    makeModel({
      inputs: [makeValue('i', 'int64', ['N'])],
      outputs: outputs.map((name) => makeValue(name, 'float32')),
      nodes: [makeNode('Gather', ['t', 'i'], ['g'], {}, { name: 'look' }), makeNode('MatMul', ['g', 'w'], ['y'], {}, { name: 'fc' }), ...others],
      initializers: [table, weight('w', [16, 4], 2)],
    }); // prettier-ignore
  const held = async (float: Model) => formatQuantizer.apply(float, formatQuantizer.options.parse({ format: 'int4' }), testContext({ reference: float })); // prettier-ignore

  it.each([
    ['another node', [makeNode('ReduceSum', ['t'], ['s'], {}, { name: 'sum' })], ['y', 's'], 'read by "sum" too, which takes it in float'],
    ['the output', [], ['y', 't'], 'an output of the model too, in float'],
  ])('by %s is stored once', async (_, others, outputs, why) => {
    const float = model(others, outputs);
    const { model: got, changed, skipped } = await held(float);
    expect(changed.map(({ layer }) => layer)).toEqual(['fc']);
    expect(skipped).toEqual([{ layer: 'look', text: `its table is ${why}` }]);
    expect(encodeModel(got).length).toBeLessThan(encodeModel(float).length + 400);
  }); // prettier-ignore

  it('is held where all that read it are', async () => {
    const { model: got, changed } = await held(model([makeNode('Gather', ['t', 'i'], ['h'], {}, { name: 'again' })], ['y', 'h'])); // prettier-ignore
    expect(changed.map(({ layer }) => layer).sort()).toEqual(['again', 'fc', 'look']);
    expect(initializers(got.graph).get('t')).toBeUndefined();
  });
});

describe('FormatQuantizer’s strength', () => {
  const strength = formatQuantizer.strength!;
  const settings = (options: object): string[] => {
    const parsed = formatQuantizer.options.parse(options);
    return strength.levels!(parsed).map((t) => strength.describe(strength.at(parsed, t)));
  };

  it('is weakened step by step by the option that makes its format finer', () => {
    expect(settings({ format: 'codebook:bits=6' })).toEqual(
      ['codebook:bits=6', 'codebook:bits=7', 'codebook:bits=8'].map((label) => `weights ${label}, activations float`),
    );
    expect(settings({ format: 'shiftcnn:terms=3' })[1]).toMatch(/^weights shiftcnn:terms=4,/);
    expect(settings({ format: 'minifloat:exponent=4,mantissa=6' })[1]).toMatch(/^weights minifloat:mantissa=7,/);
    expect(settings({ format: 'int2' })).toHaveLength(15);
    // Both, each as far as it goes.
    expect(settings({ format: 'shiftcnn:terms=3', activations: 'int:bits=14,scale=max' })).toEqual([
      'weights shiftcnn:terms=3, activations int:bits=14,scale=max',
      'weights shiftcnn:terms=4, activations int:bits=15,scale=max',
      'weights shiftcnn:terms=4, activations int:bits=16,scale=max',
    ]);
  });

  it('has one setting where the format has no such option', () => {
    for (const format of ['ternary', 'nf4', 'mxfp4', 'fp8_e4m3', 'binary'])
      expect(settings({ format })).toEqual([`weights ${format}, activations float`]);
  });

  it('gives less error with every step, for every format that has some', () => {
    for (const { name } of formats) {
      const first = writtenFormat.parse(name);
      const next = first.finer();
      if (first.notWeights !== undefined || next === undefined) continue;
      const rows = { data: noise(3, 4 * 256), rows: 4, columns: 256, kernel: [] };
      const [coarse, fine] = [first, next].map((one) => sqnr(rows.data, formatCodes(one, rows, {}).values));
      // Powers of two gain smaller ones, of which few weights need any; ABC-Net's factors are fitted to each other.
      expect([name, fine! > coarse! - 0.2]).toEqual([name, true]);
    }
  });
});
