import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Batch } from '../../src/data/types.ts';
import { agreement } from '../../src/metrics/agreement.ts';
import type { Metric, MetricInput, MetricResult } from '../../src/metrics/metric.ts';
import { mse } from '../../src/metrics/mse.ts';
import { psnr } from '../../src/metrics/psnr.ts';
import { topK } from '../../src/metrics/topk.ts';
import { keepReferences, measure } from '../../src/runtime/measure.ts';
import { batchOf, float, numbers } from './models.ts';

/** y = x · factor, [N, 2]. */
function scale(factor: number, batch: number | string = 'N', output = 'y'): Model {
  return makeModel({
    inputs: [makeValue('x', 'float32', [batch, 2])],
    outputs: [makeValue(output, 'float32', [batch, 2])],
    nodes: [makeNode('Mul', ['x', 'factor'], [output])],
    initializers: [makeTensor('factor', 'float32', [1], Float32Array.of(factor))],
  });
}

interface Seen {
  readonly elements: number;
  readonly error: number;
  readonly references: unknown[];
}
/** Counts the elements it sees and the largest difference to the reference. */
const difference: Metric<Seen> = {
  name: 'difference',
  summary: '',
  needs: 'reference',
  start: () => ({ elements: 0, error: 0, references: [] }),
  add(state, { outputs, reference }: MetricInput) {
    const [got, wanted] = [outputs.y?.data as Float32Array, reference.y?.data as Float32Array];
    const error = got.reduce((most, v, i) => Math.max(most, Math.abs(v - (wanted[i] as number))), state.error);
    return { elements: state.elements + got.length, error, references: [...state.references, reference] };
  },
  finish: ({ elements, error }): MetricResult => ({
    name: 'difference',
    value: error,
    unit: '',
    higherIsBetter: false,
    samples: elements,
    reference: 0,
    drop: error,
  }),
};
const metrics = [difference as Metric];

const x = numbers(5, 12);
const batches = [
  batchOf({ x: float([4, 2], x.subarray(0, 8)) }, 4),
  batchOf(
    { x: float([4, 2], [...x.subarray(8, 10), ...x.subarray(8, 10), ...x.subarray(8, 10), ...x.subarray(8, 10)]) },
    4,
    1,
  ),
];
async function* data() {
  yield* batches;
}
const largest = Math.max(...x.subarray(0, 10).map(Math.abs));

describe('measure', () => {
  it('folds real samples of both models, padding cut off', async () => {
    const seen: number[] = [];
    const [result] = await measure(scale(3, 4), scale(2, 4), data(), metrics, { progress: (n) => seen.push(n) });
    // Four samples and one of the padded batch, two elements each.
    expect(result?.samples).toBe(10);
    // 3 v − 2 v, with one float32 rounding each.
    expect(result?.value).toBeCloseTo(largest, 6);
    expect(seen).toEqual([4, 5]);
  });

  it('gives of a padded batch what its real samples give', async () => {
    const kinds = [agreement(), topK(1), psnr(), mse()];
    const labelled = (size: number, count = size) => {
      const rows = Array.from({ length: size }, (_, i) => x.subarray(i < count ? 2 * i : 0).subarray(0, 2));
      const batch = batchOf(
        {
          x: float(
            [size, 2],
            rows.flatMap((row) => [...row]),
          ),
        },
        size,
        count,
      );
      return { ...batch, targets: batch.ids.map((_, i) => ({ label: Int32Array.of(i % 2) })) };
    };
    const measured = (batch: Batch, size: number | string) => {
      const one = async function* () {
        yield await Promise.resolve(batch);
      };
      return measure(scale(-3, size), scale(2, size), one(), kinds);
    };
    expect(await measured(labelled(4, 3), 4)).toEqual(await measured(labelled(3), 'N'));
  });

  it('keeps reference outputs within the limit and uses them instead of the float model', async () => {
    const references = keepReferences(32);
    const reference = scale(2);
    await measure(reference, reference, data(), metrics, { references });
    // The first batch is 32 bytes; the second has no room left.
    expect(references.get(0, batches[0] as never)?.y?.data).toHaveLength(8);
    expect(references.get(1, batches[1] as never)).toBeUndefined();
    // Other data at the same place of the sequence is not taken for it.
    expect(references.get(0, batches[1] as never)).toBeUndefined();

    // A reference that gives other values shows whether it was asked: only for the second batch, whose element is x[8] or x[9].
    const [result] = await measure(scale(2), scale(2 + 1000), data(), metrics, { references });
    expect(result?.value).toBeCloseTo(1000 * Math.max(Math.abs(x[8] as number), Math.abs(x[9] as number)), 2);
  });

  it('refuses a model without the outputs of the float model', async () => {
    await expect(measure(scale(2, 'N', 'z'), scale(2), data(), metrics)).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/no output "y"/) as string,
    });
  });

  it('refuses empty data and stops when cancelled', async () => {
    const none = (async function* () {})();
    await expect(measure(scale(2), scale(2), none, metrics)).rejects.toMatchObject({ code: 'data' });
    const stopped = AbortSignal.abort();
    await expect(measure(scale(2), scale(2), data(), metrics, { signal: stopped })).rejects.toMatchObject({
      code: 'cancelled',
    });
  });
});
