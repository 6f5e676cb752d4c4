import fc from '../../../helpers/fc.ts';
import { invertPositive as invertPositiveSteps } from '../../../../src/passes/prune/structure/inverse.ts';
import { whole } from '../../../helpers/whole.ts';

const invertPositive = whole(invertPositiveSteps);

describe('invertPositive', () => {
  it('gives the inverse of random Gram matrices', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.infiniteStream(fc.double({ min: -1, max: 1, noNaN: true })),
        (n, numbers) => {
          const next = (): number => numbers.next().value as number;
          const x = Array.from({ length: 2 * n }, () => Array.from({ length: n }, next));
          const a = new Float64Array(n * n);
          for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++)
              a[i * n + j] = x.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), i === j ? 0.1 : 0);
          const inverse = invertPositive(a, n);
          for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++) {
              let sum = 0;
              for (let k = 0; k < n; k++) sum += (a[i * n + k] as number) * (inverse[k * n + j] as number);
              // The smallest eigenvalue is at least 0.1, the largest below 300: 1e-11 is many roundings at that condition.
              expect(Math.abs(sum - (i === j ? 1 : 0))).toBeLessThan(1e-11);
            }
        },
      ),
      { numRuns: 50, seed: 1 },
    );
  });
});
