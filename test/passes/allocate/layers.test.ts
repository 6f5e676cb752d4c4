import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { floatData } from '../../../src/graph/tensor.ts';
import type { NumberFormat } from '../../../src/numerics/format.ts';
import { plannedFormat, plannedLayers } from '../../../src/passes/allocate/layers.ts';
import { given } from '../../../src/util/must.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';

const free = { widths: null, first: null, last: null, limits: {}, together: [] as string[], scales: 'mse' } as const;
type Rules = Partial<Parameters<typeof plannedLayers>[2]>;
const calibration = [{ x: floats(noise(1, 192), [1, 3, 8, 8]) }];
const planned = async (rules: Rules = {}, model: Model = smallConvNet(), feeds = calibration) => {
  const shapes = await testContext({ calibration: feeds }).shapes(model);
  return plannedLayers(model, shapes, { ...free, quantizer: 'PostTrainLinearQuantizer', ...rules });
};
const widthsOf = async (rules: Rules, model?: Model) =>
  Object.fromEntries((await planned(rules, model)).layers.map(({ nodes, widths }) => [nodes.join('+'), widths]));
const rulesOf = async (rules: Rules, model?: Model) =>
  Object.fromEntries((await planned(rules, model)).layers.map(({ nodes, rule }) => [nodes.join('+'), rule]));
