import fc from '../../helpers/fc.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { initializers } from '../../../src/graph/query.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { floatData, makeTensor, tensorData } from '../../../src/graph/tensor.ts';
import { adaround } from '../../../src/passes/recover/adaround.ts';
import { biasCorrection } from '../../../src/passes/recover/bias_correction.ts';
import { gptqRounding } from '../../../src/passes/recover/gptq.ts';
import { biasValues, quantizedLayers, scaleOf, storeLayer } from '../../../src/passes/recover/sites.ts';
import { weightScale } from '../../../src/passes/recover/weight_scale.ts';
import { anyPass, type PassResult } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const passes = [anyPass(adaround), anyPass(gptqRounding), anyPass(weightScale), anyPass(biasCorrection)];
const count = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

function modelOf(shape: readonly number[], nodes: readonly NodeProto[], tensors: readonly TensorProto[]): Model {
  const outputs = [makeValue('y', 'float32')];
  return makeModel({ opset: 17, ir: 8, inputs: [makeValue('x', 'float32', ['N', ...shape])], outputs, nodes, initializers: tensors }); // prettier-ignore
}

const dataFor = (shape: readonly number[], seeds = [1, 2]): Feeds[] =>
  seeds.map((seed) => ({ x: floats(noise(seed, 16 * count(shape)), [16, ...shape]) }));

/** Quantizes to 7 bits, which saturate on no processor, and applies each pass; what it gives runs at both levels. */
async function recovered(float: Model, shape: readonly number[], calibration = dataFor(shape)) {
  const context = testContext({ calibration, reference: float });
  const options = staticQuantizer.options.parse({ bits_weights: 7 });
  const { model, twin } = await staticQuantizer.apply(float, options, context);
  const given = testContext({ calibration, reference: float, twin: twin! });
  const [unseen] = dataFor(shape, [9]) as [Feeds];
  const expected = (await runModel(float, unseen)).y!.data as Float32Array;
  const quality = async (candidate: Model): Promise<number[]> => {
    const levels: number[] = [];
    for (const level of ['disabled', 'all'] as const)
      levels.push(snr(expected, (await runModel(candidate, unseen, level)).y!.data as Float32Array));
    return levels;
  };
  const nearest = await quality(model);
  const results: { pass: string; result: PassResult; levels: number[] }[] = [];
  for (const pass of passes) {
    const result = await pass.apply(model, pass.options.parse({}), given);
    results.push({ pass: pass.name, result, levels: await quality(result.model) });
  }
  return { model, twin: twin!, nearest, results };
}

/** No pass may be far behind rounding to nearest, nor differ between the levels of optimization by more than 1 dB. */
function expectSound({ nearest, results }: Awaited<ReturnType<typeof recovered>>): void {
  for (const { pass, levels } of results) {
    expect([pass, Math.min(...levels) > Math.min(...nearest) - 2]).toEqual([pass, true]);
    expect(Math.abs(levels[0]! - levels[1]!)).toBeLessThan(1);
  }
}

