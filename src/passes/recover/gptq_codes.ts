import { gptq } from '../../numerics/gptq.ts';
import { cholesky, damped, dampedEnough, solveSpd } from '../../numerics/linalg.ts';
import { portion, type Steps } from '../../util/steps.ts';
import type { RoundingProblem } from './rounding_problem.ts';

/** GPTQ's rounding of a layer, at the scales it has, and the damping that its moments needed. */
export function* gptqCodes(
  p: RoundingProblem,
  order: 'natural' | 'activation',
  at: string,
): Steps<{ readonly codes: Float64Array; readonly damping: number }> {
  const { rows, size } = p;
  const codes = new Float64Array(p.exact.length);
  let most = 0;
  const bits = Math.round(Math.log2(p.qmax + 1)) + 1;
  const format = { kind: 'int', bits, signed: true, symmetric: true, narrow: p.qmin === -p.qmax } as const;
  for (let g = 0; g < p.groups; g++) {
    const first = g * rows * size;
    const gram = p.gram.slice(g * size * size, (g + 1) * size * size);
    // An input that is always 0 leaves its weights undetermined.
    for (let i = 0; i < size; i++) if (gram[i * size + i] === 0) gram[i * size + i] = 1;
    const turned = new Float64Array(rows * size);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < size; k++) turned[k * rows + r] = p.target[first + r * size + k]!;
    const part = <T>(steps: Steps<T>, from: number, to: number): Steps<T> =>
      portion(steps, (g + from) / p.groups, (g + to) / p.groups);
    const factored = dampedEnough((share) => cholesky(damped(gram, size, share), size, at));
    const { damping: extra } = yield* part(factored, 0, 0.2);
    most = Math.max(most, extra);
    // The weights that do best on the inputs of the quantized model, unrounded: T G⁻¹.
    const solved = yield* part(solveSpd(gram, size, turned, rows, extra, at), 0.2, 0.5);
    const weights = new Float32Array(rows * size);
    const mask = new Uint8Array(rows * size);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < size; k++) {
        weights[r * size + k] = solved[k * rows + r]!;
        mask[r * size + k] = p.frozen[first + r * size + k] === 1 ? 0 : 1;
      }
    const rounding = gptq(weights, [rows, size], gram, {
      format,
      damping: extra,
      order,
      mask,
      choose: (_, row) => ({ scale: p.scale[first + row * size]!, zeroPoint: 0 }),
      at,
    });
    const result = yield* part(rounding, 0.5, 1);
    codes.set(result.codes, first);
  }
  return { codes, damping: most };
}
