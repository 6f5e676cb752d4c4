import type { Steps } from '../util/steps.ts';
import { dampedEnough } from './linalg.ts';
import { byDiagonal, inverseFactor, permuted } from './obs.ts';

/** A quadratic form G factored for rounding: columns in the order they are rounded in, and U with G⁻¹ = Uᵀ·U of G so ordered. */
export interface Lattice {
  readonly size: number;
  readonly order: Int32Array;
  readonly factor: Float64Array;
  /** The share of its mean diagonal that was added to G. */
  readonly damping: number;
}

/**
 * Factors G ([K, K], symmetric) once for many roundings. Columns of large diagonal come first, so that what matters most is fixed while
 * most others are left to make up for it. The least damping that makes G positive definite is added.
 */
export function* openLattice(gram: Float64Array, size: number, at?: string): Steps<Lattice> {
  const order = byDiagonal(gram, size);
  const turned = permuted(gram, size, order);
  const { damping, made } = yield* dampedEnough((share) => inverseFactor(turned, size, share, at));
  return { size, order, factor: made, damping };
}

/** The real weights that are best for a target t, G⁻¹ t, in the lattice's order. */
export function unrounded({ size, order, factor: u }: Lattice, target: Float64Array): Float64Array {
  const half = new Float64Array(size);
  for (let j = 0; j < size; j++) {
    let sum = 0;
    for (let k = j; k < size; k++) sum += u[j * size + k]! * target[order[k]!]!;
    half[j] = sum;
  }
  const w = new Float64Array(size);
  for (let j = 0; j < size; j++) {
    const h = half[j]!;
    for (let k = j; k < size; k++) w[k]! += h * u[j * size + k]!;
  }
  return w;
}

/** Bounds of codes, and 1 where one must be 0, in the order of G. */
export interface CodeBounds {
  readonly qmin: number;
  readonly qmax: number;
  readonly frozen: Uint8Array;
}

/**
 * Rounds one row of weights at several scales s: minimises (w − s·q) G (w − s·q)ᵀ over integers q, column by column, each error being
 * made up for by the columns not yet rounded. This is GPTQ (Frantar et al. 2022, arXiv 2210.17323), known as Babai's nearest plane.
 *
 * @param weights in the lattice's order, see `unrounded`.
 * @returns per scale the codes, in the order of G, and the error.
 */
export function roundAtScales(
  lattice: Lattice,
  weights: Float64Array,
  scales: ArrayLike<number>,
  { qmin, qmax, frozen }: CodeBounds,
): { readonly codes: Float64Array; readonly error: number }[] {
  const { size, order, factor: u } = lattice;
  const lanes = Array.from(scales, (scale) => ({ scale, codes: new Float64Array(size), error: 0 }));
  const w = new Float64Array(lanes.length * size);
  const starts = Int32Array.from(lanes, (_, l) => l * size);
  for (const start of starts) w.set(weights, start);
  const errors = new Float64Array(lanes.length);
  for (let j = 0; j < size; j++) {
    const column = order[j]!;
    const fixed = frozen[column] === 1;
    for (const [l, lane] of lanes.entries()) {
      const x = w[starts[l]! + j]!;
      const code = fixed ? 0 : Math.min(qmax, Math.max(qmin, Math.round(x / lane.scale)));
      const error = (x - code * lane.scale) / u[j * size + j]!;
      lane.codes[column] = code;
      lane.error += error * error;
      errors[l] = error;
    }
    carry(w, w, starts, lanes.length, lattice, j, errors);
  }
  return lanes;
}

/**
 * Carries the errors of column j to the columns behind it: lane l of `to` becomes what begins at starts[l] in `from`, less its error
 * times U's row. Four lanes at a time, for each number of U that is read.
 */
function carry(
  to: Float64Array,
  from: Float64Array,
  starts: Int32Array,
  lanes: number,
  { size, factor: u }: Lattice,
  j: number,
  errors: Float64Array,
): void {
  const row = j * size;
  let l = 0;
  for (; l + 3 < lanes; l += 4) {
    const [a, b, c, d] = [starts[l]!, starts[l + 1]!, starts[l + 2]!, starts[l + 3]!];
    const [ea, eb, ec, ed] = [errors[l]!, errors[l + 1]!, errors[l + 2]!, errors[l + 3]!];
    const [ta, tb, tc, td] = [l * size, (l + 1) * size, (l + 2) * size, (l + 3) * size];
    for (let k = j + 1; k < size; k++) {
      const v = u[row + k]!;
      to[ta + k] = from[a + k]! - ea * v;
      to[tb + k] = from[b + k]! - eb * v;
      to[tc + k] = from[c + k]! - ec * v;
      to[td + k] = from[d + k]! - ed * v;
    }
  }
  for (; l < lanes; l++) {
    const [start, e, at] = [starts[l]!, errors[l]!, l * size];
    for (let k = j + 1; k < size; k++) to[at + k] = from[start + k]! - e * u[row + k]!;
  }
}

/**
 * The same at one scale with several `paths`: both neighbours of each weight are tried and the best so many beginnings kept (K-best
 * sphere decoding: Guo and Nilsson 2006, doi 10.1109/JSAC.2005.862402).
 */
export function roundByPaths(
  lattice: Lattice,
  weights: Float64Array,
  scale: number,
  { qmin, qmax, frozen }: CodeBounds,
  paths: number,
): { readonly codes: Float64Array; readonly error: number } {
  const { size, order, factor: u } = lattice;
  let [w, next] = [new Float64Array(paths * size), new Float64Array(paths * size)];
  let [costs, spare] = [new Float64Array(paths), new Float64Array(paths)];
  w.set(weights);
  const chosen = new Int32Array(paths * size);
  const parents = new Int32Array(paths * size);
  const [errors, starts] = [new Float64Array(paths), new Int32Array(paths)];
  const cost = new Float64Array(2 * paths);
  const code = new Int32Array(2 * paths);
  let alive = 1;
  for (let j = 0; j < size; j++) {
    const fixed = frozen[order[j]!] === 1;
    const d = u[j * size + j]!;
    const tried: number[] = [];
    const tryCode = (slot: number, x: number, q: number): void => {
      const error = (x - q * scale) / d;
      cost[slot] = costs[slot >> 1]! + error * error;
      code[slot] = q;
      tried.push(slot);
    };
    for (let p = 0; p < alive; p++) {
      const x = w[p * size + j]!;
      const near = fixed ? 0 : Math.min(qmax, Math.max(qmin, Math.round(x / scale)));
      tryCode(2 * p, x, near);
      const other = near + (x > near * scale ? 1 : -1);
      if (!fixed && other >= qmin && other <= qmax) tryCode(2 * p + 1, x, other);
    }
    tried.sort((a, b) => cost[a]! - cost[b]!);
    alive = Math.min(paths, tried.length);
    for (let p = 0; p < alive; p++) {
      const slot = tried[p]!;
      const q = code[slot]!;
      spare[p] = cost[slot]!;
      chosen[j * paths + p] = q;
      parents[j * paths + p] = slot >> 1;
      starts[p] = (slot >> 1) * size;
      errors[p] = (w[(slot >> 1) * size + j]! - q * scale) / d;
    }
    carry(next, w, starts, alive, lattice, j, errors);
    [w, next] = [next, w];
    [costs, spare] = [spare, costs];
  }
  const codes = new Float64Array(size);
  for (let j = size - 1, path = 0; j >= 0; j--) {
    codes[order[j]!] = chosen[j * paths + path]!;
    path = parents[j * paths + path]!;
  }
  return { codes, error: costs[0]! };
}