/** fc once more, behind everything. */
const tied = (): Model =>
  edit(smallConvNet(), (draft) => {
    draft.addNode(makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y2'], { transB: 1 }, { name: 'fc2' }));
    draft.addOutput(makeValue('y2', 'float32', ['N', 5]));
  });
const wholes = [2, 3, 4, 5, 6, 7, 8];

describe('the layers of a plan', () => {
  it('are those on integer kernels, with what they hold and do', async () => {
    const { layers, skipped } = await planned();
    expect(layers.map(({ name, nodes, parameters, macs, rule }) => [name, nodes, parameters, macs, rule])).toEqual([
      ['conv1', ['conv1'], 216, 64 * 216, ''],
      ['conv2', ['conv2'], 576, 64 * 576, ''],
      ['dw', ['dw'], 72, 16 * 72, ''],
      ['fc', ['fc'], 40, 40, ''],
    ]);
    for (const { widths, curve } of layers) expect([widths, curve]).toEqual([wholes, undefined]);
    expect(skipped).toEqual([]);
  });

  it('may have the widths that are asked for, once each and rising', async () => {
    expect(await widthsOf({ widths: [8, 4, 4, 2] })).toMatchObject({ conv1: [2, 4, 8], fc: [2, 4, 8] });
    expect(await rulesOf({ widths: [8, 4, 4, 2] })).toMatchObject({ conv1: '', fc: '' });
  });

  it('keep within limits, the first pattern that matches one', async () => {
    const limits = { dw: { min: 3, max: 4 }, '/conv/': { min: 2, max: 8 }, '/.*/': { min: 7, max: 8 } };
    expect(await widthsOf({ limits })).toEqual({ conv1: wholes, conv2: wholes, dw: [3, 4], fc: [7, 8] });
    // A limit that takes nothing away is no rule.
    expect(await rulesOf({ limits })).toEqual({
      conv1: '',
      conv2: '',
      dw: 'limited to 3 … 4 bits',
      fc: 'limited to 7 … 8 bits',
    });
  });

  it('hold no more bits a code than there may be, at the ends too', async () => {
    const most = { most_bits: 7, widths: [4, 8], first: 8, last: 2 };
    expect(await widthsOf(most)).toEqual({ conv1: [7], conv2: [4], dw: [4], fc: [2] });
    expect((await rulesOf(most))['dw']).toBe('at most 7 bits');
    const { layers } = await planned({ most_bits: 7, scales: 'coded' });
    for (const layer of layers) {
      const format = plannedFormat(layer, 8) as Extract<NumberFormat, { kind: 'coded' }>;
      const values = floatData(given(layer.weights[0], 'a weight').weight.tensor);
      // The largest code is 63: with float32's rounding of the step, and no finer than that.
      expect(values.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / format.step).toBeCloseTo(63, 4);
    }
  });

  it('have a width of their own at the ends, whatever is free to others', async () => {
    const rules = { widths: [2, 3], first: 8, last: 6, limits: { fc: { min: 2, max: 2 } } };
    expect(await widthsOf(rules)).toEqual({ conv1: [8], conv2: [2, 3], dw: [2, 3], fc: [6] });
    expect(await rulesOf(rules)).toEqual({
      conv1: 'first layer',
      conv2: '',
      dw: '',
      fc: 'limited to 2 … 2 bits; last layer',
    });
  });

  it('are one where a weight or a pattern ties them, and those that are tied to these', async () => {
    const both = await planned({ together: ['/conv1|fc2/', 'dw'] }, tied());
    expect(both.layers.map(({ name, nodes, parameters, macs, rule }) => [name, nodes, parameters, macs, rule])).toEqual(
      [
        ['conv1', ['conv1', 'fc', 'fc2'], 256, 64 * 216 + 80, 'shares fc.weight; together: /conv1|fc2/'],
        ['conv2', ['conv2'], 576, 64 * 576, ''],
        ['dw', ['dw'], 72, 16 * 72, ''],
      ],
    );
    // The shared tensor is one of two.
    expect(both.layers[0]?.weights.map(({ weight }) => weight.tensor.name)).toEqual(['conv1.weight', 'fc.weight']);
    expect(await rulesOf({ together: ['/conv/'] })).toMatchObject({ 'conv1+conv2': 'together: /conv/' });
    // Together with what is first or last, or limited, is to be so too.
    expect(await widthsOf({ together: ['/conv1|dw/'], first: 7 })).toMatchObject({ 'conv1+dw': [7] });
    expect(await widthsOf({ together: ['/conv1|dw/'], limits: { dw: { min: 3, max: 4 } } })).toMatchObject({
      'conv1+dw': [3, 4],
    });
  });

  it('count no multiply-accumulates where these are not known, and are those of the quantizer named', () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [1, 64])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [64, 8], 1), weight('t', [8, 8, 1], 2)],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['m'], {}, { name: 'm' }),
        makeNode('ConvTranspose', ['m', 't'], ['y'], {}, { name: 't' }),
      ],
    });
    const of = (quantizer: 'WeightOnlyQuantizer' | 'PostTrainLinearQuantizer') =>
      plannedLayers(model, new Map(), { ...free, quantizer }).layers.map(({ name, macs }) => [name, macs]);
    // onnxruntime has no integer kernel for ConvTranspose, but its weights can be stored in few bits.
    expect(of('WeightOnlyQuantizer')).toEqual([
      ['m', 0],
      ['t', 0],
    ]);
    expect(of('PostTrainLinearQuantizer')).toEqual([['m', 0]]);
  });

  it('have what the weight-only quantizer stores where that is to follow', async () => {
    const quantizer = 'WeightOnlyQuantizer' as const;
    expect(await widthsOf({ quantizer, together: [], widths: null })).toMatchObject({ fc: [2, 4, 8] });
    expect(await rulesOf({ quantizer })).toMatchObject({ fc: 'stored in 2, 4 or 8 bits' });
    expect(await rulesOf({ quantizer, widths: [4, 8] })).toMatchObject({ fc: '' });
    await expect(planned({ quantizer, widths: [3] })).rejects.toMatchObject({
      code: 'schedule',
      message: expect.stringContaining('no width is left') as string,
      hint: 'widths 3; stored in 2, 4 or 8 bits',
    });
    await expect(planned({ quantizer, scales: 'coded' })).rejects.toMatchObject({
      code: 'schedule',
      message: 'scales: coded needs the static quantizer',
      hint: expect.stringContaining('scales: mse') as string,
    });
  });

  it('name the layer and the rules where nothing is left', async () => {
    const limits = { '/dw|fc/': { min: 4, max: 8 } };
    await expect(planned({ widths: [2, 3], limits, together: ['/dw|fc/'] })).rejects.toMatchObject({
      at: 'dw',
      hint: 'widths 2, 3; together: /dw|fc/; limited to 4 … 8 bits',
    });
  });

  it('have whole numbers of 2 and more, unless their steps are coded', async () => {
    for (const widths of [[2.5], [4, 1]])
      await expect(planned({ widths })).rejects.toMatchObject({
        at: 'conv1',
        code: 'schedule',
        message: `a width of ${widths.at(-1)} bits is none that integers have`,
        hint: expect.stringContaining('scales: coded') as string,
      });
    expect(await widthsOf({ widths: [2.5, 1], scales: 'coded' })).toMatchObject({ conv1: [1, 2.5] });
    const { layers } = await planned({ scales: 'coded' });
    expect(layers[0]?.widths.slice(0, 3)).toEqual([0.5, 0.75, 1]);
    expect([layers[0]?.widths.length, layers[0]?.widths.at(-1)]).toEqual([31, 8]);
    const [conv1] = layers;
    // A bit more halves the step where steps are fine.
    const [six, seven] = [6, 7].map((bits) => plannedFormat(conv1 as NonNullable<typeof conv1>, bits));
    expect(six).toMatchObject({ kind: 'coded', bits: 6 });
    const ratio = six?.kind === 'coded' && seven?.kind === 'coded' ? six.step / seven.step : NaN;
    expect(ratio).toBeGreaterThan(1.5);
    const [plain] = (await planned()).layers;
    expect(plannedFormat(plain as NonNullable<typeof plain>, 5)).toMatchObject({
      kind: 'int',
      bits: 5,
      symmetric: true,
    });
  });
});
