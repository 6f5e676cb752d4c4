import { extname } from 'node:path';
import type { ModelInput } from '../graph/query.ts';
import { didYouMean } from '../util/suggest.ts';
import { arraySource, type ArrayInput } from './arrays.ts';
import { onlyInput } from './check.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError } from './errors.ts';
import { npyRows, npzArrays } from './npy.ts';
import type { IndexedSource, Opening, Rows } from './source.ts';

const labelNames = ['labels', 'label', 'targets', 'y', 'y_test', 'y_train'];

/** Samples of NumPy arrays: one .npz archive, or .npy files, with several inputs and labels by name. */
export function openNpy(config: SourceConfigOf<'npy'>, opening: Opening): IndexedSource {
  const file = config.path === undefined ? undefined : opening.find(config.path, 'path');
  const single = file !== undefined && extname(file) === '.npy';
  const archive = file === undefined || single ? undefined : npzArrays(file);
  const names = [...(archive?.keys() ?? [])];
  const open = (reference: string, ...key: (string | number)[]): Rows => {
    const array = archive?.get(reference);
    if (array) return array();
    if (extname(reference) === '.npy') return npyRows(opening.find(reference, ...key));
    const known = archive ? `; it has ${names.join(', ')}` : '';
    throw dataError(`${config.path ?? 'the data'} has no array "${reference}"${didYouMean(reference, names)}${known}`, opening.at(...key)); // prettier-ignore
  };

  const notes: string[] = [];
  let labelName = config.labels;
  if (labelName === undefined && archive) {
    const taken = new Set(opening.inputs.map((input) => input.name));
    labelName = labelNames.find((name) => archive.has(name) && !taken.has(name));
    if (labelName !== undefined) notes.push(`the array "${labelName}" is taken as the labels`);
  }
  const arrays: ArrayInput[] = [];
  if (config.inputs) {
    for (const [name, given] of Object.entries(config.inputs)) {
      const input = known(opening, name);
      const [reference, own] = typeof given === 'string' ? [given, {}] : [given.array, given.transforms ?? {}];
      arrays.push({ input, rows: open(reference, 'inputs', name), transforms: { ...opening.transforms, ...own } });
    }
  } else if (single) {
    const input = onlyInput(opening.inputs, config.input, opening.at('input'));
    arrays.push({ input, rows: npyRows(file), transforms: opening.transforms });
  } else {
    if (!archive) throw dataError('is missing: the .npz or .npy file', opening.at(), 'Give `path`, or `inputs` with one .npy file for each model input.'); // prettier-ignore
    const others = names.filter((name) => name !== labelName);
    const wanted = config.input === undefined ? opening.inputs : [onlyInput(opening.inputs, config.input, opening.at('input'))]; // prettier-ignore
    for (const input of wanted) {
      const name = archive.has(input.name) ? input.name : wanted.length === 1 && others.length === 1 ? others[0]! : undefined; // prettier-ignore
      if (name === undefined)
        throw dataError(`${config.path} has no array "${input.name}" for the model input of that name; it has ${names.join(', ')}`, opening.at('path'), 'Map them: inputs: { <model input>: <array> }.'); // prettier-ignore
      arrays.push({ input, rows: open(name, 'path'), transforms: opening.transforms });
    }
  }
  const labels = labelName === undefined ? undefined : open(labelName, 'labels');
  const source = config.path ?? arrays.map(({ rows }) => rows.name).join(', ');
  return arraySource('npy', source, arrays, labels, opening, notes);
}

function known({ inputs, at }: Opening, name: string): ModelInput {
  const found = inputs.find((input) => input.name === name);
  if (found) return found;
  const names = inputs.map((input) => input.name);
  throw dataError(`the model has no input "${name}"${didYouMean(name, names)}; it has ${names.join(', ')}`, at('inputs', name)); // prettier-ignore
}
