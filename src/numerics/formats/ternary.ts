import * as z from 'zod';
import { nextFloat32 } from '../grid.ts';
import type { Fitted, Format, Look } from './format.ts';
import { normalScale } from './scale.ts';

const { abs, fround } = Math;

const options = z.strictObject({
  threshold: z
    .union([z.literal('exact'), z.number().positive().max(10)])
    .default('exact')
    .meta({
      description:
        'what becomes 0: exact: that of least squared error; a number t: weights below t · mean |w| (0.7 in TWN)',
    }),
  scales: z
    .union([z.literal(1), z.literal(2)])
    .default(1)
    .meta({ description: '2: positive and negative weights have a scale each (TTQ)' }),
});

/**
 * −a, 0, a. TWN: a threshold t·E|w|, and a is the mean of the magnitudes above it; exact: of all thresholds the one of least error. Shared by groups
 * of weights it is FGQ, by rows or pixels of the kernels SYQ.
 */
export const ternary = {
  name: 'ternary',
  summary: '−a, 0 and a, with one scale or two',
  source:
    'Li, Zhang and Liu 2016, TWN (arXiv 1605.04711); Zhu et al. 2017, TTQ (1612.01064); Mellempudi et al. 2017, FGQ (1705.01462); Faraone et al. 2018, SYQ (1807.00301)',
  options,
  sharing: () => 'channel',
  notActivations: 'it is a format of weights; int:bits=2 is the like for activations',
  bits: () => 2,
  fit,
} satisfies Format<z.infer<typeof options>>;

function fit(values: Float32Array, { threshold, scales }: z.infer<typeof options>, { importance }: Look): Fitted {
  const border = threshold === 'exact' ? undefined : threshold * meanOf(values);
  const of = (has: (v: number) => boolean): number | undefined => meanAbove(values, importance, border, has);
  const [p, n] = scales === 1 ? [of(() => true), undefined] : [of((v) => v > 0), of((v) => v < 0)];
  const [above, below] = [p ?? n ?? 1, n ?? p ?? 1];
  const scale = normalScale(above === below ? above : 1);
  const levels = above === below ? unit : Float32Array.of(-below, 0, above);
  if (border === undefined) return { set: { levels }, scale };
  return { set: { levels, thresholds: Float32Array.of(-border / scale, nextFloat32(fround(border / scale))) }, scale };
}

const unit = Float32Array.of(-1, 0, 1);
const meanOf = (values: Float32Array): number => values.reduce((sum, v) => sum + abs(v), 0) / values.length;

/**
 * The mean magnitude of the values of one side that are above the border or, without one, of as many as make the error least.
 * undefined where there are none.
 */
function meanAbove(
  values: Float32Array,
  importance: Look['importance'],
  border: number | undefined,
  has: (v: number) => boolean,
): number | undefined {
  const order = Array.from(values.keys()).filter((i) => has(values[i]!) && abs(values[i]!) > (border ?? 0));
  if (border === undefined) order.sort((a, b) => abs(values[b]!) - abs(values[a]!));
  let [sum, weight, gain] = [0, 0, 0];
  let best: number | undefined;
  for (const i of order) {
    const w = importance?.[i] ?? 1;
    sum += w * abs(values[i]!);
    weight += w;
    // With the first k at their mean the error falls by (Σ w|v|)² / Σ w.
    const next = weight > 0 ? (sum * sum) / weight : 0;
    if (next > 0 && (border !== undefined || next > gain)) [gain, best] = [next, sum / weight];
  }
  return best;
}
