import type { Batch } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { type Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { levelWarning, optimizationLevels } from '../../src/run/levels.ts';
import type { LayerReport } from '../../src/run/report.ts';
import { saturates } from '../../src/runtime/processor.ts';
import { runModel } from '../helpers/context.ts';
import { snr } from '../helpers/quality.ts';
import { never, samplesOf, vectors, quantized, dense } from './support.ts';

describe('optimizationLevels', () => {
  /** SQNR over the first eight samples as bare onnxruntime gives it. */
  const bare = async (model: Model, float: Model, level: 'disabled' | 'all'): Promise<number> => {
    const outputs = async (m: Model): Promise<Float32Array> => {
      const all: number[] = [];
      for (const feeds of vectors.slice(0, 8)) all.push(...((await runModel(m, feeds, level)).y?.data as Float32Array));
      return Float32Array.from(all);
    };
    return snr(await outputs(float), await outputs(model));
  };

  it('are what onnxruntime gives at each level on eight samples', async () => {
    // Weights of 8 bits as MatMulNBits: optimized it rounds activations too.
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors);
    const asked: number[] = [];
    const levels = await optimizationLevels(model, dense, samplesOf(vectors, asked), never);
    expect([levels?.samples, ...asked]).toEqual([8, 8, 8]);
    expect(levels?.disabled).toBeCloseTo(await bare(model, dense, 'disabled'), 2);
    expect(levels?.all).toBeCloseTo(await bare(model, dense, 'all'), 2);
    expect(levels!.disabled - levels!.all).toBeGreaterThan(1);
  });

  const reshaped = edit(dense, (draft) => {
    const last = draft.nodes().find(({ name }) => name === 'two')!;
    const shape = draft.add('shape', makeTensor('', 'int64', [2], BigInt64Array.of(7n, 5n)));
    draft.update(last, { output: ['raw'] });
    draft.addNode(makeNode('Reshape', ['raw', shape], ['y']));
  });
  const classes = makeModel({
    inputs: [makeValue('x', 'float32', ['N', 64])],
    outputs: [makeValue('y', 'int64', ['N'])],
    nodes: [makeNode('ArgMax', ['x'], ['y'], { axis: 1, keepdims: 0 })],
  });
  it.each([
    ['a model that does not run', reshaped, dense],
    ['outputs that are no floats', classes, classes],
  ])('are none for %s', async (_, model, float) => {
    expect(await optimizationLevels(model, float, samplesOf(vectors), never)).toBeUndefined();
  });

  it('pass on an interrupt, and what is no fault of the model', async () => {
    await expect(optimizationLevels(dense, dense, samplesOf(vectors), AbortSignal.abort())).rejects.toMatchObject({
      code: 'cancelled',
    });
    const bug = (): AsyncIterable<Batch> => {
      throw new TypeError('a bug');
    };
    await expect(optimizationLevels(dense, dense, bug, never)).rejects.toThrow(TypeError);
  });
});

describe('levelWarning', () => {
  const layer = (kernel: LayerReport['kernel'], why = ''): LayerReport => ({
    ...{ layer: 'l', op: 'Conv', weights: 'int8', activations: 'uint8', sqnr: 20 },
    ...{ kernel, why },
  });
  const nBits = layer('integer', 'runs as MatMulNBits');
  const ofProcessor = async (otherwise: RegExp): Promise<RegExp> => ((await saturates()) ? /no VNNI/ : otherwise);
  const unknown = /another model/;

  it.each<[number, number]>([
    [20, 19],
    [19, 20],
    [50, 90],
    [90, 50],
    [NaN, NaN],
    [Infinity, Infinity],
  ])('says nothing of %d dB unoptimized and %d dB optimized', async (disabled, all) => {
    expect(await levelWarning({ samples: 8, disabled, all }, [nBits])).toBeUndefined();
  });

  it('gives both numbers', async () => {
    const text = (disabled: number, all: number) => levelWarning({ samples: 8, disabled, all }, []);
    expect(await text(38.2, 9.1)).toBe(
      'the outputs have an SQNR of 9.1 dB as onnxruntime runs the model, but of 38.2 dB with its graph optimizations off (8 samples): onnxruntime makes another model of it: look at the layers of lowest SQNR',
    );
    expect(await text(Infinity, 20)).toContain('20.0 dB as onnxruntime runs the model, but of Infinity');
    expect(await text(30, NaN)).toContain('of NaN as onnxruntime runs');
  });

  it.each<[number, number, LayerReport[], RegExp, boolean]>([
    [20, 18.9, [layer('float'), layer('integer')], unknown, true],
    // Saturation only makes it worse, and only where integers are summed.
    [18.9, 20, [layer('integer')], unknown, false],
    [49.9, 90, [layer('integer')], unknown, false],
    [20, 10, [layer('float')], unknown, false],
    [20, 10, [], unknown, false],
    // Its products of bytes cannot overflow.
    [20, 10, [layer('float'), nBits], /MatMulNBits/, false],
    [20, 10, [layer('integer'), nBits], /MatMulNBits/, true],
    [10, 20, [layer('float'), nBits], /MatMulNBits/, false],
    [NaN, 20, [layer('float')], unknown, false],
    [20, NaN, [layer('float')], unknown, false],
  ])('%d dB unoptimized and %d dB optimized: the likely cause', async (disabled, all, layers, cause, mayBe) => {
    const text = await levelWarning({ samples: 8, disabled, all }, layers);
    expect(text).toMatch(mayBe ? await ofProcessor(cause) : cause);
  });
});
