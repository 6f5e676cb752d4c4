import { openLattice, roundAtScales, roundByPaths, unrounded, type Lattice } from '../../numerics/nearest_plane.ts';
import { descendRounding, integerLevels } from '../../numerics/rounding_descent.ts';
import { portion, type Steps } from '../../util/steps.ts';
import type { RoundingProblem } from './rounding_problem.ts';

/** A rounding and the scales it was made for. */
export interface Rounded {
  /** [groups, rows, K] */
  readonly codes: Float64Array;
  /** One a row; float32 numbers. */
  readonly scale: Float64Array;
  /** The share of its mean diagonal that had to be added to G. */
  readonly damping: number;
}

/** Roundings tried for a row. */
export interface SearchOptions {
  /** Beginnings kept while a row is rounded; 1 is GPTQ. */
  readonly paths: number;
  /** Scales tried for each row; 0 keeps the one it has. */
  readonly scales: number;
}

/**
 * Rounds each row by nearest planes and coordinate descent, and looks for the scale at which that does best: on a grid, then by
 * turns with the least-squares scale of the codes found, s = q·t / q G qᵀ.
 */
export function* searchRounding(p: RoundingProblem, o: SearchOptions, at: string): Steps<Rounded> {
  const { groups, rows, size } = p;
  const result = { codes: new Float64Array(p.exact.length), scale: new Float64Array(groups * rows), damping: 0 };
  for (let g = 0; g < groups; g++) {
    const gram = p.gram.slice(g * size * size, (g + 1) * size * size);
    const lattice = yield* portion(openLattice(gram, size, at), g / groups, (g + 0.5) / groups);
    result.damping = Math.max(result.damping, lattice.damping);
    for (let r = g * rows; r < (g + 1) * rows; r++) {
      const row = openRow(p, r, gram, lattice);
      const best = o.scales > 0 ? withScale(row, o) : row.round(row.scale, o.paths);
      result.codes.set(best.codes, r * size);
      result.scale[r] = best.scale;
      yield (g + 0.5 + (0.5 * (r - g * rows)) / rows) / groups;
    }
  }
  return result;
}

/** Says that moments were not positive definite as they were; '' for what rounding alone asks for. */
export const raised = (damping: number): string =>
  damping <= 1e-6 ? '' : `, its second moments damped by ${damping} to be positive definite`;

interface Trial {
  readonly scale: number;
  readonly codes: Float64Array;
  /** Less what no rounding changes. */
  readonly error: number;
  /** The scale that is best for these codes. */
  readonly fitted: number;
}

interface Row {
  readonly scale: number;
  /** No scale below this one. */
  readonly least: number;
  readonly qmax: number;
  /** By nearest planes alone, the best of these scales. */
  pick(scales: readonly number[]): number;
  round(scale: number, paths: number): Trial;
}

function openRow(p: RoundingProblem, r: number, gram: Float64Array, lattice: Lattice): Row {
  const { size, qmin, qmax } = p;
  const part = <T extends Float64Array | Uint8Array>(all: T): T => all.subarray(r * size, (r + 1) * size) as T;
  const [target, frozen] = [part(p.target), part(p.frozen)];
  const bounds = { qmin, qmax, frozen };
  const weights = unrounded(lattice, target);
  return {
    qmax,
    scale: p.scale[r * size]!,
    least: p.least[r]!,
    pick(scales) {
      const errors = roundAtScales(lattice, weights, scales, bounds).map(({ error }) => error);
      return scales[errors.indexOf(Math.min(...errors))] as number;
    },
    round(given, paths) {
      const scale = Math.fround(given);
      const { codes } = roundByPaths(lattice, weights, scale, bounds, paths);
      const [steps, gradient] = [new Float64Array(size).fill(scale), new Float64Array(size)];
      const levels = integerLevels(steps, qmin, qmax);
      descendRounding(codes, levels, gram, target, { rows: 1, size }, { frozen, gradient });
      let [square, along] = [0, 0];
      for (let i = 0; i < size; i++) {
        const w = codes[i]! * scale;
        along += w * target[i]!;
        square += w * (gradient[i]! + target[i]!);
      }
      const fitted = square > 0 && along > 0 ? (scale * along) / square : scale;
      return { scale, codes, error: square - 2 * along, fitted };
    },
  };
}

function withScale(row: Row, o: SearchOptions): Trial {
  // Few levels gain from clipping; many only from a grid that happens to suit the weights.
  const [low, high] = row.qmax <= 7 ? [0.6, 1.1] : row.qmax <= 31 ? [0.75, 1.05] : [0.9, 1.02];
  const grid = Array.from({ length: o.scales }, (_, i) =>
    Math.max(row.least, row.scale * low * (high / low) ** (i / Math.max(1, o.scales - 1))),
  );
  let best = row.round(row.pick([...grid, row.scale]), o.paths);
  for (let i = 0; i < 2; i++) {
    const trial = row.round(Math.max(row.least, best.fitted), o.paths);
    if (trial.error >= best.error) break;
    best = trial;
  }
  return best;
}