describe('passes after a quantizer', () => {
  it('go through a Split whose half goes past a branch of layers', async () => {
    const shape = [8, 6, 6];
    const conv = (x: string, w: string, y: string) =>
      makeNode('Conv', [x, w], [y], { pads: [1, 1, 1, 1] }, { name: y });
    const float = modelOf(
      shape,
      [
        conv('x', 'w1', 'c1'),
        makeNode('Split', ['c1'], ['half0', 'half1'], { axis: 1 }, { name: 'split' }),
        conv('half1', 'w2', 'c2'),
        makeNode('Concat', ['half0', 'half1', 'c2'], ['joined'], { axis: 1 }, { name: 'concat' }),
        conv('joined', 'w3', 'y'),
      ],
      [weight('w1', [8, 8, 3, 3], 1), weight('w2', [4, 4, 3, 3], 2), weight('w3', [5, 12, 3, 3], 3)],
    );
    const done = await recovered(float, shape);
    expectSound(done);
    expect(done.results[0]?.result.changed.map(({ layer }) => layer)).toEqual(['c1', 'c2', 'y']);
  });

  it('go through a net that adds constants computed from codes, as the positions of a transformer are', async () => {
    const shape = [4, 6];
    const float = modelOf(
      shape,
      [
        makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'first' }),
        makeNode('Add', ['h', 'positions'], ['a'], {}, { name: 'add' }),
        makeNode('Relu', ['a'], ['r'], {}, { name: 'relu' }),
        makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'second' }),
      ],
      [weight('w1', [6, 8], 1), weight('w2', [8, 5], 2), weight('positions', [1, 4, 8], 3)],
    );
    const done = await recovered(float, shape);
    expectSound(done);
    expect(done.results[0]?.result.changed.map(({ layer }) => layer)).toEqual(['first', 'second']);
  });

  it('leave weights that several layers read to the quantizer, and say so', async () => {
    const shape = [6];
    const float = modelOf(
      shape,
      [
        makeNode('Gemm', ['x', 'w'], ['h'], {}, { name: 'along' }),
        makeNode('Relu', ['h'], ['r'], {}, { name: 'relu' }),
        makeNode('Gemm', ['r', 'w'], ['g'], {}, { name: 'again' }),
        makeNode('Gemm', ['g', 'v'], ['y'], {}, { name: 'last' }),
      ],
      [weight('w', [6, 6], 1), weight('v', [6, 4], 2)],
    );
    const done = await recovered(float, shape);
    for (const { result, pass } of done.results.slice(0, 3)) {
      expect([pass, result.changed.map(({ layer }) => layer)]).toEqual([pass, ['last']]);
      expect(result.skipped.map(({ layer }) => layer)).toEqual(['along', 'again']);
      expect(result.skipped[0]?.text).toContain('its weights are read by "again" too');
    }
    expectSound(done);
  });

  it('leave a layer alone whose inputs are not finite, and go on with the others', async () => {
    const float = smallConvNet();
    const calibration = dataFor([3, 8, 8]);
    const context = testContext({ calibration, reference: float });
    const { model, twin } = await staticQuantizer.apply(float, staticQuantizer.options.parse({}), context);
    // The float twin of conv2 reads an infinity.
    const broken = edit(twin!, (draft) => {
      const name = draft.add('infinity', makeTensor('infinity', 'float32', [], Float32Array.of(Infinity)));
      draft.addNode(makeNode('Add', ['r1', name], ['r1_infinite']));
      draft.rewire('r1', 'r1_infinite', (node) => node.name === 'conv2');
    });
    const given = testContext({ calibration, reference: float, twin: broken });
    for (const pass of passes) {
      const { changed, skipped } = await pass.apply(model, pass.options.parse({}), given);
      const left = skipped.filter(({ text }) => text.includes('not finite')).map(({ layer }) => layer);
      // What conv2 gives in float is not finite either, nor is anything after it.
      expect([pass.name, left]).toEqual([pass.name, ['conv2', 'dw', 'fc']]);
      expect(changed.map(({ layer }) => layer)).toEqual(['conv1']);
    }
  });

  it('never shrink a scale so far that the bias does not fit: nearly dead outputs keep their sign', async () => {
    const shape = [4, 6, 6];
    const w = noise(1, 6 * 4, 0.3).map((v, i) => (i < 12 ? v * 1e-9 : v));
    const bias = Float32Array.of(-6, 6, -6, 0.1, 0, -0.2);
    const float = modelOf(
      shape,
      [makeNode('Conv', ['x', 'w', 'b'], ['y'], {}, { name: 'head' })],
      [makeTensor('w', 'float32', [6, 4, 1, 1], w), makeTensor('b', 'float32', [6], bias)],
    );
    const done = await recovered(float, shape);
    for (const { pass, result, levels } of done.results) {
      const [layer] = quantizedLayers(result.model, done.twin).layers;
      const stored = biasValues(layer!);
      // Half a step, and the mean error that goes into the bias: of outputs in units, at 7 bits, below 0.05.
      bias.forEach((b, c) => expect([pass, c, Math.abs(stored[c]! - b) < 0.05]).toEqual([pass, c, true]));
      expect(Math.min(...levels)).toBeGreaterThan(35);
    }
  });
});

describe('storeLayer', () => {
  it('stores every bias within half a step of what it should be, or says that it could not', async () => {
    const float = smallConvNet();
    const context = testContext({ calibration: dataFor([3, 8, 8]), reference: float });
    const { model, twin } = await staticQuantizer.apply(float, staticQuantizer.options.parse({}), context);
    const layer = quantizedLayers(model, twin!).layers.find(({ name }) => name === 'fc')!;
    const before = biasValues(layer);
    const change = fc.record({
      factors: fc.array(fc.double({ min: 1e-12, max: 4, noNaN: true }), { minLength: 5, maxLength: 5 }),
      correction: fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), { minLength: 5, maxLength: 5 }),
    });
    fc.assert(
      fc.property(change, ({ factors, correction }) => {
        const scale = layer.scale.map((s, i) => s * factors[i]!);
        let said = '';
        const next = edit(model, (draft) => void (said = storeLayer(draft, layer, { scale, correction })));
        const tensors = initializers(next.graph);
        const codes = tensorData(tensors.get(layer.bias!.codes.name)!) as Int32Array;
        const step = { scale: floatData(tensors.get(layer.bias!.scaleName)!) };
        let beyond = 0;
        correction.forEach((moved, c) => {
          const wanted = (before[c]! + moved) / scaleOf(step, c);
          if (Math.abs(wanted) > 2 ** 31 - 0.5) beyond++;
          // Never the other sign; one part in 10^12 is what doubles lose of 2^31 steps.
          else expect(Math.abs(codes[c]! - wanted)).toBeLessThan(0.5 + 1e-3);
          expect(codes[c]! * wanted).toBeGreaterThanOrEqual(-1);
        });
        expect(said === '').toBe(beyond === 0);
      }),
      { numRuns: 50, seed: 1 },
    );
  });
});
