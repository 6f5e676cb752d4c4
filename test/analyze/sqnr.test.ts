import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { layers } from '../../src/graph/layer.ts';
import type { Model } from '../../src/graph/model.ts';
import { analyzeSqnr, type SqnrAnalysis } from '../../src/analyze/sqnr/analyze.ts';
import { injected } from '../../src/analyze/sqnr/sources.ts';
import type { Feeds } from '../../src/data/types.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise, smallConvNet, weight } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';
import { edit } from '../../src/graph/edit.ts';
import type { QuantParams } from '../../src/numerics/format.ts';
import { roundLayer } from '../../src/passes/allocate/rounded.ts';
import { initializers } from '../../src/graph/query.ts';
import { floatData, makeTensor } from '../../src/graph/tensor.ts';

const images = [1, 2, 3, 4].map((seed): Feeds => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) }));
const analyse = (model: Model, calibration = images): Promise<SqnrAnalysis> =>
  analyzeSqnr(testContext({ calibration, reference: model }), model, { samples: 64, scales: 'mse', method: 'minmax' });

const pads = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };

/** Five layers in a row, wide enough that errors average out. */
function chain(): Model {
  const nodes = [0, 1, 2, 3, 4].flatMap((i) => [
    makeNode('Conv', [i === 0 ? 'x' : `r${i - 1}`, `w${i}`], [`c${i}`], pads, { name: `conv${i}` }),
    ...(i < 4 ? [makeNode('Relu', [`c${i}`], [`r${i}`], {}, { name: `relu${i}` })] : []),
  ]);
  return makeModel({
    ...{ opset: 13, ir: 8, nodes },
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('c4', 'float32', ['N', 12, 8, 8])],
    initializers: [0, 1, 2, 3, 4].map((i) =>
      weight(`w${i}`, [12, i === 0 ? 3 : 12, 3, 3], i + 20, i === 0 ? 0.5 : 0.25),
    ),
  });
}

/** Two residual blocks, the second with a depthwise layer. */
function residual(): Model {
  const conv = (name: string, input: string, group = 1) =>
    makeNode('Conv', [input, `${name}.weight`], [name], { ...pads, group }, { name });
  const relu = (input: string, output: string) => makeNode('Relu', [input], [output], {}, { name: output });
  const nodes = [
    conv('stem', 'x'),
    relu('stem', 'r0'),
    conv('a1', 'r0'),
    relu('a1', 'ra'),
    conv('a2', 'ra'),
    makeNode('Add', ['a2', 'r0'], ['s1'], {}, { name: 'add1' }),
    relu('s1', 'r1'),
    conv('b1', 'r1', 12),
    relu('b1', 'rb'),
    conv('b2', 'rb'),
    makeNode('Add', ['b2', 'r1'], ['s2'], {}, { name: 'add2' }),
    conv('head', 's2'),
  ];
  const wide = ['a1', 'a2', 'b2', 'head'].map((name, i) => weight(`${name}.weight`, [12, 12, 3, 3], 40 + i, 0.2));
  return makeModel({
    ...{ opset: 13, ir: 8, nodes },
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('head', 'float32', ['N', 12, 8, 8])],
    initializers: [...wide, weight('stem.weight', [12, 3, 3, 3], 50, 0.5), weight('b1.weight', [12, 1, 3, 3], 51, 0.5)],
  });
}

