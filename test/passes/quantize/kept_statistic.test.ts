import fc from '../../helpers/fc.ts';
import { observerOf, type StatisticKind } from '../../../src/numerics/calibrators.ts';
import { keptStatistic } from '../../../src/passes/quantize/kept_statistic.ts';

const throughText = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const finite = fc.float({ noNaN: true, noDefaultInfinity: true });

describe('a kept statistic', () => {
  it.each(['minmax', 'moving_average_minmax', 'average_minmax', 'histogram'] as StatisticKind[])(
    'of kind %s reads back bit for bit',
    (kind) => {
      fc.assert(
        fc.property(fc.array(finite, { maxLength: 40 }), (values) => {
          const fold = observerOf(kind);
          const data = Float32Array.from(values);
          const statistic = fold.finish(fold.add(fold.start(), { type: 'float32', dims: [1, data.length], data }));
          // toStrictEqual tells −0 from 0, and a Float64Array from an array.
          expect(keptStatistic.schema.parse(throughText(keptStatistic.plain(statistic)))).toStrictEqual(statistic);
        }),
        { numRuns: 50, examples: [[[-0]]] },
      );
    },
  );

  it.each([
    ['a range the wrong way round', { min: 1, max: 0 }],
    ['a number that is none', { min: null, max: 0 }],
    ['a key too many', { min: 0, max: 1, mean: 0 }],
    ['counts that do not add up', { width: 1, first: 0, counts: [1, 2], count: 4, min: 0, max: 1, sum: 1, sumSquares: 1, sumAbs: 1 }], // prettier-ignore
  ])('is refused: %s', (_, given) => {
    expect(keptStatistic.schema.safeParse(given).success).toBe(false);
  });
});
