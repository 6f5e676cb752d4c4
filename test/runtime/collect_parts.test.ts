import type { Batch, Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { averageMinmax } from '../../src/numerics/average_minmax.ts';
import { sealed } from '../../src/numerics/fold.ts';
import { minmax } from '../../src/numerics/minmax.ts';
import { movingAverageMinmax } from '../../src/numerics/moving_average_minmax.ts';
import { collect } from '../../src/runtime/collect.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

/** x [N, 3, 64, 64] → c [N, 16, 64, 64], 256 KiB a sample: two samples a part → g [N, 4]. */
const net = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', 3, 64, 64])],
  outputs: [makeValue('g', 'float32', ['N', 4])],
  initializers: [weight('w', [16, 3, 3, 3], 1), weight('v', [16, 4], 2)],
  nodes: [
    makeNode('Conv', ['x', 'w'], ['c'], { pads: [1, 1, 1, 1] }, { name: 'conv' }),
    makeNode('GlobalAveragePool', ['c'], ['p'], {}, { name: 'pool' }),
    makeNode('Flatten', ['p'], ['f'], { axis: 1 }, { name: 'flat' }),
    makeNode('Gemm', ['f', 'v'], ['g'], {}, { name: 'gemm' }),
  ],
});

const batchOf = (size: number, seed: number): Batch => ({
  ids: Array.from({ length: size }, (_, i) => String(i)),
  feeds: { x: floats(noise(seed, size * 3 * 64 * 64), [size, 3, 64, 64]) },
  targets: [],
  count: size,
  size,
});
// Sizes that two and three do not divide evenly.
const all = [batchOf(7, 1), batchOf(9, 2), batchOf(1, 3)];
async function* batches(): AsyncGenerator<Batch> {
  yield* all;
}

describe('collect of extremes, a batch in parts', () => {
  it('gives per-sample and per-batch statistics of whole batches', async () => {
    const folds = [
      sealed(minmax()),
      sealed(movingAverageMinmax({})),
      sealed(averageMinmax({ per: 'batch' })),
      sealed(averageMinmax({ per: 'sample' })),
    ];
    const found = await collect(net, batches, new Map(['c', 'g'].map((value) => [value, folds])));
    for (const value of ['c', 'g']) {
      const states = folds.map((fold) => fold.start());
      for (const batch of all) {
        const whole = (await runModel(value === 'g' ? net : exposing(value), batch.feeds))[value] as Tensor;
        folds.forEach((fold, i) => (states[i] = fold.add(states[i], whole)));
      }
      const expected = folds.map((fold, i) => fold.finish(states[i]));
      // The parts run the same kernels on the same numbers: nothing may differ but the reduction's place.
      expect(found.get(value)).toEqual(expected);
    }
  });
});

/** The net with its convolution as the output. */
function exposing(value: string) {
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 64, 64])],
    outputs: [makeValue(value, 'float32', ['N', 16, 64, 64])],
    initializers: [weight('w', [16, 3, 3, 3], 1)],
    nodes: [makeNode('Conv', ['x', 'w'], [value], { pads: [1, 1, 1, 1] }, { name: 'conv' })],
  });
}
