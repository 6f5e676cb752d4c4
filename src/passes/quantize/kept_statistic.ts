import * as z from 'zod';
import type { Statistic } from '../../numerics/calibrators.ts';
import type { Keeping } from '../pass.ts';

/** JSON writes every double so that it reads back bit for bit, but for −0, of which it makes 0. */
const number = z.union([z.number(), z.literal('-0').transform(() => -0)]);
const plainNumber = (value: number): number | string => (Object.is(value, -0) ? '-0' : value);

const range = z.strictObject({ min: number, max: number }).refine(({ min, max }) => min <= max);

const histogram = z
  .strictObject({
    width: z.number().positive(),
    first: number.refine(Number.isInteger),
    counts: z.array(z.number().int().min(0)).min(1).transform((counts) => Float64Array.from(counts)), // prettier-ignore
    count: z.number().int().min(0),
    min: number,
    max: number,
    sum: number,
    sumSquares: number,
    sumAbs: number,
  })
  .refine(({ min, max, counts, count }) => min <= max && counts.reduce((a, b) => a + b, 0) === count);

/** How a statistic of calibration is kept as JSON: exact. What does not hold together as a range or a histogram is refused. */
export const keptStatistic: Pick<Keeping<Statistic>, 'schema' | 'plain'> = {
  schema: z.union([histogram, range]),
  plain: (statistic) =>
    Object.fromEntries(
      Object.entries(statistic).map(([key, value]: [string, number | Float64Array]) => [
        key,
        typeof value === 'number' ? plainNumber(value) : Array.from(value),
      ]),
    ),
};
