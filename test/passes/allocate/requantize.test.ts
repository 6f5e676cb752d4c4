import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, floatData, makeTensor, tensorData, typeOf } from '../../../src/graph/tensor.ts';
import { plannedLayers } from '../../../src/passes/allocate/layers.ts';
import { heldForKernel, requantized } from '../../../src/passes/allocate/requantize.ts';
import type { Plan } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

/** A first channel of weights near zero, whose bias would not fit int32 at their own scale. */
const uneven = (name: string, dims: readonly number[], seed: number) => {
  const tensor = weight(name, dims, seed);
  const each = dims.slice(1).reduce((a, b) => a * b, 1);
  return makeTensor(name, 'float32', dims, floatData(tensor).map((w, i) => (i < each ? w * 1e-9 : w))); // prettier-ignore
};

/** x [N, 2, 4, 4] → Conv with a bias → Gemm with a bias → MatMul without → Gemm whose weight another reads too. */
const net = makeModel({
  opset: 21,
  ir: 10,
  inputs: [makeValue('x', 'float32', ['N', 2, 4, 4])],
  outputs: ['y', 'z'].map((name) => makeValue(name, 'float32')),
  initializers: [
    ...[uneven('conv.weight', [4, 2, 3, 3], 1), weight('conv.bias', [4], 2)],
    ...[weight('gemm.weight', [16, 12], 3, 0.2), weight('gemm.bias', [12], 4)],
    ...[weight('matmul.weight', [12, 8], 5), weight('shared.weight', [4, 8], 6)],
    ...[weight('one.bias', [4], 7), weight('two.bias', [4], 8)],
  ],
  nodes: [
    makeNode('Conv', ['x', 'conv.weight', 'conv.bias'], ['a'], {}, { name: 'conv' }),
    makeNode('Flatten', ['a'], ['b']),
    makeNode('Gemm', ['b', 'gemm.weight', 'gemm.bias'], ['c'], {}, { name: 'gemm' }),
    makeNode('MatMul', ['c', 'matmul.weight'], ['d'], {}, { name: 'matmul' }),
    makeNode('Gemm', ['d', 'shared.weight', 'one.bias'], ['y'], { transB: 1 }, { name: 'one' }),
    makeNode('Gemm', ['d', 'shared.weight', 'two.bias'], ['z'], { transB: 1 }, { name: 'two' }),
  ],
});
const feeds: Feeds = { x: floats(noise(9, 16 * 32), [16, 2, 4, 4]) };
const context = (plan: Plan = new Map()) => testContext({ calibration: [feeds], reference: net, plan });

const quantized = (options: object, plan?: Plan) =>
  staticQuantizer.apply(net, staticQuantizer.options.parse(options), context(plan));
const layersOf = async (twin: Model) =>
  plannedLayers(twin, await context().shapes(twin), {
    ...{ first: null, last: null, limits: {}, together: [], scales: 'mse', widths: null },
    quantizer: 'PostTrainLinearQuantizer',
  }).layers;
const planOf = (widths: Readonly<Record<string, number>>): Plan =>
  new Map(
    Object.entries(widths).map(([name, bits]) => [
      name,
      { weights: { kind: 'int', bits, signed: true, symmetric: true, narrow: true } as const },
    ]),
  );

it.each([
  [true, 'minmax'],
  [true, 'mse'],
  [false, 'minmax'],
  [false, 'mse'],
] as const)(
  'stored anew, layers are what the quantizer would have made (a scale a channel %s, %s)',
  async (per_channel, scales) => {
    const options = { per_channel, weight_scales: scales };
    const { model, twin } = await quantized(options);
    const widths = { conv: 3, gemm: 5, matmul: 2 };
    const layers = (await layersOf(twin!)).filter(({ name }) => name in widths);
    const asked = new Map(layers.map((layer) => [layer, widths[layer.name as keyof typeof widths]]));
    const mine = initializers(requantized(model, asked, scales).graph);
    const theirs = initializers((await quantized(options, planOf(widths))).model.graph);
    const before = initializers(model.graph);
    expect([...mine.keys()]).toEqual([...theirs.keys()]);
    let changed = 0;
    for (const [name, tensor] of theirs) {
      const [own, wanted] = [mine.get(name)!, tensor].map((t) => tensorData(t) as Float32Array);
      expect([name, typeOf(mine.get(name)!), dimsOf(mine.get(name)!)]).toEqual([name, typeOf(tensor), dimsOf(tensor)]);
      // The input's scale is found again as a quotient of float32 scales: a bias may fall on the other side of a half.
      const slack = typeOf(tensor) === 'int32' ? 1 : 1e-6;
      own!.forEach((v, i) => expect(Math.abs(v - wanted![i]!)).toBeLessThanOrEqual(slack * Math.max(1, Math.abs(v))));
      if (String(own) !== String(tensorData(before.get(name)!))) changed++;
    }
    // Codes and scales of three weights and two biases.
    expect(changed).toBe(10);
  },
);

