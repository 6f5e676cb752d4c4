import type { Feeds, Tensor } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { plannedLayers, type PlannedLayer } from '../../../src/passes/allocate/layers.ts';
import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { roundLayer, weightScales, withRounded } from '../../../src/passes/allocate/rounded.ts';
import { rounderFor } from '../../../src/passes/allocate/rounder.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';

const float = smallConvNet();
const images: Feeds[] = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
const context = (given: Partial<PassContext> = {}) => testContext({ calibration: images, ...given });
const rules = { first: null, last: null, limits: {}, together: [] as string[], scales: 'mse', widths: null } as const;
const shapes = await context().shapes(float);
const quantizer = 'PostTrainLinearQuantizer' as const;
const { layers } = plannedLayers(float, shapes, { ...rules, quantizer });
const [conv1, conv2] = layers as [PlannedLayer, PlannedLayer];

describe('rounding a layer', () => {
  it('has the noise of all its tensors together, over all their weights', () => {
    const both = { ...conv1, weights: [...conv1.weights, ...conv2.weights] };
    const { data, noise: ratio } = roundLayer(both, 3, 'mse');
    let [signal, error] = [0, 0];
    both.weights.forEach(({ weight: { tensor } }, i) =>
      floatData(tensor).forEach((w, k) => {
        signal += w ** 2;
        error += (w - (data[i]?.[k] as number)) ** 2;
      }),
    );
    expect(ratio).toBeCloseTo(error / signal, 8);
    // Seven values a channel; the channels of one tensor do not share them.
    const [own] = data as [Float32Array];
    for (let c = 0; c < 8; c++) expect(new Set(own.subarray(27 * c, 27 * c + 27)).size).toBeLessThanOrEqual(7);
    expect(new Set(own).size).toBeGreaterThan(7);
  });

  it('has none where there is no weight but zero', () => {
    const tensor = makeTensor('w', 'float32', [2, 2], new Float32Array(4));
    const [layer] = plannedLayers(
      makeModel({
        inputs: [makeValue('x', 'float32', [1, 2])],
        outputs: [makeValue('y', 'float32')],
        initializers: [tensor],
        nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
      }),
      new Map(),
      { ...rules, quantizer },
    ).layers as [PlannedLayer];
    expect(roundLayer(layer, 4, 'mse').noise).toBe(0);
  });

  it('chooses scales as the quantizer would: by the least error, by the extremes, or one step for all', () => {
    const [mse, minmax] = [roundLayer(conv2, 3, 'mse'), roundLayer(conv2, 3, 'minmax')];
    expect(mse.noise).toBeLessThan(minmax.noise);
    const [largest] = minmax.data.map((d) => Math.max(...d.subarray(0, 72).map(Math.abs)));
    const weights = floatData(conv2.weights[0]?.weight.tensor as never).subarray(0, 72);
    expect(largest).toBeCloseTo(Math.max(...weights.map(Math.abs)), 5);
    expect([weightScales('coded'), weightScales('mse'), weightScales('minmax')]).toEqual(['mse', 'mse', 'minmax']);
    const coded = plannedLayers(float, shapes, { ...rules, scales: 'coded', quantizer }).layers[0] as PlannedLayer;
    const values = [...new Set(roundLayer(coded, 2, 'coded').data[0])].map(Math.abs).sort((a, b) => a - b);
    const step = values.find((v) => v > 0) as number;
    for (const v of values) expect(v / step).toBeCloseTo(Math.round(v / step), 3);
  });
});