describe('analyze: the harmonic sum', () => {
  it.each([
    ['a chain', chain()],
    ['residual and depthwise layers', residual()],
  ])('predicts the output SQNR of %s within 2 dB at 4 to 8 bits', async (_, model) => {
    const { compositions } = await analyse(model);
    expect(compositions.map((c) => `${c.weights}×${c.activations}`)).toEqual(
      '4×8 4×4 5×8 5×5 6×8 6×6 7×8 7×7 8×8'.split(' '),
    );
    // Eight bits saturate where a processor has no VNNI, which no sum of roundings foretells.
    for (const { predicted, measured, broken } of compositions.filter(({ weights }) => weights < 8)) {
      expect(Math.abs(predicted - measured)).toBeLessThan(2);
      expect(broken).toEqual([]);
    }
  });

  it('measures what it says: weight SQNRs, the error at the layer, at the output, gains', async () => {
    const model = smallConvNet();
    const { sources, widths } = await analyse(model);
    const at5 = widths.indexOf(5);
    const conv2 = sources.find((s) => s.name === 'conv2');
    // By hand: conv2 rounded to 5 bits, the outputs of that layer and of the net.
    const own = floatData(initializers(model.graph).get('conv2.weight') as never);
    const layer = { name: 'conv2', weights: layers(model).layers.filter(({ name }) => name === 'conv2') };
    const back = roundLayer(layer as never, 5, 'mse').data[0] as Float32Array;
    expect(conv2?.measured[at5]).toBeCloseTo(snr(own, back), 3);
    const rounded = edit(model, (d) =>
      d.replace('conv2.weight', makeTensor('conv2.weight', 'float32', [8, 8, 3, 3], back)),
    );
    const outputs = async (m: Model, name: string): Promise<Float32Array> => {
      const shown = edit(m, (d) => (name === 'y' ? undefined : d.addOutput(makeValue(name, 'float32'))));
      const parts = await Promise.all(
        images.map(async (feeds) => (await runModel(shown, feeds))[name]?.data as Float32Array),
      );
      return Float32Array.from(parts.flatMap((part) => [...part]));
    };
    expect(conv2?.output?.[at5]).toBeCloseTo(snr(await outputs(model, 'c2'), await outputs(rounded, 'c2')), 2);
    // The gain is a mean over widths; on five outputs behind a pooling the luck of one rounding is a few decibels.
    expect(
      Math.abs((conv2?.atOutput[at5] ?? 0) - snr(await outputs(model, 'y'), await outputs(rounded, 'y'))),
    ).toBeLessThan(4);
  });

  it('has every tensor, κ between the models, activations and weights', async () => {
    const { sources } = await analyse(smallConvNet());
    expect(sources.filter((s) => s.kind === 'weights').map((s) => s.name)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
    expect(sources.filter((s) => s.kind === 'activation').map((s) => s.name)).toContain('x');
    for (const { slope, modelled, measured } of sources) {
      // 4.06 (Laplace, low widths) to 6.02 dB a bit (uniform) is what optimal quantizers have; ternary 2-bit codes start
      // lower than four levels, so that the fit may be steeper.
      expect(slope).toBeGreaterThan(4);
      expect(slope).toBeLessThan(7);
      expect(modelled.uniform[7]).toBeGreaterThan(modelled.gauss[7] as number);
      measured.slice(1).forEach((value, i) => expect(value).toBeGreaterThan(measured[i] as number));
    }
  });

  it('tells a layer from the value of a nameless node that is called alike', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32', ['N', 4, 8, 8])],
      nodes: [
        makeNode('Conv', ['x', 'w0'], ['c0'], pads, { name: 'second' }),
        makeNode('Relu', ['c0'], ['second'], {}, { name: '' }),
        makeNode('Conv', ['second', 'w1'], ['y'], pads, { name: 'third' }),
      ],
      initializers: [weight('w0', [4, 3, 3, 3], 1, 0.5), weight('w1', [4, 4, 3, 3], 2, 0.25)],
    });
    const { sources } = await analyse(model, images.slice(0, 1));
    expect(sources.filter(({ output }) => output !== undefined).map(({ name }) => name)).toEqual(['second', 'third']);
  });

  it('names the layer whose error is no independent noise', async () => {
    // Two copies of one weight, subtracted: each alone adds noise, together their errors are the same and cancel.
    const twins = makeModel({
      ...{ opset: 13, ir: 8 },
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32', ['N', 8, 8, 8])],
      initializers: [
        weight('a', [8, 3, 3, 3], 5),
        weight('b', [8, 3, 3, 3], 5),
        weight('c', [8, 3, 3, 3], 9, 0.02),
        weight('m', [1, 1], 3),
      ],
      nodes: [
        makeNode('Conv', ['x', 'a'], ['ya'], pads, { name: 'first' }),
        makeNode('Conv', ['x', 'b'], ['yb'], pads, { name: 'second' }),
        makeNode('Conv', ['x', 'c'], ['yc'], pads, { name: 'small' }),
        makeNode('Sub', ['ya', 'yb'], ['difference'], {}, { name: 'sub' }),
        makeNode('Add', ['difference', 'yc'], ['y'], {}, { name: 'add' }),
      ],
    });
    const { compositions } = await analyse(twins);
    const [four] = compositions;
    expect(Math.abs((four?.predicted ?? 0) - (four?.measured ?? 0))).toBeGreaterThan(2);
    expect(
      four?.broken
        .slice(0, 2)
        .map((n) => n.layer)
        .sort(),
    ).toEqual(['first (weights)', 'second (weights)']);
    // Added with their signs the two errors cancel, as they do in the quantized model.
    expect(Math.abs((four?.firstOrder ?? 0) - (four?.measured ?? 0))).toBeLessThan(1);
    expect(four?.why).toMatch(/^errors of several tensors cancel: added with their signs they give -?[\d.]+ dB$/);
    expect(four?.broken[0]?.text).toMatch(/adds -?\d+ % of the output's noise where the sum has -?\d+ %/);
  });

  it('adds errors of two tensors with their signs, to first order', async () => {
    // y = a·x − b·x without a Relu: the first order is exact, and the difference of the two errors by hand is what is left.
    const linear = makeModel({
      ...{ opset: 13, ir: 8 },
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32', ['N', 8, 8, 8])],
      initializers: [weight('a', [8, 3, 3, 3], 5), weight('b', [8, 3, 3, 3], 6)],
      nodes: [
        makeNode('Conv', ['x', 'a'], ['ya'], pads, { name: 'first' }),
        makeNode('Conv', ['x', 'b'], ['yb'], pads, { name: 'second' }),
        makeNode('Sub', ['ya', 'yb'], ['y'], {}, { name: 'sub' }),
      ],
    });
    const injections = ['a', 'b'].map((name) => {
      const layer = {
        name,
        weights: layers(linear).layers.filter(({ weight }) => weight.tensor.name === name),
      } as never;
      return { kind: 'weights' as const, layer, rounded: roundLayer(layer, 4, 'mse') };
    });
    const out = async (model: Model): Promise<Float32Array> =>
      (await runModel(model, images[0] as Feeds))['y']?.data as Float32Array;
    const [float, whole, part] = [
      await out(linear),
      await out(injected(linear, injections)),
      await out(injected(linear, injections, 1 / 64)),
    ];
    const size = (v: Float32Array): number => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
    const error = whole.map((y, i) => y - (float[i] as number));
    const scaled = part.map((y, i) => 64 * (y - (float[i] as number)));
    // 64 × float32's rounding of outputs of a few units.
    expect(size(scaled.map((e, i) => e - (error[i] as number))) / size(error)).toBeLessThan(1e-3);
  });

  it('dampens the error of an activation too, also of one that is an output', async () => {
    const model = smallConvNet();
    const params: QuantParams = {
      format: { kind: 'int', bits: 4, signed: false, symmetric: false },
      granularity: { per: 'tensor' },
      scale: Float32Array.of(0.25),
      zeroPoint: Int32Array.of(8),
    };
    const out = async (m: Model): Promise<Float32Array> =>
      (await runModel(m, images[0] as Feeds))['y']?.data as Float32Array;
    const float = await out(model);
    const injection = { kind: 'activation', value: 'y', params } as const;
    const [whole, part] = [await out(injected(model, [injection])), await out(injected(model, [injection], 0.25))];
    expect(whole).not.toEqual(float);
    float.forEach((y, i) => expect((part[i] as number) - y).toBeCloseTo(((whole[i] as number) - y) / 4, 5));
  });

  it('rounds an input that goes out unchanged too for its readers alone', async () => {
    const x = makeValue('x', 'float32', [2, 3]);
    const model = makeModel({
      inputs: [x],
      outputs: [makeValue('y', 'float32', [2, 3]), x],
      nodes: [makeNode('Neg', ['x'], ['y'])],
    });
    const params: QuantParams = {
      format: { kind: 'int', bits: 8, signed: false, symmetric: false },
      granularity: { per: 'tensor' },
      scale: Float32Array.of(1),
      zeroPoint: Int32Array.of(128),
    };
    const feeds = { x: floats(Float32Array.of(0.2, 0.8, 1.4, -0.7, 3, 0), [2, 3]) };
    const out = await runModel(injected(model, [{ kind: 'activation', value: 'x', params }]), feeds);
    expect(Array.from(out['y']?.data as Float32Array, (v) => -v)).toEqual([0, 1, 1, -1, 3, 0].map((v) => v + 0));
    expect(out['x']?.data).toEqual(feeds.x.data);
  });
});
