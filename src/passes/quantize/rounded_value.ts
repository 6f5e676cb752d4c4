import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Grid } from '../../numerics/grid.ts';
import type { BlockGrid } from '../../numerics/formats/run_time.ts';
import { int64, stepsOf } from './steps.ts';

/**
 * Adds what rounds a float32 value of any shape to a grid, in standard operators (operator set 13), the same number for number as `roundTo`:
 * binary search of the thresholds, one comparison a bit, then a look-up of the level. NaN stays NaN.
 *
 * @returns the name of the rounded value.
 */
export function addRounding(draft: Draft, value: string, { levels, thresholds }: Grid): string {
  const chain = stepsOf(draft);
  const hint = `${value}_rounded`;
  const whole = (n: number): string => draft.add(`${hint}_step`, makeTensor('step', 'int32', [], Int32Array.of(n)));
  const reals = (label: string, numbers: Float32Array): string =>
    draft.add(`${hint}_${label}`, makeTensor(label, 'float32', [numbers.length], numbers));
  const steps = Math.ceil(Math.log2(Math.max(2, levels.length)));
  // Filled up to a whole tree: what lies behind the last threshold is never reached, or leads to the last level again.
  const borders = new Float32Array(2 ** steps - 1).fill(Infinity);
  borders.set(thresholds);
  const table = new Float32Array(2 ** steps).fill(levels.at(-1)!);
  table.set(levels);
  const search = reals('thresholds', borders);
  const flat = chain('Reshape', [value, draft.add(`${hint}_flat`, int64([-1]))], `${hint}_flat_value`);
  let code = '';
  for (let step = 2 ** (steps - 1); step >= 1; step /= 2) {
    const border =
      code === ''
        ? draft.add(`${hint}_middle`, makeTensor('middle', 'float32', [], Float32Array.of(borders[step - 1]!)))
        : chain(
            'GatherElements',
            [search, step === 1 ? code : chain('Add', [code, whole(step - 1)], `${hint}_at`)],
            `${hint}_border`,
            { axis: 0 },
          );
    const above = chain('GreaterOrEqual', [flat, border], `${hint}_above`);
    const one = chain('Cast', [above], `${hint}_bit`, { to: dtypes.int32.code });
    const bit = step === 1 ? one : chain('Mul', [one, whole(step)], `${hint}_more`);
    code = code === '' ? bit : chain('Add', [code, bit], `${hint}_code`);
  }
  const found = chain('GatherElements', [reals('levels', table), code], `${hint}_level`, { axis: 0 });
  const numbers = chain('Where', [chain('IsNaN', [flat], `${hint}_nan`), flat, found], `${hint}_number`);
  const result = draft.freshName(hint);
  draft.addNode(makeNode('Reshape', [numbers, chain('Shape', [value], `${hint}_shape`)], [result]));
  return result;
}

/** What is known of a value that is rounded in blocks. */
export interface BlockedValue {
  readonly value: string;
  readonly rank: number;
  /** The axis that blocks lie along, and its length, which they may not divide: zeros fill up the last one. */
  readonly axis: number;
  readonly length: number;
  /** The model's operator set: 18 has the axes of ReduceMax as an input. */
  readonly opset: number;
}

/**
 * Adds what rounds a float32 value in blocks that get their scales when the model runs, in standard operators, number for number as a plain loop does along
 * the axis: the largest magnitude of each block, its scale from a table (no logarithm, which would not be exact at powers of two), division, the
 * rounding at scale 1, multiplication.
 *
 * @returns the name of the rounded value.
 */
export function addBlockRounding(
  draft: Draft,
  { value, rank, axis, length, opset }: BlockedValue,
  grid: BlockGrid,
): string {
  const chain = stepsOf(draft);
  const hint = `${value}_blocks`;
  const numbers = (label: string, list: readonly number[]): string => draft.add(`${hint}_${label}`, int64(list));
  const zero = draft.add(`${hint}_zero`, makeTensor('zero', 'float32', [], Float32Array.of(0)));
  const last = rank - 1;
  const perm = Array.from({ length: rank }, (_, i) => (i === axis ? last : i === last ? axis : i));
  const turn = (name: string): string =>
    axis === last ? name : chain('Transpose', [name], `${hint}_turned`, { perm });
  const more = (grid.block - (length % grid.block)) % grid.block;
  const pads = [...Array<number>(2 * rank - 1).fill(0), more];
  const turned = turn(value);
  const whole = more === 0 ? turned : chain('Pad', [turned, numbers('pads', pads), zero], `${hint}_whole`);
  const flat = chain('Reshape', [whole, numbers('flat', [-1, grid.block])], `${hint}_flat`);
  const known = chain('Where', [chain('IsNaN', [flat], `${hint}_nan`), zero, flat], `${hint}_known`);
  const magnitudes = chain('Abs', [known], `${hint}_magnitudes`);
  const largest =
    opset < 18
      ? chain('ReduceMax', [magnitudes], `${hint}_largest`, { axes: [1], keepdims: 1 })
      : chain('ReduceMax', [magnitudes, numbers('axes', [1])], `${hint}_largest`, { keepdims: 1 });
  const scale = addRounding(draft, largest, grid.scales);
  const unit = addRounding(draft, chain('Div', [flat, scale], `${hint}_unit`), grid.unit);
  const rounded = chain('Mul', [unit, scale], `${hint}_rounded`);
  const shaped = chain('Reshape', [rounded, chain('Shape', [whole], `${hint}_shape`)], `${hint}_shaped`);
  const cut = more === 0 ? shaped : chain('Slice', [shaped, numbers('start', [0]), numbers('end', [length]), numbers('last', [last])], `${hint}_cut`); // prettier-ignore
  return turn(cut);
}