it('keeps what a bias was corrected by', async () => {
  for (const per_channel of [true, false]) {
    const { model, twin } = await quantized({ per_channel });
    const step = floatData(initializers(model.graph).get('gemm.bias_scale')!);
    const stored = tensorData(initializers(model.graph).get('gemm.bias_quantized')!) as Int32Array;
    const moved = edit(model, (draft) => {
      const codes = stored.map((code, c) => code + 1000 * (c + 1));
      draft.replace('gemm.bias_quantized', makeTensor('codes', 'int32', [12], codes));
    });
    const gemm = (await layersOf(twin!)).find(({ name }) => name === 'gemm')!;
    const after = initializers(requantized(moved, new Map([[gemm, 4]]), 'minmax').graph);
    const scale = floatData(after.get('gemm.bias_scale')!);
    const codes = tensorData(after.get('gemm.bias_quantized')!) as Int32Array;
    const bias = floatData(initializers(net.graph).get('gemm.bias')!);
    bias.forEach((b, c) => {
      const at = <T extends ArrayLike<number>>(list: T): number => list[per_channel ? c : 0]!;
      const wanted = b + 1000 * (c + 1) * at(step);
      expect(Math.abs(codes[c]! * at(scale) - wanted)).toBeLessThanOrEqual(at(scale) + at(step));
    });
    // Fewer bits have a coarser step.
    expect(scale[0]).toBeGreaterThan(5 * step[0]!);
  }
});

it('only layers that are held for one integer kernel can be stored anew', async () => {
  const overrides = {
    conv: { bits_weights: null },
    gemm: { bits_activations: null },
    matmul: { bits_activations: null, bits_weights: 4 },
  };
  const heldAt = async (options: object): Promise<string[]> => {
    const { model, twin } = await quantized(options);
    return (await layersOf(twin!)).filter(heldForKernel(model)).map(({ name }) => name);
  };
  expect(await heldAt({})).toEqual(['conv', 'gemm', 'matmul']);
  // A matrix behind DequantizeLinear lies as MatMul reads it, as this Gemm's does; in 8 bits its codes have the same type.
  expect(await heldAt({ overrides })).toEqual(['gemm']);
  expect(await heldAt({ bits_weights: 16 })).toEqual([]);
});

it('weights that are stored turned round, and layers of one width of which one is in float, are not held for kernels', async () => {
  const float = smallConvNet();
  const images: Feeds = { x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) };
  const given = testContext({ calibration: [images], reference: float });
  const heldAt = async (overrides: object, together: string[]): Promise<boolean[]> => {
    const { model, twin } = await staticQuantizer.apply(float, staticQuantizer.options.parse({ overrides }), given);
    const rules = { first: null, last: null, limits: {}, together, scales: 'mse', widths: null } as const;
    const quantizer = 'PostTrainLinearQuantizer';
    return plannedLayers(twin!, await given.shapes(twin!), { ...rules, quantizer }).layers.map(heldForKernel(model));
  };
  expect(await heldAt({ fc: { bits_activations: null } }, [])).toEqual([true, true, true, false]);
  expect(await heldAt({}, ['conv*'])).toEqual([true, true, true]);
  expect(await heldAt({ conv2: { bits_weights: null } }, ['conv*'])).toEqual([false, true, true]);
});

it('computes the same at both levels of optimization, as 7 bits must', async () => {
  const { model, twin } = await quantized({ bits_weights: 7 });
  const layers = (await layersOf(twin!)).filter(heldForKernel(model));
  const result = requantized(model, new Map(layers.map((layer) => [layer, 6])), 'mse');
  const [wanted, plain, fused] = [
    await runModel(net, feeds),
    await runModel(result, feeds, 'disabled'),
    await runModel(result, feeds),
  ];
  for (const output of ['y', 'z']) {
    const at = (run: Feeds) => run[output]!.data as Float32Array;
    expect(snr(at(wanted), at(plain))).toBeGreaterThan(20);
    expect(snr(at(plain), at(fused))).toBeGreaterThan(25);
  }
});
