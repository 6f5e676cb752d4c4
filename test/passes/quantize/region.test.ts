import { coverage } from '../../../src/analyze/coverage.ts';
import type { AttributeValue } from '../../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { TensorProto } from '../../../src/graph/proto.ts';
import type { Shapes } from '../../../src/graph/shapes.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { kernelLayers, quantizedRegion } from '../../../src/passes/quantize/region.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const pool = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
const attributes: Readonly<Record<string, Readonly<Record<string, AttributeValue>>>> = {
  MaxPool: pool,
  Concat: { axis: 0 },
  Split: { axis: 2 },
  Transpose: { perm: [0, 1, 3, 2] },
};
const one = (name: string, value: number): TensorProto => makeTensor(name, 'float32', [], Float32Array.of(value));
const constants: Readonly<Record<string, TensorProto>> = {
  ...{ w: weight('w', [4, 4, 1, 1], 1), v: weight('v', [4, 4, 1, 1], 2), k: weight('k', [1, 4, 1, 1], 3) },
  ...{ m: weight('m', [6, 6], 4), b: weight('b', [6], 5), lo: one('lo', 0), hi: one('hi', 1.5) },
  ...{ oblong: weight('oblong', [6, 3], 10), b3: weight('b3', [3], 11) },
  ...{ half: makeTensor('half', 'float16', [6, 6], new Uint16Array(36)), vector: weight('vector', [6], 6) },
  ...{ none: makeTensor('none', 'float32', [6, 0], new Float32Array(0)), input: weight('input', [1, 4, 6, 6], 7) },
  ...{ b1: weight('b1', [1], 8), bb: weight('bb', [6, 6], 9), codes: makeTensor('codes', 'int8', [6, 6], new Int8Array(36)) }, // prettier-ignore
};

/** A model of lines as `c = Conv x w`: input x, constants as above, output the last value, or those named after `→`. */
function graph(text: string, more: Readonly<Record<string, Readonly<Record<string, AttributeValue>>>> = {}): Model {
  const [body = '', outputs] = text.split(' → ');
  const lines = body.split('; ').map((line) => line.split(' = ') as [string, string]);
  const nodes = lines.map(([names, call]) => {
    const [op = '', ...inputs] = call.split(' ');
    const made = names.split(' ');
    return makeNode(op, inputs.map((name) => (name === '_' ? '' : name)), made, { ...attributes[op], ...more[op] }, { name: `${made[0]}!` }); // prettier-ignore
  });
  const used = new Set(nodes.flatMap((node) => node.input));
  return makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', [1, 4, 6, 6])],
    outputs: (outputs ?? lines.at(-1)![0]).split(' ').map((name) => makeValue(name, 'float32')),
    initializers: Object.entries(constants).flatMap(([name, tensor]) => (used.has(name) ? [tensor] : [])),
    nodes,
  });
}
const unknown: Shapes = new Map();
const any = (): undefined => undefined;

/** The region as text: its nodes by output, then its values: `=` whose scale, bounds, `?` not made in integer, `!` guarded; constants in brackets. */
function drawn(model: Model): string {
  const { nodes, values, constants: held } = quantizedRegion(model, unknown, any);
  const texts = [...values].map(
    ([name, { root, clip, integer, guarded }]) =>
    [name, root === name ? '' : `=${root}`, clip ? `[${clip.min},${clip.max}]` : '', integer ? '' : '?', guarded ? '!' : ''].join(''), // prettier-ignore
  );
  const made = [...nodes.keys()].map((node) => node.output[0]).join(' ');
  return `${made} | ${texts.join(' ')}${held.size > 0 ? ` (${[...held].join(' ')})` : ''}`;
}

