import { tensorData } from '../../graph/tensor.ts';
import { descendRounding, integerLevels } from '../../numerics/rounding_descent.ts';
import { leastWeightScale } from '../../numerics/quantize.ts';
import type { Steps } from '../../util/steps.ts';
import type { Moments } from '../moments.ts';
import { linearSizes, readRows, writeRows } from '../rows.ts';
import { biasValues, scaleOf, type QuantizedLayer } from './sites.ts';

/** A layer's rounding as matrices: [groups, rows, K] row-major, rows = outputs of a group. */
export interface RoundingProblem {
  readonly groups: number;
  readonly rows: number;
  readonly size: number;
  readonly qmin: number;
  readonly qmax: number;
  readonly scale: Float64Array;
  /** The smallest scale of each output at which its bias still fits int32; 0 where there is none. */
  readonly least: Float64Array;
  /** W/s + zero point: what is to be rounded. */
  readonly exact: Float64Array;
  /** Codes less their zero point that are stored now. */
  readonly nearest: Float64Array;
  /** Zero weights stay zero. */
  readonly frozen: Uint8Array;
  /** G and T, divided by the layer's mean output power, so that λ means the same for every layer. */
  readonly gram: Float64Array;
  readonly target: Float64Array;
}

/**
 * The rounding problem of a layer. `centred` takes means out of the moments, for a layer whose bias will be corrected.
 * `damping` (a share of the mean diagonal of G) adds the distance to the float weights, so that directions the calibration data
 * hardly shows are not rounded at will: with fewer samples than weights of one output G is singular. The fewer the columns are for
 * their size, the more is added.
 */
export function* roundingProblem(
  layer: QuantizedLayer,
  moments: Moments,
  centred: boolean,
  damping: number,
): Steps<RoundingProblem> {
  const { groups, count, rows, size } = moments;
  const outputs = groups * rows;
  const total = outputs * size;
  const weights = readRows(layer, layer.weights);
  const scale = weights.map((_, i) => scaleOf(layer, Math.floor(i / size)));
  const exact = weights.map((w, i) => w / scale[i]!);
  const nearest = storedCodes(layer);
  const frozen = Uint8Array.from(weights, (w) => (w === 0 ? 1 : 0));
  const least = new Float64Array(outputs);
  if (layer.bias) least.set(biasValues(layer).map((b) => leastWeightScale(b, layer.bias?.inputScale ?? 1)));
  const gram = new Float64Array(moments.gram.length);
  const target = new Float64Array(total);
  const mean = (sums: Float64Array, at: number): number => (centred ? sums[at]! / count : 0);
  for (let g = 0; g < groups; g++)
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const at = (g * size + i) * size + j;
        gram[at] = moments.gram[at]! / count - mean(moments.sum, g * size + i) * mean(moments.sum, g * size + j);
      }
  for (let r = 0; r < outputs; r++)
    for (let j = 0, g = Math.floor(r / rows) * size; j < size; j++)
      target[r * size + j] =
        moments.target[r * size + j]! / count - mean(moments.targetSum, r) * mean(moments.sum, g + j);
  for (let g = 0; g < groups; g++) {
    const diagonal = Array.from({ length: size }, (_, i) => (g * size + i) * size + i);
    const sum = diagonal.reduce((total, at) => total + Math.max(0, gram[at]!), 0);
    // The share of the raw power is for inputs that never vary, whose weights would be left open.
    const raw = diagonal.reduce((total, at) => total + moments.gram[at]!, 0) / count;
    // Moments of few columns know few directions: their share of the noise falls as K / count.
    const added = ((damping + size / count) * sum + 1e-9 * raw) / size;
    for (const at of diagonal) gram[at] = gram[at]! + added;
    for (let at = g * rows * size; at < (g + 1) * rows * size; at++)
      target[at] = target[at]! + added * exact[at]! * scale[at]!;
  }
  const bounds = codeBounds(nearest, layer.zeroPoint);
  const problem = { groups, rows, size, ...bounds, scale, least, exact, nearest, frozen, gram, target };
  const power = yield* outputPower(problem);
  return { ...problem, gram: gram.map((g) => g / power), target: target.map((t) => t / power) };
}

/** The float layer's mean output power, which the error is measured in: the mean of w G wᵀ. */
function* outputPower({ groups, rows, size, exact, scale, gram }: RoundingProblem): Steps<number> {
  let power = 0;
  for (let r = 0; r < groups * rows; r++) {
    const g = Math.floor(r / rows) * size * size;
    const w = Float64Array.from({ length: size }, (_, i) => exact[r * size + i]! * scale[r * size + i]!);
    for (let i = 0, at = g; i < size; i++) {
      let sum = 0;
      for (let j = 0; j < size; j++, at++) sum += gram[at]! * w[j]!;
      power += w[i]! * sum;
    }
    yield r / (groups * rows);
  }
  return Math.max(power / (groups * rows), 1e-30);
}