describe("rounding by AdaRound's descent", () => {
  const o = { scales: 'mse', rounding: 'descent', samples: 16 } as const;

  it('is to the nearest step where that is asked for', async () => {
    const round = rounderFor(context(), float, { ...o, rounding: 'nearest' });
    expect(await round(conv2, 3)).toEqual(roundLayer(conv2, 3, 'mse'));
  });

  it('loses less at the output of the layer, and nothing in the mean of a channel', async () => {
    const round = rounderFor(context(), float, o);
    const outputs = async (model: Model): Promise<Float32Array[]> => {
      const shown = edit(model, (draft) => draft.addOutput(makeValue('c2', 'float32')));
      const got = await Promise.all(images.map((feeds) => runModel(shown, feeds, 'disabled')));
      return got.map((y) => y['c2']?.data as Float32Array);
    };
    /** Mean of each of 8 channels of 64 places over 16 images, and the squared error against the float layer. */
    const summed = (wanted: Float32Array[], got: Float32Array[]) => {
      const means = new Float64Array(8);
      let error = 0;
      got.forEach((y, b) =>
        y.forEach((v, i) => {
          const difference = v - (wanted[b]?.[i] as number);
          means[Math.floor(i / 64) % 8] = (means[Math.floor(i / 64) % 8] as number) + difference / 1024;
          error += difference ** 2;
        }),
      );
      return { means, error };
    };
    const wanted = await outputs(float);
    for (const bits of [3, 4]) {
      const descended = await round(conv2, bits);
      const nearest = roundLayer(conv2, bits, 'mse');
      const [mine, plain] = [descended, nearest].map((rounded) => withRounded(float, new Map([[conv2, rounded]])));
      const own = summed(wanted, await outputs(mine as Model));
      const other = summed(wanted, await outputs(plain as Model));
      expect(own.error).toBeLessThan(0.8 * other.error);
      // Sums of float32 products.
      for (const mean of own.means) expect(Math.abs(mean)).toBeLessThan(1e-5);
      expect(Math.max(...other.means.map(Math.abs))).toBeGreaterThan(1e-3);
      // The noise is what nearest rounding has: that of the steps, which gains are measured against.
      expect(descended.noise).toBe(nearest.noise);
      expect([...(descended.biases?.keys() ?? [])]).toEqual(['conv2.bias']);
    }
  });

  it('needs no bias, and counts the mean as error where there is none', async () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 16])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [16, 8], 1)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
    });
    // Positive numbers, whose mean is most of them.
    const feeds: Feeds = {
      x: floats(
        noise(1, 32 * 16).map((v) => v + 2),
        [32, 16],
      ),
    };
    const given = testContext({ calibration: [feeds] });
    const [layer] = plannedLayers(model, new Map(), { ...rules, quantizer }).layers as [PlannedLayer];
    const descended = await rounderFor(given, model, o)(layer, 3);
    expect(descended.biases?.size).toBe(0);
    const probe = await openProbe(given, model, 32);
    const noiseOf = (rounded: typeof descended) => probe.noise(withRounded(model, new Map([[layer, rounded]])));
    expect(await noiseOf(descended)).toBeLessThan(0.2 * (await noiseOf(roundLayer(layer, 3, 'mse'))));
  });

  it('holds the moments of one layer at a time, of as many samples as are asked for', async () => {
    const asked: string[] = [];
    const plain = context();
    const given = context({
      capture: (model, values, samples) => (
        asked.push(`${values.join()} ${samples}`),
        plain.capture(model, values, samples)
      ),
    });
    const round = rounderFor(given, float, o);
    for (const [layer, bits] of [
      [conv1, 2],
      [conv1, 3],
      [conv2, 2],
      [conv1, 2],
    ] as const)
      await round(layer, bits);
    expect(asked).toEqual(['x 16', 'r1 16', 'x 16']);
  });

  it('is to the nearest step where the moments of one of the tensors of a width are not known', async () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [2, 4, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [8, 6], 1), weight('v', [2, 6, 4], 2)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['h']), makeNode('MatMul', ['h', 'v'], ['y'])],
    });
    const both = { ...rules, together: ['*'], quantizer: 'WeightOnlyQuantizer' as const };
    const [layer] = plannedLayers(model, new Map(), both).layers as [PlannedLayer];
    expect(layer.weights).toHaveLength(2);
    expect(await rounderFor(context(), model, o)(layer, 4)).toEqual(roundLayer(layer, 4, 'mse'));
  });

  it('is to the nearest step where moments are not known', async () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [2, 4, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [2, 8, 4], 1)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
    });
    const { layers: found } = plannedLayers(model, new Map(), { ...rules, quantizer: 'WeightOnlyQuantizer' });
    const [layer] = found as [PlannedLayer];
    expect(await rounderFor(context(), model, o)(layer, 4)).toEqual(roundLayer(layer, 4, 'mse'));
  });
});

describe('a model with rounded weights', () => {
  it('has them and the biases given, and nothing else', () => {
    const biases = new Map([['conv1.bias', Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)]]);
    const rounded = { ...roundLayer(conv1, 2, 'mse'), biases };
    const [before, after] = [float, withRounded(float, new Map([[conv1, rounded]]))].map((m) => initializers(m.graph));
    for (const [name, tensor] of before as NonNullable<typeof before>) {
      const got = floatData(after?.get(name) as never);
      if (name === 'conv1.weight') expect(got).toEqual(rounded.data[0]);
      else expect(got).toEqual(biases.get(name) ?? floatData(tensor));
    }
  });
});