// Every graph, and what of it is to be quantized, by the rules of docs/passes/quantize.md.
const cases: readonly (readonly [string, string])[] = [
  // Kernels alone: a Conv needs its output quantized, Gemm and MatMul do not.
  ['y = Conv x w', 'y | x? y'],
  ['y = Gemm x m b', 'y | x?'],
  ['y = MatMul x m', 'y | x?'],
  ['c = Conv x w; y = Conv c v', 'c y | x? c y'],
  ['g = MatMul x m; y = MatMul g m', 'g y | x? g'],
  // Relu and Clip disappear into the quantization behind them.
  ['c = Conv x w; y = Relu c', 'c y | x? y[0,Infinity]'],
  ['c = Conv x w; y = Clip c lo hi', 'c y | x? y[0,1.5]'],
  ['c = Conv x w; y = Clip c _ hi', 'c y | x? y[-Infinity,1.5]'],
  ['c = Conv x w; y = Clip c lo', 'c y | x? y[0,Infinity]'],
  ['g = MatMul x m; y = Relu g', 'g y | x?'],
  ['g = MatMul x m; r = Relu g; y = MatMul r m', 'g r y | x? r[0,Infinity]'],
  ['c = Conv x w; d = Conv x v; a = Add c d; r = Relu a; y = Conv r v', 'c d a r y | x? c d r[0,Infinity] y'],
  // But not where something else reads what stands before them, or where that only moves or bounds numbers.
  ['c = Conv x w; r = Relu c; y = Conv r v → c y', 'c r y | x? c r[0,Infinity] y'],
  ['c = Conv x w; r = Relu c; z = Neg c; y = Conv r v → y z', 'c r y | x? c r[0,Infinity] y'],
  ['c = Conv x w; r = Relu c; z = Neg c → r z', 'c | x? c'],
  ['c = Conv x w; p = MaxPool c; r = Relu p; y = Conv r v', 'c p r y | x? c p=c r[0,Infinity] y'],
  ['c = Conv x w; r = Relu c; q = Clip r lo hi; y = Conv q v', 'c r q y | x? r[0,Infinity] q[0,1.5] y'],
  ['r = Relu x; y = Conv r w', 'y | r? y'],
  // What moves numbers takes their scale and their bounds, from integers to a kernel only.
  ['c = Conv x w; p = MaxPool c; y = Conv p v', 'c p y | x? c p=c y'],
  ['c = Conv x w; r = Clip c lo hi; p = MaxPool r; q = Transpose p; y = Conv q v', 'c r p q y | x? r[0,1.5] p=r[0,1.5] q=r[0,1.5] y'], // prettier-ignore
  ['p = MaxPool x; y = Conv p w', 'y | p? y'],
  ['c = Conv x w; y = MaxPool c', 'c | x? c'],
  ['c = Conv x w; p = MaxPool c; y = Neg p', 'c | x? c'],
  // What has a kernel of its own needs one input from integers.
  ['c = Conv x w; s = Sigmoid c; t = Mul c s; y = Conv t v', 'c s t y | x? c s t y'],
  ['c = Conv x w; n = Neg x; a = Add c n; y = Conv a v', 'c a y | x? c n? a y'],
  ['c = Conv x w; n = Neg x; a = Concat n c n; y = Conv a v', 'c a y | x? c n? a y'],
  ['n = Neg x; a = Add n n; y = Conv a v', 'y | a? y'],
  ['c = Conv x w; y = Sigmoid c', 'c | x? c'],
  ['c = Conv x w; s = Sigmoid c; y = LeakyRelu s', 'c | x? c'],
  ['c = Conv x w; a = Add c k; y = Conv a v', 'c a y | x? c a y (k)'],
  ['c = Conv x w; a = Mul k c; y = Conv a v', 'c a y | x? c a y (k)'],
  ['c = Conv x w; y = Add c k', 'c | x? c'],
  // A float layer with stored weights between quantized values is guarded, through moves and bounds.
  ['c = Conv x w; t = ConvTranspose c w; y = Conv t v', 'c y | x? c t?! y'],
  ['c = Conv x w; p = MaxPool c; t = ConvTranspose p w; r = Relu t; q = MaxPool r; y = Conv q v', 'c y | x? c q?! y'],
  ['c = Conv x w; t = ConvTranspose c w; r = Clip t lo hi; y = Conv r v', 'c y | x? c r?! y'],
  ['t = ConvTranspose x w; y = Conv t v', 'y | t? y'],
  ['c = Conv x w; n = Neg c; t = ConvTranspose n w; y = Conv t v', 'c y | x? c t? y'],
  ['c = Conv x w; t = ConvTranspose c w; n = Neg t; y = Conv n v', 'c y | x? c n? y'],
  ['c = Conv x w; n = Neg w; t = ConvTranspose c n; y = Conv t v', 'c y | x? c t? y'],
];

