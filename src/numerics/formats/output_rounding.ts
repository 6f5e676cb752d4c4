import { portion, type Steps } from '../../util/steps.ts';
import { gptqColumns } from '../gptq.ts';
import { codeOf, nearestGrid, type Grid } from '../grid.ts';
import { damped } from '../linalg.ts';
import { forEachOfGroup } from '../layout.ts';
import { descendRounding, type CodeLevels } from '../rounding_descent.ts';
import { gridOf, halfScale, type FormatCodes } from './apply.ts';

const { fround, log2 } = Math;

/** Sweeps of descent, most: among powers of two it is many steps from a small value to a large one. */
const sweeps = 200;

/** Second moments of what rows are multiplied with: [groups, K, K]; rows fall into groups in order. */
export interface InputMoments {
  readonly groups: number;
  readonly gram: Float64Array;
}

/** Codes of a format to be chosen by what they do to the layer's output: f(w̃) = w̃ G w̃ᵀ − 2 w̃ tᵀ for each row, t = w G. */
export interface OutputProblem {
  readonly held: FormatCodes;
  readonly rows: number;
  readonly columns: number;
  readonly weights: Float32Array;
  /** G by groups of rows, damped, and t; in units of the layer's mean output power. */
  readonly groups: number;
  readonly gram: Float64Array;
  readonly target: Float64Array;
  /** Which parameters each weight has. */
  readonly paramOf: Uint32Array;
  /** Each parameter group's levels, a value going to the nearest whatever the format's own thresholds are: the output's error decides. */
  readonly grids: readonly Grid[];
  /** 1: a weight that is exactly 0 and can be held so; it stays. */
  readonly frozen: Uint8Array;
}

/**
 * The problem of a weight whose format was fitted.
 *
 * @param damping share of G's mean diagonal that is added to the diagonal: a pull towards the float weights. An input that is always 0
 * leaves its weights open, and they go to the nearest.
 */
export function* outputProblem(
  held: FormatCodes,
  weights: Float32Array,
  columns: number,
  moments: InputMoments,
  damping: number,
): Steps<OutputProblem> {
  const { groups } = moments;
  const rows = weights.length / columns;
  const gram = new Float64Array(moments.gram.length);
  for (let g = 0, size = columns ** 2; g < groups; g++)
    gram.set(damped(moments.gram.subarray(g * size, (g + 1) * size), columns, damping), g * size);
  const target = new Float64Array(weights.length);
  let power = 0;
  for (let r = 0; r < rows; r++) {
    const g = gramOf({ gram, groups, rows, columns }, r);
    const t = target.subarray(r * columns, (r + 1) * columns);
    addProduct(weights.subarray(r * columns, (r + 1) * columns), g, t);
    for (let j = 0; j < columns; j++) power += t[j]! * weights[r * columns + j]!;
    yield r / rows;
  }
  const unit = power > 0 ? power / rows : 1;
  const frozen = Uint8Array.from(weights, (w, i) => (w === 0 && held.values[i] === 0 ? 1 : 0));
  const scaled = { gram: gram.map((v) => v / unit), target: target.map((v) => v / unit) };
  return { held, rows, columns, weights, groups, ...scaled, paramOf: paramsOf(held), grids: gridsOf(held), frozen };
}

const gridsOf = ({ groups }: FormatCodes): Grid[] => groups.map((group) => nearestGrid(gridOf(group).levels));

function paramsOf({ layout, codes, groups }: FormatCodes): Uint32Array {
  const found = new Uint32Array(codes.length);
  for (let p = 0; p < groups.length; p++)
    forEachOfGroup(layout, p, (start, count) => found.fill(p, start, start + count));
  return found;
}

type Square = Pick<OutputProblem, 'gram' | 'groups' | 'rows' | 'columns'>;

/** G of a row's group. */
function gramOf({ gram, groups, rows, columns }: Square, row: number): Float64Array {
  const g = Math.floor(row / (rows / groups)) * columns * columns;
  return gram.subarray(g, g + columns * columns);
}

/** into += v G. */
function addProduct(v: ArrayLike<number>, gram: Float64Array, into: Float64Array): void {
  const n = into.length;
  for (let i = 0; i < n; i++) {
    const x = v[i]!;
    if (x !== 0) for (let j = 0, at = i * n; j < n; j++, at++) into[j]! += x * gram[at]!;
  }
}

/** What codes of a row stand for, code i being the row's i-th. */
const levelsOf = ({ grids, paramOf }: OutputProblem, from: number): CodeLevels => ({
  value: (i, code) => grids[paramOf[from + i]!]!.levels[code]!,
  gap: (i, code, step) => {
    const { levels } = grids[paramOf[from + i]!]!;
    return code + step < 0 || code + step >= levels.length ? 0 : levels[code + step]! - levels[code]!;
  },
});

/** f of one row. */
export function rowOutputError(p: OutputProblem, row: number, codes: Uint16Array): number {
  const from = row * p.columns;
  const levels = levelsOf(p, from);
  const w = Float64Array.from({ length: p.columns }, (_, i) => levels.value(i, codes[from + i]!));
  const product = new Float64Array(p.columns);
  addProduct(w, gramOf(p, row), product);
  return w.reduce((sum, v, i) => sum + v * (product[i]! - 2 * p.target[from + i]!), 0);
}

