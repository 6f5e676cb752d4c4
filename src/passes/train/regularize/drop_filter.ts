import * as z from 'zod';
import type { RegularizerKind } from '../kinds.ts';
import { groupAxes, groupOf, groupRegimes, groupStrengths, refuseGroups } from './groups.ts';

/** Never less than this share of the weights counts as kept. */
const leastKept = 0.2;

const options = groupStrengths.extend({
  frequency: z.int().min(1).default(1).meta({ description: 'groups are dropped in one of so many steps, and none in the others' }), // prettier-ignore
  seed: z.int().min(0).default(0),
});

/**
 * Drops whole groups by chance for a step of the forward pass, as dropout drops values: the strength is the probability; what stays is divided by
 * the share of Σ |w| that stayed. In Distiller the arguments of this class change nothing, and it drops nothing.
 */
export const dropFilterRegularizer: RegularizerKind<z.infer<typeof options>> = {
  classes: ['DropFilterRegularizer'],
  summary: 'drops filters by chance while training',
  source: "Distiller's drop_filter_regularizer.py, with its arguments taken at their word",
  options,
  regimes: groupRegimes,
  penalty: (w, weight) => ({ penalty: w.scalar(0), gradient: w.filled(weight.dims) }),
  every: ({ frequency }) => frequency,
  seed: ({ seed }) => seed,
  drop(weight, dims, regime, random) {
    const factor = new Float32Array(weight.length).fill(1);
    for (const axes of groupAxes(regime, dims.length)) {
      const { of, count } = groupOf(dims, axes);
      const kept = Float32Array.from({ length: count }, () => (random() < regime.strength ? 0 : 1));
      for (let i = 0; i < of.length; i++) factor[i]! *= kept[of[i]!]!;
    }
    let [all, left] = [0, 0];
    for (let i = 0; i < weight.length; i++) {
      all += Math.abs(weight[i]!);
      left += Math.abs(weight[i]! * factor[i]!);
    }
    const share = all > 0 ? Math.max(leastKept, left / all) : 1;
    return factor.map((value) => value / share);
  },
  refuse: (dims, regime) =>
    refuseGroups(dims, regime) ??
    (regime.strength >= 0 && regime.strength < 1
      ? undefined
      : `a strength of ${regime.strength} is no probability below 1 of dropping a group`),
};
