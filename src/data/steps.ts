import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { dtypes } from '../graph/dtype.ts';
import { didYouMean } from '../util/suggest.ts';
import type { Path } from '../util/yaml.ts';
import { inputNamed } from './check.ts';
import { dataError } from './errors.ts';
import { batchAxes } from './layout.ts';
import { limits } from './limits.ts';
import type { Feedback, Feeds, Sample, Target, Tensor } from './types.ts';

/** What a data config says of a state: the output that is fed back, and the shape it begins in where the model does not say it. */
export type StateConfig = Readonly<Record<string, string | { readonly output: string; readonly dims?: readonly number[] | undefined }>>; // prettier-ignore

const stepsAxis = 'steps';

/** Whether samples of this input are sequences of steps, [1, steps, …]. */
export const isSequence = ({ dims }: Pick<ModelInput, 'dims'>): boolean => dims?.[1] === stepsAxis;

/**
 * States that are fed back, and the inputs that samples feed then: those left, each with an axis of steps after the batch, which is 1; inputs without axes are the same in all steps.
 * @throws QtoolError `data` for a name that the model has not, or a state whose size is not known.
 */
export function sequenceInputs(
  inputs: readonly ModelInput[],
  outputs: readonly string[],
  state: StateConfig,
  at: (path: Path) => string | undefined,
): { readonly inputs: readonly ModelInput[]; readonly feedback: readonly Feedback[] } {
  const lead = batchAxes(inputs);
  const feedback = Object.entries(state).map(([name, given]): Feedback => {
    const { output, dims } = typeof given === 'string' ? { output: given, dims: undefined } : given;
    const input = inputNamed(inputs, name, at(['state', name]));
    if (outputs.length > 0 && !outputs.includes(output))
      throw dataError(`the model has no output "${output}"${didYouMean(output, outputs)}; it has ${outputs.join(', ')}`, at(['state', name])); // prettier-ignore
    const shape = dims ?? input.dims?.map((dim) => (typeof dim === 'string' && lead.has(dim) ? 1 : Number(dim)));
    if (shape === undefined || shape.some(Number.isNaN))
      throw dataError(`the size of the state "${name}" is not known: [${input.dims?.join(', ') ?? ''}]`, at(['state', name]), `Give it: state: { ${name}: { output: ${output}, dims: [1, <size>] } }.`); // prettier-ignore
    if (elementCount(shape) > limits.elements)
      throw dataError(`the state "${name}" would have more than ${limits.elements} elements`, at(['state', name]));
    if (dims && (input.dims?.length ?? dims.length) !== dims.length) throw dataError(`the state "${name}" is [${input.dims?.join(', ')}] in the model, not [${dims.join(', ')}]`, at(['state', name])); // prettier-ignore
    const make = dtypes[input.type].array;
    if (make === undefined) throw dataError(`a state of type ${input.type} cannot begin at zero`, at(['state', name]));
    return { input: name, output, start: { type: input.type, dims: shape, data: new make(elementCount(shape)) } };
  });
  const fed = inputs.filter(({ name }) => !feedback.some(({ input }) => input === name));
  if (fed.length === 0) throw dataError('every input is a state: nothing is left to feed', at(['state']));
  const stepped = fed.map((input): ModelInput => {
    if (input.dims === undefined || input.dims.length === 0) return input;
    // A sequence runs alone.
    const row = input.dims.map((dim, axis) => (typeof dim === 'string' && (axis === 0 || lead.has(dim)) ? 1 : dim));
    return { ...input, dims: [1, stepsAxis, ...row] };
  });
  return { inputs: stepped, feedback };
}

/** The steps of a sample, without the states. @throws QtoolError `data` where its inputs have not as many. */
export function stepsOf(
  { id, feeds, target }: Sample,
  inputs: readonly ModelInput[],
): { feeds: Feeds; target?: Target }[] {
  const stepped = inputs.filter(isSequence).map(({ name }) => name);
  const counts = new Map(stepped.map((name) => [name, feeds[name]?.dims[1] ?? 0]));
  const [count = 1] = counts.values();
  if ([...counts.values()].some((one) => one !== count))
    throw dataError(`the inputs have not as many steps: ${[...counts].map(([name, n]) => `${name} ${n}`).join(', ')}`, id); // prettier-ignore
  const label = target?.label;
  if (label && label.length % count !== 0) throw dataError(`there are ${label.length} labels for ${count} steps`, id);
  const each = (label?.length ?? 0) / count;
  return Array.from({ length: count }, (_, step) => {
    const part = (tensor: Tensor): Tensor => {
      const [, , ...dims] = tensor.dims;
      const length = elementCount(dims);
      return { type: tensor.type, dims, data: tensor.data.slice(step * length, (step + 1) * length) };
    };
    const own = Object.entries(feeds).map(([name, tensor]) => [name, counts.has(name) ? part(tensor) : tensor] as const); // prettier-ignore
    const expected = Object.entries(target?.expected ?? {}).map(([name, tensor]) => {
      if (tensor.dims[1] !== count) throw dataError(`the expected output "${name}" is [${tensor.dims.join(', ')}], not [1, ${count}, …] for ${count} steps`, id); // prettier-ignore
      return [name, part(tensor)] as const;
    });
    const answer: Target = {
      ...(label ? { label: label.slice(step * each, (step + 1) * each) } : {}),
      ...(expected.length > 0 ? { expected: Object.fromEntries(expected) } : {}),
    };
    return { feeds: Object.fromEntries(own), ...(target ? { target: answer } : {}) };
  });
}
