import { extname } from 'node:path';
import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { didYouMean } from '../util/suggest.ts';
import { arraySource, type ArrayInput } from './arrays.ts';
import { inputNamed, onlyInput } from './check.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError } from './errors.ts';
import { fedWhole } from './layout.ts';
import { npyRows, npzArrays } from './npy.ts';
import { rowsAlong, sameRow } from './rows.ts';
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
  const arrays: (ArrayInput & { readonly axis?: number | 'none' | undefined })[] = [];
  if (config.inputs) {
    for (const [name, given] of Object.entries(config.inputs)) {
      const input = inputNamed(opening.inputs, name, opening.at('inputs', name));
      const { array, transforms, axis } = typeof given === 'string' ? { array: given } : given;
      const rows = open(array, 'inputs', name);
      if (typeof axis === 'number' && axis >= rows.dims.length)
        throw dataError(`the array has the shape [${rows.dims.join(', ')}]: there is no axis ${axis}`, opening.at('inputs', name, 'axis')); // prettier-ignore
      arrays.push({ input, rows, transforms: { ...opening.transforms, ...transforms }, axis });
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
  return arraySource('npy', source, bySample(arrays, opening.inputs), labels, opening, notes);
}

/** The arrays as rows along the axis of their samples. */
function bySample(
  arrays: readonly (ArrayInput & { readonly axis?: number | 'none' | undefined })[],
  inputs: readonly ModelInput[],
): ArrayInput[] {
  const axes = arrays.map(({ rows, input, axis }) => axis ?? sampleAxis(rows.dims, input, fedWhole(inputs)));
  const varying = axes.findIndex((axis) => axis !== 'none');
  const length = varying < 0 ? 1 : arrays[varying]!.rows.dims[axes[varying] as number]!;
  return arrays.map(({ input, rows, transforms }, i) => {
    const axis = axes[i]!;
    return {
      input,
      transforms,
      rows: axis === 'none' ? sameRow(rows, length) : axis === 0 ? rows : rowsAlong(rows, axis),
    };
  });
}

/**
 * The axis that samples lie along: the first, but not where that has the fixed size of an input that is fed whole. There it is
 * the one whose size the model leaves free or says to be 1 (`[2, samples, 128]` for a state `[2, 1, 128]`); an array that
 * already has the input's shape, or is a single number, holds one value for all samples.
 */
function sampleAxis(dims: readonly number[], { dims: wanted }: ModelInput, whole: boolean): number | 'none' {
  if (dims.length === 0 || (wanted?.length === 0 && elementCount(dims) === 1)) return 'none';
  const lead = wanted?.[0];
  if (!whole || wanted === undefined || dims.length !== wanted.length || typeof lead === 'string' || lead === 1 || lead !== dims[0]) return 0; // prettier-ignore
  const open = [...wanted.keys()].filter((axis) => typeof wanted[axis] === 'string' || wanted[axis] !== dims[axis]);
  const [axis] = open;
  if (axis === undefined || (open.length === 1 && dims[axis] === 1)) return 'none';
  return open.length === 1 && (typeof wanted[axis] === 'string' || wanted[axis] === 1) ? axis : 0;
}
