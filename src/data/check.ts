import type { ModelInput } from '../graph/query.ts';
import { didYouMean } from '../util/suggest.ts';
import { dataError } from './errors.ts';
import { fedWhole } from './layout.ts';
import { fits } from './transforms.ts';
import type { Sample, Tensor } from './types.ts';

const shape = (dims: readonly (number | string)[]): string => `[${dims.join(', ')}]`;

/** @throws QtoolError `data` where a sample lacks an input, has one too many, or one of another type or shape. */
export function checkSample(sample: Sample, inputs: readonly ModelInput[], classes: number | undefined): void {
  const joins = !fedWhole(inputs);
  for (const input of inputs) {
    const tensor = sample.feeds[input.name];
    if (tensor === undefined) {
      const got = Object.keys(sample.feeds).join(', ');
      throw dataError(
        `the data has nothing for the model input "${input.name}" (it feeds ${got || 'nothing'})`,
        sample.id,
      );
    }
    if (tensor.type !== input.type)
      throw dataError(`the data is ${tensor.type}, the model input "${input.name}" wants ${input.type}`, sample.id, 'Set transforms.dtype, or leave it out.'); // prettier-ignore
    if (input.dims !== undefined && !fits(tensor.dims, input.dims, joins))
      throw dataError(`the data has the shape ${shape(tensor.dims)}, the model input "${input.name}" wants ${shape(input.dims)}`, sample.id, shapeHint(tensor, input)); // prettier-ignore
  }
  if (Object.keys(sample.feeds).length > inputs.length)
    for (const name of Object.keys(sample.feeds)) inputNamed(inputs, name, sample.id);
  const wrong =
    classes === undefined ? undefined : sample.target?.label?.find((label) => label >= classes || label < -1);
  if (wrong !== undefined) throw labelError(wrong, classes, sample.id);
}

/** A column of a table that is not there. */
export function noColumn(name: string, columns: readonly string[], at: string | undefined): Error {
  return dataError(`there is no column "${name}"${didYouMean(name, columns)}; there are ${columns.join(', ')}`, at);
}

/** A class by a name that the config's `classes` do not have. */
export function unknownClass(what: string, name: string, classes: readonly string[], at: string | undefined): Error {
  return dataError(`the ${what} "${name}" is not in \`classes\`${didYouMean(name, classes)}`, at);
}

export function labelError(label: number, classes: number | undefined, at: string): Error {
  const range = classes === undefined ? 'labels start at 0' : `the model has the classes 0 to ${classes - 1}`;
  return dataError(`label ${label} is out of range: ${range}`, at, 'A label of -1 is not counted.');
}

function shapeHint(tensor: Tensor, input: ModelInput): string | undefined {
  const wanted = input.dims ?? [];
  const [, b, c, d] = wanted;
  const [, p, q, r] = tensor.dims;
  if (wanted.length !== 4 || tensor.dims.length !== 4) return undefined;
  if (b === r && c === p && d === q) return 'Give --layout NCHW, or transforms.layout in a data config.';
  if (d === p && b === q && c === r) return 'Give --layout NHWC, or transforms.layout in a data config.';
  const first = typeof b === 'number' && b <= 4;
  const [height, width, channels, given] = first ? [c, d, b, p] : [b, c, d, r];
  const sides = first ? [q, r] : [p, q];
  const colour = typeof channels !== 'number' || channels === given ? [] : channels === 1 ? ['transforms.color to grey, with one number for mean and for std'] : channels === 3 ? ['transforms.color to RGB'] : []; // prettier-ignore
  const size = height === sides[0] && width === sides[1] ? [] : [`transforms.resize or center_crop to [${height}, ${width}]`]; // prettier-ignore
  const all = [...colour, ...size];
  return all.length === 0 ? undefined : `Set ${all.join(', and ')}.`;
}

/** The input of that name. @throws QtoolError `data` with the nearest name where there is none. */
export function inputNamed(inputs: readonly ModelInput[], name: string, at: string | undefined): ModelInput {
  const found = inputs.find((input) => input.name === name);
  if (found) return found;
  const names = inputs.map((input) => input.name);
  throw dataError(`the model has no input "${name}"${didYouMean(name, names)}; it has ${names.join(', ')}`, at);
}

/** The input that a single stream of images or rows feeds. @throws QtoolError `data` where it is not clear which. */
export function onlyInput(inputs: readonly ModelInput[], name: string | undefined, at: string | undefined): ModelInput {
  const found = name === undefined ? inputs[0] : inputNamed(inputs, name, at);
  if (found === undefined) throw dataError('the model has no inputs to feed', at);
  if (inputs.length > 1)
    throw dataError(`the model has ${inputs.length} inputs (${inputs.map((input) => input.name).join(', ')}), this data feeds one`, at, 'Use kind: npy, parquet or module, which feed several.'); // prettier-ignore
  return found;
}
