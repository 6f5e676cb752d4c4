import * as z from 'zod';
import type { Format, Look } from './format.ts';
import { scaleOrZero } from './scale.ts';

const { abs } = Math;

const options = z.strictObject({});

/** −a or a by the sign (0 counts as positive), a = mean |w|, weighted where errors count differently: the a of least squared error. */
export const binary = {
  name: 'binary',
  summary: '−a and a: the sign times the mean magnitude',
  source: 'Rastegari et al. 2016, XNOR-Net’s binary weights (arXiv 1603.05279)',
  options,
  sharing: () => 'channel',
  notActivations: 'behind a Relu every sign is the same; without training nothing is left of them',
  bits: () => 1,
  set: () => ({ levels: Float32Array.of(-1, 1), thresholds: Float32Array.of(0) }),
  fit: (values, _, { importance }, set) => ({ set, scale: scaleOrZero(meanMagnitude(values, importance)) }),
} satisfies Format<z.infer<typeof options>>;

/** Σ importance·|v| / Σ importance; the plain mean where nothing counts. */
export function meanMagnitude(values: ArrayLike<number>, importance: Look['importance']): number {
  let [sum, weight] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const w = importance?.[i] ?? 1;
    sum += w * abs(values[i]!);
    weight += w;
  }
  if (weight > 0) return sum / weight;
  return importance && values.length > 0 ? meanMagnitude(values, undefined) : 0;
}
