import { QtoolError } from '../util/error.ts';
import { portion, type Steps } from '../util/steps.ts';
import { chooseParams, codeArray, codeRange, type AffineFormat, type Codes } from './affine.ts';
import type { Granularity, QuantParams } from './format.ts';
import { batch, byDiagonal, flush, inverseFactor, permuted, spread } from './obs.ts';
import { rangeWithZero } from './minmax.ts';
import { roundingMagic } from './rounding.ts';
import type { Mask } from './sparsity.ts';

const { fround, min } = Math;

/** Scale and zero point for the weights of one group of a row; they are float32 numbers held as doubles. */
export type ChooseParams = (
  values: Float32Array,
  row: number,
) => { readonly scale: number; readonly zeroPoint: number };

export interface GptqOptions {
  readonly format: AffineFormat;
  /** Columns that share a scale; undefined: the whole row. */
  readonly group?: number | undefined;
  readonly damping?: number | undefined;
  /**
   * `activation` takes columns by falling diagonal of the Hessian (GPTQ's act_order), so that what matters most is fixed while
   * most columns are left to make up for it. Scales are then chosen beforehand.
   */
  readonly order?: 'natural' | 'activation' | undefined;
  /** How a group's scale is chosen; the extremes of the group if not given. */
  readonly choose?: ChooseParams | undefined;
  /** 0 where a weight is pruned and must stay exactly zero. */
  readonly mask?: Mask | undefined;
  readonly at?: string | undefined;
}

export interface GptqResult {
  /** [rows, cols] */
  readonly codes: Codes;
  /** Per channel of axis 0, or per group along axis 1. */
  readonly params: QuantParams;
}

/**
 * GPTQ: quantizes a weight matrix column by column (`gptqColumns`), with integers whose scales it chooses.
 *
 * @param weights [rows, cols] row-major, cols being the summed axis (a Conv's [out, in/group·kh·kw]).
 * @param hessian Σ x·xᵀ over the inputs of those cols, [cols, cols], any positive multiple of it.
 * @throws QtoolError `graph` if sizes do not match, `data` if the Hessian is not positive definite after damping.
 */
export function* gptq(
  weights: Float32Array,
  [rows, cols]: readonly [number, number],
  hessian: Float64Array,
  options: GptqOptions,
): Steps<GptqResult> {
  const { format, mask, at } = options;
  const size = options.group ?? cols;
  const groups = Math.ceil(cols / size);
  const choose = options.choose ?? ((values) => chooseParams(...rangeWithZero(values), format, at));
  const { qmin, qmax } = codeRange(format);
  const codes = codeArray(format, rows * cols);
  const scale = new Float32Array(rows * groups);
  const zeroPoint = new Int32Array(rows * groups);
  const open = (row: number, group: number, values: Float32Array): void => {
    const chosen = choose(values, row);
    scale[row * groups + group] = chosen.scale;
    zeroPoint[row * groups + group] = chosen.zeroPoint;
  };
  const round = (x: number, row: number, column: number): number => {
    const p = row * groups + ((column / size) | 0);
    const s = scale[p]!;
    const z = zeroPoint[p]!;
    const target = row * cols + column;
    let q = 0;
    if (mask === undefined || mask[target] !== 0) {
      q = fround(fround(x) / s);
      if (q < qmin - z) q = qmin - z;
      else if (q > qmax - z) q = qmax - z;
      q = q + roundingMagic - roundingMagic;
    }
    codes[target] = q + z;
    return q * s;
  };
  yield* gptqColumns(weights, [rows, cols], hessian, { ...options, size, open, round });
  const granularity: Granularity =
    options.group === undefined ? { per: 'channel', axis: 0 } : { per: 'group', axis: 1, size };
  return { codes, params: { format, granularity, scale, zeroPoint } };
}

/** How `gptqColumns` goes through the columns, and what one number is rounded to. */
export interface ColumnRounding extends Pick<GptqOptions, 'damping' | 'order' | 'at'> {
  /** What x, the weight of a row and column with the errors of earlier columns in it, becomes. */
  readonly round: (x: number, row: number, column: number) => number;
  /** Called before the first weight of a row's group is rounded, with the group's weights as they are then; in activation order as they were. */
  readonly open?: (row: number, group: number, values: Float32Array) => void;
  /** Columns of a group; the whole row if not given. */
  readonly size?: number;
}

/**
 * Rounds a weight matrix column by column, each column's error being spread over the columns not yet rounded so that the layer's
 * output changes least, Σ‖(W − Q)·x‖² over the calibration inputs (E. Frantar et al., arXiv 2210.17323). Rows do not depend on each
 * other, so four at a time go through all columns. What numbers there are is the business of `round`.
 *
 * @throws QtoolError as `gptq` does.
 */
export function* gptqColumns(
  weights: Float32Array,
  [rows, cols]: readonly [number, number],
  hessian: Float64Array,
  { damping = 0.01, order = 'natural', at, size = cols, open, round }: ColumnRounding,
): Steps<void> {
  if (weights.length !== rows * cols || hessian.length !== cols * cols) {
    throw new QtoolError('graph', `weights of ${rows} × ${cols} need a Hessian of ${cols} × ${cols}`, { at });
  }
  const groups = Math.ceil(cols / size);
  const columns = order === 'activation' ? byDiagonal(hessian, cols) : undefined;
  // The factor takes cols³/3 multiplications, each row cols²/2.
  const factor = (2 * cols) / (2 * cols + 3 * rows);
  const u = yield* portion(
    inverseFactor(columns === undefined ? hessian : permuted(hessian, cols, columns), cols, damping, at),
    0,
    factor,
  );
  const w = new Float64Array(4 * cols);
  const errors = new Float64Array(4 * batch);
  for (let first = 0; first < rows; first += 4) {
    const count = min(4, rows - first);
    for (let r = 0; r < count; r++) {
      for (let j = 0; j < cols; j++) w[r * cols + j] = weights[(first + r) * cols + (columns?.[j] ?? j)]!;
    }
    if (columns !== undefined && open) {
      for (let r = first; r < first + count; r++) {
        for (let g = 0; g < groups; g++)
          open(r, g, weights.slice(r * cols + g * size, r * cols + min(cols, (g + 1) * size)));
      }
    }
    for (let start = 0, end = 0; start < cols; start = end) {
      // A batch ends where a group begins: the group's scale must see all that came before.
      end = min(cols, start + batch, start - (start % size) + size);
      take(first, count, start, end);
      yield factor + (1 - factor) * ((first + (count * end) / cols) / rows);
    }
  }

  /** Rounds columns start … end − 1 of `count` rows and carries their errors on. */
  function take(first: number, count: number, start: number, end: number): void {
    for (let j = start; j < end; j++) {
      const column = columns?.[j] ?? j;
      const d = u[j * cols + j]!;
      for (let r = 0; r < count; r++) {
        const here = r * cols + j;
        if (columns === undefined && j % size === 0) {
          open?.(first + r, (column / size) | 0, Float32Array.from(w.subarray(here, r * cols + min(cols, j + size))));
        }
        const x = w[here]!;
        errors[r * batch + j - start] = (x - round(x, first + r, column)) / d;
      }
      spread(w, 0, cols, u, j, end, errors, j - start);
    }
    flush(w, 0, cols, u, start, end, errors);
  }
}