describe('the error at the outputs', () => {
  const scaled = (...factors: number[]): Model =>
    makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 2]), makeValue('i', 'int64', ['N'])],
      outputs: [...factors.map((_, k) => makeValue(`y${k}`, 'float32')), makeValue('j', 'int64')],
      initializers: factors.map((f, k) => makeTensor(`f${k}`, 'float32', [], Float32Array.of(f))),
      nodes: [...factors.map((_, k) => makeNode('Mul', ['x', `f${k}`], [`y${k}`])), makeNode('Identity', ['i'], ['j'])],
    });
  const feeds = (...values: number[]): Feeds => ({
    x: floats(Float32Array.from(values), [values.length / 2, 2]),
    i: { type: 'int64', dims: [values.length / 2], data: new BigInt64Array(values.length / 2) },
  });

  it('is noise over signal and what lies along the signal, the mean over float outputs', async () => {
    const given = testContext({ calibration: [feeds(1, 2, 3, 4), feeds(5, 6)] });
    const probe = await openProbe(given, scaled(2, 10), 3);
    expect(probe.samples).toBe(3);
    // One output shrinks by a quarter, the other grows by a half: noise 1/16 and 1/4, along 1/4 and −1/2.
    const { noise: ratio, along } = await probe.error(scaled(1.5, 15));
    expect([ratio, along]).toEqual([(1 / 16 + 1 / 4) / 2, (1 / 4 - 1 / 2) / 2]);
    expect(await probe.noise(scaled(1.5, 15))).toBe(ratio);
    expect(await probe.noise(scaled(2, 10))).toBe(0);
    // No more samples than are asked for.
    expect((await openProbe(given, scaled(2, 10), 2)).samples).toBe(2);
    // A constant output of 0 that changes: beyond all bounds, but a number.
    expect(await (await openProbe(given, scaled(0), 3)).noise(scaled(1))).toBeGreaterThan(1e300);
  });

  it('fills a fixed batch up with its last row, and does not count what fills', async () => {
    const fixed = (factor: number): Model => {
      const model = scaled(factor);
      const input = [makeValue('x', 'float32', [4, 2]), makeValue('i', 'int64', [4])];
      return { ...model, graph: { ...model.graph, input } };
    };
    const part = feeds(1, 2, 3, 4, 5, 6);
    const seen: Feeds[] = [];
    const plain = testContext({ calibration: [part] });
    async function* capture(): AsyncGenerator<Feeds> {
      yield await Promise.resolve({
        ...part,
        y0: floats(Float32Array.of(2, 4, 6, 8, 10, 12), [3, 2]),
        j: part['i'] as Tensor,
      });
    }
    const given = testContext({
      capture,
      compute: (model, own) => (seen.push(own), plain.compute(model, own)),
    });
    const probe = await openProbe(given, fixed(2), 3);
    expect(await probe.noise(fixed(1))).toBe(0.25);
    expect(seen[0]?.['x']).toEqual(floats(Float32Array.of(1, 2, 3, 4, 5, 6, 5, 6), [4, 2]));
    expect([seen[0]?.['i']?.dims, seen[0]?.['i']?.data.length]).toEqual([[4], 4]);
  });

  it('keeps as many samples as fit its memory, one batch at least', async () => {
    // 136 MiB of floats in and out: one batch is more than the 128 that are kept.
    const large = { data: new Float32Array(17 * 2 ** 20), dims: [17 * 2 ** 19, 2], type: 'float32' } as const;
    const i: Tensor = { type: 'int64', dims: [1], data: new BigInt64Array(1) };
    async function* capture(): AsyncGenerator<Feeds> {
      for (let k = 0; k < 2; k++) yield await Promise.resolve({ x: large, i, y0: large, j: i });
    }
    expect((await openProbe(testContext({ capture }), scaled(1), 3)).samples).toBe(17 * 2 ** 19);
  });

  it('needs samples, float outputs, and a run that goes on', async () => {
    await expect(openProbe(testContext(), scaled(2), 3)).rejects.toMatchObject({
      code: 'data',
      message: expect.stringContaining('no calibration sample') as string,
    });
    const given = testContext({ calibration: [feeds(1, 2)] });
    await expect(openProbe(given, scaled(), 3)).rejects.toMatchObject({
      code: 'graph',
      message: expect.stringContaining('no output of the model is of floats') as string,
    });
    const stopped = testContext({ calibration: [feeds(1, 2)], signal: AbortSignal.abort(new Error('cancelled')) });
    await expect((await openProbe(stopped, scaled(2), 3)).noise(scaled(1))).rejects.toThrow('cancelled');
  });
});