/** Codes by GPTQ: each weight's error is made up for by the weights not yet rounded. @returns new codes. */
export function* gptqFormatCodes(
  p: OutputProblem,
  o: { readonly order: 'natural' | 'activation'; readonly at: string },
): Steps<Uint16Array> {
  const codes = p.held.codes.slice();
  const each = p.rows / p.groups;
  for (let g = 0; g < p.groups; g++) {
    const first = g * each * p.columns;
    const round = (x: number, row: number, column: number): number => {
      const i = first + row * p.columns + column;
      const grid = p.grids[p.paramOf[i]!]!;
      if (p.frozen[i] !== 1) codes[i] = codeOf(grid, fround(x));
      return grid.levels[codes[i]!]!;
    };
    const part = p.weights.subarray(first, first + each * p.columns);
    const gram = p.gram.slice(g * p.columns ** 2, (g + 1) * p.columns ** 2);
    // The moments are damped already.
    const steps = gptqColumns(part, [each, p.columns], gram, { ...o, damping: 0, round });
    yield* portion(steps, g / p.groups, (g + 1) / p.groups);
  }
  return codes;
}

/** Coordinate descent: one code moves to its neighbour at a time, where that makes f less. @param codes changed in place. */
export function* descendFormatCodes(p: OutputProblem, codes: Uint16Array): Steps<void> {
  const { rows, columns } = p;
  const gradient = new Float64Array(columns);
  const part = <T extends Uint16Array | Uint8Array | Float64Array>(all: T, r: number): T =>
    all.subarray(r * columns, (r + 1) * columns) as T;
  for (let r = 0; r < rows; r++) {
    const options = { frozen: part(p.frozen, r), gradient, sweeps };
    descendRounding(
      part(codes, r),
      levelsOf(p, r * columns),
      gramOf(p, r),
      part(p.target, r),
      { rows: 1, size: columns },
      options,
    );
    yield r / rows;
  }
}

/** Row by row the one of two choices of codes that has the smaller f. */
export function* betterFormatCodes(p: OutputProblem, a: Uint16Array, b: Uint16Array): Steps<Uint16Array> {
  const best = a.slice();
  for (let r = 0; r < p.rows; r++) {
    if (rowOutputError(p, r, b) < rowOutputError(p, r, a))
      best.set(b.subarray(r * p.columns, (r + 1) * p.columns), r * p.columns);
    yield r / p.rows;
  }
  return best;
}

/** Codes as what they stand for. */
export function heldCodes({ held, grids, paramOf }: OutputProblem, codes: Uint16Array): FormatCodes {
  return { ...held, codes, values: Float32Array.from(codes, (code, i) => grids[paramOf[i]!]!.levels[code]!) };
}

/** Scales that are all powers of two, or kept as they are, follow a rule of their format, and levels of a group's own have scale 1: none is free. */
export const scalesAreFree = ({ groups, format }: FormatCodes): boolean =>
  !format.exactScale && groups.some(({ scale }) => !Number.isInteger(log2(scale)));

/**
 * The same codes at the scales of least f: each group's by the closed form s · (1 − v·(w̃ G − t) / v G vᵀ), v being its part of w̃, one group after the
 * other. Two-step quantization's α (Wang et al. 2018), which is t·b / b G bᵀ where a row has one scale.
 */
export function* refitScales(p: OutputProblem, codes: Uint16Array): Steps<OutputProblem> {
  const { held, rows, columns } = p;
  const values = heldCodes(p, codes).values;
  const slope = p.target.map((t) => -t);
  const rowOf = (all: Float64Array, r: number): Float64Array => all.subarray(r * columns, (r + 1) * columns);
  for (let r = 0; r < rows; r++) {
    addProduct(values.subarray(r * columns, (r + 1) * columns), gramOf(p, r), rowOf(slope, r));
    yield (0.5 * r) / rows;
  }
  const groups = held.groups.slice();
  for (const [g, { set, scale }] of held.groups.entries()) {
    // The group's part of w̃, and what it makes of the output, by rows.
    const parts = new Map<number, Float64Array>();
    forEachOfGroup(held.layout, g, (start, count) => {
      for (let i = start; i < start + count; i++) {
        const r = Math.floor(i / columns);
        const part = parts.get(r) ?? new Float64Array(columns);
        part[i - r * columns] = values[i]!;
        parts.set(r, part);
      }
    });
    let [along, square] = [0, 0];
    const products = new Map<number, Float64Array>();
    for (const [r, v] of parts) {
      const product = new Float64Array(columns);
      addProduct(v, gramOf(p, r), product);
      products.set(r, product);
      for (let j = 0; j < columns; j++) {
        along += v[j]! * slope[r * columns + j]!;
        square += v[j]! * product[j]!;
      }
    }
    const next = square > 0 && square > along ? halfScale(fround(scale * (1 - along / square))) : scale;
    if (next >= 2 ** -126 && next < Infinity) {
      groups[g] = { set, scale: next };
      for (const [r, product] of products) {
        const into = rowOf(slope, r);
        for (let j = 0; j < columns; j++) into[j]! += (next / scale - 1) * product[j]!;
      }
    }
    yield 0.5 + (0.5 * g) / groups.length;
  }
  const refitted = { ...held, groups };
  return { ...p, held: refitted, grids: gridsOf(refitted) };
}