/** The same problem at a layer's new scales. */
export function atScales(p: RoundingProblem, layer: QuantizedLayer): RoundingProblem {
  const scale = p.scale.map((_, i) => scaleOf(layer, Math.floor(i / p.size)));
  return { ...p, scale, exact: p.exact.map((w, i) => (w * p.scale[i]!) / scale[i]!) };
}

/** w̃ G w̃ᵀ − 2 t w̃ᵀ of one row: the error of its output in units of the layer's power, less what no rounding changes. */
export function rowError(p: RoundingProblem, row: number, codes: Float64Array): number {
  const { size } = p;
  const from = row * size;
  const g = Math.floor(row / p.rows) * size * size;
  const w = Float64Array.from({ length: size }, (_, i) => codes[from + i]! * p.scale[from + i]!);
  let error = 0;
  for (let i = 0, at = g; i < size; i++) {
    let sum = -2 * p.target[from + i]!;
    for (let j = 0; j < size; j++, at++) sum += p.gram[at]! * w[j]!;
    error += w[i]! * sum;
  }
  return error;
}

/** Row by row the one of two roundings that has the smaller error. */
export function* better(p: RoundingProblem, a: Float64Array, b: Float64Array): Steps<Float64Array> {
  const result = a.slice();
  for (let row = 0; row < p.groups * p.rows; row++) {
    yield row / (p.groups * p.rows);
    if (rowError(p, row, b) < rowError(p, row, a))
      result.set(b.subarray(row * p.size, (row + 1) * p.size), row * p.size);
  }
  return result;
}

/** The codes that a width as small as these need can hold: a 4-bit grid inside int8 stays one. */
export function codeBounds(codes: Float64Array, zeroPoint: ArrayLike<number>): { qmin: number; qmax: number } {
  const high = codes.reduce((m, q) => Math.max(m, q), 1);
  const low = codes.reduce((m, q) => Math.min(m, q), -1);
  // What a zero point leaves on either side differs from output to output; what is used is there.
  if (Array.from(zeroPoint).some((zero) => zero !== 0)) return { qmin: low, qmax: high };
  const bits = Math.ceil(Math.log2(Math.max(high + 1, -low))) + 1;
  const qmax = 2 ** (bits - 1) - 1;
  return { qmin: low < -qmax ? -qmax - 1 : -qmax, qmax };
}

/** Coordinate descent from a rounding, row by row: no row looks at another. */
export function* polish(p: RoundingProblem, codes: Float64Array): Steps<void> {
  const { size, qmin, qmax } = p;
  const shape = { rows: 1, size };
  const gradient = new Float64Array(size);
  for (let row = 0; row < p.groups * p.rows; row++) {
    const part = <T extends Float64Array | Uint8Array>(all: T): T => all.subarray(row * size, (row + 1) * size) as T;
    const g = Math.floor(row / p.rows) * size * size;
    const gram = p.gram.subarray(g, g + size * size);
    const levels = integerLevels(part(p.scale), qmin, qmax);
    descendRounding(part(codes), levels, gram, part(p.target), shape, { frozen: part(p.frozen), gradient });
    yield row / (p.groups * p.rows);
  }
}

/** E[W x − W̃ x̂] of each output: what the bias must add. `codes` are less their zero points. */
export function meanError(layer: QuantizedLayer, { rows, size, all }: Moments, codes: Float64Array): Float64Array {
  return all.targetSum.map((wanted, r) => {
    let error = wanted;
    for (let k = 0, g = Math.floor(r / rows) * size; k < size; k++)
      error -= codes[r * size + k]! * scaleOf(layer, r) * all.sum[g + k]!;
    return error / all.count;
  });
}

/** The stored codes less their zero points, [outputs, K]. */
export function storedCodes(layer: QuantizedLayer): Float64Array {
  const { size } = linearSizes(layer);
  return readRows(layer, tensorData(layer.codes) as Int8Array).map(
    (code, i) => code - zeroPointOf(layer, Math.floor(i / size)),
  );
}

/** Codes in the tensor's own order, with their zero points. */
export function toCodes(layer: QuantizedLayer, codes: Float64Array): Float64Array {
  const { size } = linearSizes(layer);
  return writeRows(
    layer,
    codes.map((code, i) => code + zeroPointOf(layer, Math.floor(i / size))),
  );
}

const zeroPointOf = ({ zeroPoint }: QuantizedLayer, output: number): number =>
  zeroPoint[zeroPoint.length === 1 ? 0 : output]!;
