import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { ownErrors } from '../../src/analyze/own_error.ts';
import { layerReports } from '../../src/run/layers.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { noise, smallConvNet } from '../helpers/models.ts';
import { float16Quantizer } from '../../src/passes/quantize/float16.ts';
import { images, never, quantized, samplesOf } from './support.ts';

import { diagnosed, network, samples, width } from './diagnosed.ts';

describe('ownErrors', () => {
  it('are what a layer adds to what it inherits', async () => {
    const feeds = samples();
    const { model, twin } = await diagnosed(
      network({ a: (_, c) => (c === 4 ? 400 : 1), b: (r) => (r === 4 ? 1 / 400 : 1) }),
    );
    const errors = await ownErrors(twin as Model, model, () => samplesOf(feeds)(16));
    const [a, b, c] = ['a', 'b', 'c'].map((name) => errors.find(({ layer }) => layer === name));
    expect([a?.inherited, a?.value]).toEqual([Infinity, 'x']);
    // The bad value is read by b, whose error c inherits and does not make: 7-bit weights alone are at some 35 dB.
    expect(a?.own).toBeGreaterThan(30);
    expect(b?.own).toBeLessThan(15);
    expect(b?.input).toBeLessThan(15);
    // Its row of small weights is rounded off as well.
    expect(b?.weights).toBeGreaterThan((b?.input ?? 0) + 3);
    // What it inherits is partly outside of its calibrated range, and clipped there.
    expect(c?.own).toBeGreaterThan((b?.own ?? 0) + 8);
    expect(c?.inherited).toBeLessThan(15);
  });

  it('are none where the first model rounds as well: it has no float layer to compare with', async () => {
    const feeds = samples();
    const { model } = await diagnosed(network());
    const half = (await quantized(float16Quantizer, model, feeds)).model;
    expect(await ownErrors(model, half, () => samplesOf(feeds)(16))).toEqual([]);
  });

  it('and errors of outputs are none where a quantized model is compared with itself', async () => {
    const { model } = await quantized(staticQuantizer, smallConvNet(), images);
    const same = await layerReports({ ...model }, model, samplesOf(images), never);
    // A layer that nothing quantizes behind it may be compared before or after its Relu: equal as well.
    expect(same.map(({ sqnr }) => sqnr ?? Infinity)).toEqual(same.map(() => Infinity));
    expect(same.filter(({ sqnr }) => sqnr !== undefined).length).toBeGreaterThan(2);
  });

  it('follow a value through a Split to the part that is read', async () => {
    const float = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', width])],
      outputs: [makeValue('y', 'float32', ['N', width])],
      initializers: [
        makeTensor('w_a', 'float32', [width, width], noise(1, width * width, 0.3)),
        makeTensor('w_b', 'float32', [12, width], noise(2, 12 * width, 0.3)),
        makeTensor('parts', 'int64', [2], BigInt64Array.of(20n, 12n)),
      ],
      nodes: [
        makeNode('MatMul', ['x', 'w_a'], ['ha'], {}, { name: 'a' }),
        makeNode('Split', ['ha', 'parts'], ['left', 'right'], { axis: 1 }),
        makeNode('MatMul', ['right', 'w_b'], ['y'], {}, { name: 'b' }),
      ],
    });
    const { model, twin } = await diagnosed(float);
    const errors = await ownErrors(twin as Model, model, () => samplesOf(samples())(16));
    expect(errors.map(({ layer, value }) => `${layer} ${value}`)).toEqual(['a x', 'b ha']);
    for (const { own } of errors) expect(own).toBeGreaterThan(30);
  });

  it('take a table that is gathered from, and its transpose in a head, for weights', async () => {
    const float = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'int64', ['N', 4])],
      outputs: [makeValue('y', 'float32', ['N', 4, 50])],
      initializers: [
        makeTensor('table', 'float32', [50, width], noise(1, 50 * width, 0.3)),
        makeTensor('w', 'float32', [width, width], noise(2, width * width, 0.3)),
      ],
      nodes: [
        makeNode('Gather', ['table', 'x'], ['words'], {}, { name: 'embedding' }),
        makeNode('MatMul', ['words', 'w'], ['h'], {}, { name: 'a' }),
        makeNode('Transpose', ['table'], ['turned'], { perm: [1, 0] }),
        makeNode('MatMul', ['h', 'turned'], ['y'], {}, { name: 'head' }),
      ],
    });
    const { graph } = float;
    const coarse = (values: Float32Array) => values.map((v) => Math.round(v * 8) / 8);
    // As a decoder would have it: the table is computed, and its name stands for an integer on the way to it.
    const held = makeModel({
      opset: 13,
      ir: 8,
      inputs: graph.input,
      outputs: graph.output,
      initializers: [
        makeTensor('codes', 'float32', [50, width], coarse(noise(1, 50 * width, 0.3))),
        makeTensor('w', 'float32', [width, width], coarse(noise(2, width * width, 0.3))),
      ],
      nodes: [
        makeNode('Cast', ['codes'], ['table'], { to: 6 }),
        makeNode('Gather', ['codes', 'x'], ['words'], {}, { name: 'embedding' }),
        makeNode('MatMul', ['words', 'w'], ['h'], {}, { name: 'a' }),
        makeNode('Transpose', ['codes'], ['turned'], { perm: [1, 0] }),
        makeNode('MatMul', ['h', 'turned'], ['y'], {}, { name: 'head' }),
      ],
    });
    const words = Array.from({ length: 4 }, (_, i) => ({
      x: { type: 'int64' as const, dims: [1, 4], data: BigInt64Array.from([1n, 7n, 20n, 49n].map((n) => n - BigInt(i % 2))) },
    })); // prettier-ignore
    const errors = await ownErrors(float, held, () => samplesOf(words)(4));
    expect(errors.map(({ layer, value }) => `${layer} ${value}`)).toEqual(['a words', 'head h']);
    for (const { own, inherited, weights } of errors) {
      expect(own).toBe(weights);
      for (const dB of [own, inherited]) expect(Math.abs(dB - 18)).toBeLessThan(8);
    }
  });
});