describe('quantizedRegion', () => {
  it.each(cases)('%s', (text, region) => {
    expect(drawn(graph(text))).toBe(region);
  });

  it('takes each output of a node that moves', () => {
    const text = 'c = Conv x w; p q = Split c; d = Conv p v; y = Conv q v → d y';
    expect(drawn(graph(text))).toBe('c p d y | x? c p=c q=c d y');
    expect(drawn(graph('c = Conv x w; s = Sigmoid c; p q = Split s; y = Conv q v → p y'))).toBe(
      'c s p y | x? c s p=s q=s y',
    );
    // One of them leads to a kernel: then both are of the same numbers.
    expect(drawn(graph('c = Conv x w; p q = Split c; y = Conv q v → p y'))).toBe('c p y | x? c p=c q=c y');
  });

  it('reads the bounds of an old Clip from its attributes', () => {
    const model = graph('c = Conv x w; y = Clip c', { Clip: { min: { float: -0.5 }, max: { float: 2 } } });
    expect(drawn(model)).toBe('c y | x? y[-0.5,2]');
    expect(drawn(graph('c = Conv x w; y = Clip c'))).toBe('c y | x? y[-Infinity,Infinity]');
  });

  it('does not take a Clip whose bounds are computed', () => {
    const { nodes } = quantizedRegion(graph('l = Neg lo; c = Conv x w; r = Clip c l hi; y = Conv r v'), unknown, any);
    expect([...nodes.keys()].map(({ op_type }) => op_type)).toEqual(['Conv', 'Conv']);
    const upper = quantizedRegion(graph('l = Neg lo; c = Conv x w; r = Clip c lo l; y = Conv r v'), unknown, any);
    expect(upper.nodes.size).toBe(2);
  });

  const float16: Shapes = new Map([['y', { type: 'float16', dims: [1] }]]);
  it.each<[string, RegExp | undefined, Parameters<typeof graph>[1]?, Shapes?]>([
    ['y = Conv x w', /float16/, {}, float16],
    ['n = Neg w; y = Conv x n', /computed in the graph \(n\)/],
    ['y = MatMul m x', /on the left/],
    ['y = MatMul x half', /float16/],
    ['y = MatMul x vector', /vector/],
    ['y = MatMul x none', /no elements/],
    ['y = Conv input w', /input is a constant/],
    ['n = Neg b; y = Gemm x m n', /bias is computed in the graph \(n\)/],
    ['y = Gemm x m b', /alpha/, { Gemm: { alpha: { float: 2 } } }],
    ['y = Gemm x m b1', /one number an output/],
    ['y = Gemm x m bb', /one number an output/],
    ['y = ConvTranspose x w', /ConvTranspose/],
    ['y = Conv x w', undefined],
    ['y = Gemm x m b', undefined],
    // No layers: nothing is said of them.
    ['y = Neg x', undefined],
    ['y = Add x k', undefined],
    ['y = Sigmoid x', undefined],
    ['y = Gather codes x', undefined],
    ['y = Neg b', undefined],
    ['y = Neg m', /Neg/],
    ['y = Neg codes', undefined, {}, new Map([['codes', { type: 'int8', dims: [6, 6] }]])],
    // Of [6, 3] the outputs are three, turned six.
    ['y = Gemm x oblong b3', undefined],
    ['y = Gemm x oblong b', /one number an output/],
    ['y = Gemm x oblong b', undefined, { Gemm: { transB: 1 } }],
    ['l = Neg lo; y = Clip x l hi', undefined],
  ])('%s: leaves out %s', (text, why, more = {}, shapes = unknown) => {
    const { skipped, nodes } = quantizedRegion(graph(text, more), shapes, any);
    const own = skipped.filter(({ layer }) => layer === 'y!');
    expect(own).toEqual(why === undefined ? [] : [{ layer: 'y!', text: expect.stringMatching(why) as unknown }]);
    if (why !== undefined) expect(nodes.size).toBe(0);
  });

  it('asks what is wanted before all else, and says it', () => {
    const model = graph('c = Conv x w; n = Neg w; y = Conv c n');
    const { skipped, nodes } = quantizedRegion(model, unknown, ({ name }) =>
      name === 'c!' ? undefined : 'not wanted',
    );
    expect([...nodes.keys()].map(({ name }) => name)).toEqual(['c!']);
    expect(skipped).toContainEqual({ layer: 'y!', text: 'not wanted' });
  });

  it.each([
    ['c = Conv x w; d = Conv c v; y = Conv d w', 'd?!'],
    ['c = Conv x w; d = Gemm c m b; y = Conv d w', 'd?!'],
    ['c = Conv x w; d = MatMul c m; y = Conv d w', 'd?'],
  ])('guards %s, whose second product is to stay in float: %s', (text, wanted) => {
    const { values } = quantizedRegion(graph(text), unknown, ({ name }) => (name === 'd!' ? 'no' : undefined));
    expect(values.get('d')).toMatchObject({ integer: false, guarded: wanted.endsWith('!') });
  });

  it('gives the layers that its kernels multiply by', () => {
    const model = graph('c = Conv x w; t = ConvTranspose c v; n = MatMul t m; y = Gemm n m b');
    const region = quantizedRegion(model, unknown, any);
    expect(kernelLayers(region, layers(model).layers).map(({ name }) => name)).toEqual(['c!', 'n!', 'y!']);
  });
});

// Asked of onnxruntime: what the region says is integer runs so, what it leaves is float, and the numbers stay right.
it.each(cases.filter(([text]) => !/Gemm|Concat/.test(text)))(
  'onnxruntime runs %s as the region says',
  async (text, region) => {
    const model = graph(text);
    const feeds = { x: floats(noise(11, 144), [1, 4, 6, 6]) };
    const options = staticQuantizer.options.parse({ bits_weights: 7 });
    const { model: result } = await staticQuantizer.apply(model, options, testContext({ calibration: [feeds], reference: model })); // prettier-ignore
    for (const level of ['disabled', 'all'] as const) {
      const [float, got] = [await runModel(model, feeds, level), await runModel(result, feeds, level)];
      for (const { name } of model.graph.output)
        // Six roundings to 8 bits in a row at most, 40 dB and more each; a wrong scale leaves less than 15.
        expect(snr(float[name]?.data as Float32Array, got[name]?.data as Float32Array)).toBeGreaterThan(25);
    }
    const inside = new Set(
      region
        .split(' | ')[0]!
        .split(' ')
        .map((name) => `${name}!`),
    );
    const covered = (await coverage(result)).filter(({ kernel }) => kernel !== 'gone');
    for (const { layer, kernel, op } of covered)
      // What only moves runs on whatever type comes in.
      if (op !== 'MaxPool') expect([layer, kernel]).toEqual([layer, inside.has(layer) ? 'integer' : 'float']);
    expect(covered.length).toBeGreaterThan(0);
  },
);
