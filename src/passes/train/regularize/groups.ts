import * as z from 'zod';
import { words } from '../../../util/words.ts';
import type { Regime } from '../kinds.ts';

/** What a weight is regularized by, in Distiller's words; of a pair, both. */
const groupNames = z.enum(words('2D 3D 4D Filters Channels Cols Rows Block Rows+Cols Cols+Rows Channels+4D 4D+Channels')); // prettier-ignore

const criterion = z
  .enum(['Max', 'Mean_Abs'])
  .nullish()
  .meta({ description: 'what of a group is held against its strength: where it is no larger, the group becomes 0' });

/** Options of a regularizer of single weights, and of one of groups. */
export const strengths = z.strictObject({
  reg_regims: z.record(z.string(), z.number()).meta({ description: 'weight name or pattern → strength' }),
  threshold_criteria: criterion,
});
export const groupStrengths = z.strictObject({
  reg_regims: z
    .record(z.string(), z.tuple([z.number(), groupNames]))
    .meta({ description: 'weight name or pattern → strength and groups' }),
  threshold_criteria: criterion,
});
export type GroupStrengths = z.infer<typeof groupStrengths>;

export const plainRegimes = ({ reg_regims }: z.infer<typeof strengths>): Regime[] =>
  Object.entries(reg_regims).map(([weights, strength]) => ({ weights, strength }));

export const groupRegimes = ({ reg_regims }: GroupStrengths): Regime[] =>
  Object.entries(reg_regims).map(([weights, [strength, group]]) => ({ weights, strength, group }));

type Ranked = (rank: number) => number[];
const from = (first: number): Ranked => (rank) => Array.from({ length: rank - first }, (_, i) => i + first); // prettier-ignore

/** The axes that a group lies along: of [filters, channels, height, width], or of [rows, columns]. */
const alongAxes: Readonly<Record<string, { readonly axes: Ranked; readonly fits: (rank: number) => boolean }>> = {
  '2D': { axes: from(2), fits: (rank) => rank > 2 },
  '3D': { axes: from(1), fits: (rank) => rank > 2 },
  Filters: { axes: from(1), fits: (rank) => rank > 2 },
  Channels: { axes: (rank) => [0, ...from(2)(rank)], fits: (rank) => rank > 2 },
  '4D': { axes: from(0), fits: (rank) => rank > 2 },
  Rows: { axes: () => [1], fits: (rank) => rank === 2 },
  Cols: { axes: () => [0], fits: (rank) => rank === 2 },
};

/** The axes of each kind of group that a regime names: two for 'Rows+Cols'. */
export const groupAxes = ({ group = '' }: Regime, rank: number): number[][] =>
  group.split('+').flatMap((name) => {
    const found = alongAxes[name];
    return found ? [found.axes(rank)] : [];
  });

/** A sentence where a weight has no such groups. */
export function refuseGroups(dims: readonly number[], { group = '' }: Regime): string | undefined {
  const rank = dims.length;
  for (const name of group.split('+')) {
    const found = alongAxes[name];
    if (!found) return `groups "${name}" have no size, and cannot be regularized`;
    if (found.fits(rank)) continue;
    const others = Object.keys(alongAxes).filter((other) => alongAxes[other]!.fits(rank));
    return `a weight of shape [${dims.join(', ')}] has no groups "${name}"${others.length > 0 ? `: it has ${others.join(', ')}` : ''}`;
  }
  return undefined;
}

/** The group of each element, in order. */
export function groupOf(
  dims: readonly number[],
  axes: readonly number[],
): { readonly of: Int32Array; readonly count: number } {
  const kept = dims.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const of = new Int32Array(dims.reduce((a, b) => a * b, 1));
  for (let i = 0; i < of.length; i++) {
    let [rest, group, stride] = [i, 0, 1];
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      const at = rest % dims[axis]!;
      rest = (rest - at) / dims[axis]!;
      if (kept[axis] === 1) continue;
      group += at * stride;
      stride *= kept[axis]!;
    }
    of[i] = group;
  }
  return { of, count: kept.reduce((a, b) => a * b, 1) };
}

/**
 * 1 for each weight whose groups are all above the regime's strength: by their largest magnitude or by the mean of their magnitudes. Distiller
 * takes the mean for channels whatever it is asked for; here the criterion holds for all.
 */
export function groupMask(
  weight: Float32Array,
  dims: readonly number[],
  regime: Regime,
  by: 'Max' | 'Mean_Abs',
): Float32Array {
  const mask = new Float32Array(weight.length).fill(1);
  const bound = Math.fround(regime.strength);
  for (const axes of groupAxes(regime, dims.length)) {
    const { of, count } = groupOf(dims, axes);
    const size = new Float64Array(count);
    for (let i = 0; i < of.length; i++) {
      const magnitude = Math.abs(weight[i]!);
      if (by === 'Max') size[of[i]!] = Math.max(size[of[i]!]!, magnitude);
      else size[of[i]!]! += (magnitude * count) / of.length;
    }
    for (let i = 0; i < of.length; i++) if (size[of[i]!]! <= bound) mask[i] = 0;
  }
  return mask;
}

/** 1 for each weight whose magnitude is above the strength. */
export const elementMask = (weight: Float32Array, strength: number): Float32Array =>
  weight.map((value) => (Math.abs(value) > Math.fround(strength) ? 1 : 0));
