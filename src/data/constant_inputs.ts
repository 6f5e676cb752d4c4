import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { cast } from './cast.ts';
import { inputNamed } from './check.ts';
import { dataError } from './errors.ts';
import type { Opening } from './source.ts';
import type { Feeds } from './types.ts';

/**
 * The one input that a source feeds, and those beside it that `values` fill with one value throughout, such as a sampling rate.
 * @throws QtoolError `data` where an input is left without, or its size is not known.
 */
export function oneInputAnd(
  values: Readonly<Record<string, number>>,
  name: string | undefined,
  { inputs, at }: Opening,
): { readonly input: ModelInput; readonly others: Feeds } {
  const filled = Object.keys(values).map((one) => inputNamed(inputs, one, at('values', one)));
  const open = inputs.filter((input) => !filled.includes(input));
  const input = name === undefined ? open[0] : inputNamed(inputs, name, at('input'));
  const left = open.filter((one) => one !== input);
  if (input === undefined || filled.includes(input)) throw dataError('`values` leave no input to feed', at('values'));
  if (left[0])
    throw dataError(`nothing is said of the model input "${left[0].name}" beside "${input.name}"`, at(), `Give it: values: { ${left[0].name}: <number> }; state: says what is fed back.`); // prettier-ignore
  const others = filled.map(({ name: own, type, dims }) => {
    const shape = dims?.map((dim, axis) => (axis === 0 ? 1 : Number(dim)));
    if (shape === undefined || shape.some(Number.isNaN))
      throw dataError(`the size of the model input "${own}" is not known: [${dims?.join(', ') ?? ''}]`, at('values', own)); // prettier-ignore
    const data = new Float64Array(elementCount(shape)).fill(values[own]!);
    return [own, { type, dims: shape, data: cast(data, 'float64', type, `the value of "${own}"`) }] as const;
  });
  return { input, others: Object.fromEntries(others) };
}
