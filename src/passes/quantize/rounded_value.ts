import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Grid } from '../../numerics/grid.ts';
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
