import { edit } from '../../../src/graph/edit.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { levelPruner } from '../../../src/passes/prune/level.ts';
import { reestimate } from '../../../src/passes/recover/reestimate.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const images = (seed: number): Feeds => ({
  x: floats(
    noise(seed, 32 * 192).map((v) => v + 0.5),
    [32, 3, 8, 8],
  ),
});
const calibration = [1, 2, 3, 4].map(images);
const context = (reference: Model) => testContext({ calibration, reference });
const options = reestimate.options.parse({});
const output = async (model: Model, feeds: Feeds): Promise<Float32Array> =>
  (await runModel(model, feeds)).y?.data as Float32Array;

describe('Reestimation', () => {
  it('gives each layer the mean output of the float model, and the whole model less error', async () => {
    const model = smallConvNet();
    const { model: pruned } = await levelPruner.apply(model, { levels: { '*': 0.6 } }, context(model));
    const { model: mended, changed } = await reestimate.apply(pruned, options, context(model));
    expect(changed.map(({ layer }) => layer)).toContain('conv1');
    const fresh = images(9);
    const wanted = await output(model, fresh);
    // 1 dB is a fifth less error.
    expect(snr(wanted, await output(mended, fresh))).toBeGreaterThan(snr(wanted, await output(pruned, fresh)) + 1);
    // On the calibration data the means are the float model's, to the rounding of float32 sums.
    const total = async (m: Model) => {
      let sum = 0;
      for (const feeds of calibration) for (const v of await output(m, feeds)) sum += v;
      return sum / (4 * 32);
    };
    expect(await total(mended)).toBeCloseTo(await total(model), 3);
  });

  it('gives batch norms the mean and variance of what they read now', async () => {
    const norm = (mean: number, variance: number): Model =>
      makeModel({
        opset: 13,
        ir: 8,
        inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
        outputs: [makeValue('y', 'float32', ['N', 4, 8, 8])],
        initializers: [
          weight('w', [4, 3, 1, 1], 3),
          makeTensor('scale', 'float32', [4], new Float32Array(4).fill(1)),
          makeTensor('shift', 'float32', [4], new Float32Array(4)),
          makeTensor('mean', 'float32', [4], new Float32Array(4).fill(mean)),
          makeTensor('variance', 'float32', [4], new Float32Array(4).fill(variance)),
        ],
        nodes: [
          makeNode('Conv', ['x', 'w'], ['c'], {}, { name: 'conv' }),
          makeNode('BatchNormalization', ['c', 'scale', 'shift', 'mean', 'variance'], ['y'], {}, { name: 'norm' }),
        ],
      });
    const model = norm(5, 9);
    const { model: mended, changed } = await reestimate.apply(model, options, context(model));
    expect(changed.map(({ layer }) => layer)).toEqual(['norm']);
    let [sum, squares, count] = [0, 0, 0];
    for (const feeds of calibration)
      for (const v of await output(mended, feeds)) [sum, squares, count] = [sum + v, squares + v * v, count + 1];
    // Normalized: mean 0 and variance 1 but for epsilon (1e-5 beside variances of about 0.1).
    expect(Math.abs(sum / count)).toBeLessThan(1e-5);
    expect(Math.abs(squares / count - 1)).toBeLessThan(1e-3);
    expect(floatData(initializers(mended.graph).get('scale')!)).toEqual(new Float32Array(4).fill(1));
  });

  it('leaves layers alone that have other channels than the float model has, and those without bias', async () => {
    const model = smallConvNet();
    const other = edit(model, (draft) => {
      const w = initializers(model.graph).get('fc.weight')!;
      draft.replace('fc.weight', makeTensor('fc.weight', 'float32', [4, 8], floatData(w).slice(0, 32)));
      draft.replace('fc.bias', makeTensor('fc.bias', 'float32', [4], new Float32Array(4)));
    });
    const { skipped } = await reestimate.apply(other, options, context(model));
    expect(skipped).toContainEqual({ layer: 'fc', text: 'its output has other channels than in the float model' });
  });
});
