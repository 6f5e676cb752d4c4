import type { DType, TypedArray } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { cast } from './cast.ts';
import { labelError } from './check.ts';
import { dataError } from './errors.ts';
import type { Fitting, ImageChange } from './image_change.ts';
import { fedWhole } from './layout.ts';
import { resized } from './letterbox.ts';
import type { PixelData } from './pixels.ts';
import { readLabels } from './rows.ts';
import type { IndexedSource, Opening, Reader, Rows } from './source.ts';
import { compileTransforms, pixelsOf, reshapeFor, storedAs, type Transforms } from './transforms.ts';
import type { Feeds, Tensor } from './types.ts';

/** Turns one row of an array into the tensor of a model input; `change` is what chance makes of the image in it. */
export type RowTransform = (row: TypedArray, name: string, change?: ImageChange) => Tensor;

const plain = new Set(['scale', 'offset', 'mean', 'std', 'dtype']);

/**
 * Compiles what happens to the rows of an array (`dims` without the row axis), which are joined to batches or (`joins` false) whole inputs. Without transforms they are cast to the input's
 * type; as images they go through them where a row has rank 3, or where a step needs an image; else value by value.
 */
export function rowTransform(
  transforms: Transforms,
  type: DType,
  dims: readonly number[],
  input: ModelInput,
  joins: boolean,
): RowTransform {
  const keys = Object.keys(transforms);
  const target = { type: transforms.dtype ?? input.type, dims: input.dims };
  const changed = (row: TypedArray, name: string, change: ImageChange | undefined): TypedArray =>
    change === undefined ? row : changedRow(row, dims, transforms.stored, change, name);
  if (keys.every((key) => key === 'dtype'))
    return (row, name, change) => reshapeFor({ type: target.type, dims: [1, ...dims], data: cast(changed(row, name, change), type, target.type, name) }, input.dims, joins); // prettier-ignore
  const numbers = (row: TypedArray, name: string): PixelData => {
    if (type === 'float16') return cast(row, type, 'float32', name) as Float32Array;
    if (type === 'int64' || type === 'uint64' || type === 'uint32')
      return cast(row, type, 'float64', name) as Float64Array;
    return row as PixelData;
  };
  const perValue = keys.every((key) => plain.has(key)) && ![transforms.offset, transforms.mean, transforms.std].some((v) => typeof v === 'object'); // prettier-ignore
  if (perValue && (dims.length !== 3 || (dims[0]! > 4 && dims[2]! > 4))) {
    const apply = compileTransforms({ ...transforms, color: 'RGB', layout: 'NCHW' }, target);
    const width = elementCount(dims);
    return (row, name, change) => {
      const flat = apply({ width, height: 1, channels: 1, data: numbers(changed(row, name, change), name) }, name);
      return reshapeFor({ ...flat, dims: [1, ...dims] }, input.dims, joins);
    };
  }
  const apply = compileTransforms(transforms, target);
  return (row, name, change) => {
    const image = pixelsOf(numbers(row, name), dims, transforms.stored, name);
    return reshapeFor(apply(image, name, undefined, change), input.dims, joins);
  };
}

/** How an image stays as it is. */
const asItIs = (name: string): Fitting => ({
  size: ({ width, height }) => [width, height],
  whole: (image) => image,
  middle: ({ width, height }) => [0, 0, width, height],
  exactly(image, width, height) {
    const out = resized(image, width, height, 'bilinear');
    if (out) return out;
    throw dataError('resized_crop resizes 8-bit images, and this is an array of other numbers', name, 'Use random_crop.'); // prettier-ignore
  },
});

/** A row with its image changed, and the rest as it was: in the order and at the size that it has. */
export function changedRow(
  row: TypedArray,
  dims: readonly number[],
  stored: Transforms['stored'],
  change: ImageChange,
  name: string,
): TypedArray {
  // Only moved, whatever they are.
  const { width, height, channels, data } = change(pixelsOf(row as PixelData, dims, stored, name), asItIs(name), name);
  const isPlanes = dims.length === 3 && (stored ?? storedAs(dims)) === 'CHW' && channels > 1;
  if (!isPlanes) return data;
  const out = data.slice();
  for (let c = 0, o = 0; c < channels; c++) for (let i = 0; i < width * height; i++) out[o++] = data[i * channels + c]!;
  return out;
}

/** One array that feeds one model input. */
export interface ArrayInput {
  readonly input: ModelInput;
  readonly rows: Rows;
  readonly transforms: Transforms;
}

/**
 * A source over arrays of equal length along axis 0, whose rows are read when asked. Labels ([samples] or [samples, positions])
 * are held: 4 bytes a position.
 * @throws QtoolError `data` for lengths that differ and labels out of range.
 */
export function arraySource(
  kind: 'idx' | 'npy',
  source: string,
  arrays: readonly ArrayInput[],
  labelRows: Rows | undefined,
  { classes, inputs }: Opening,
  notes: readonly string[] = [],
): IndexedSource {
  const first = arrays[0]!.rows;
  const joins = !fedWhole(inputs);
  const length = first.dims[0] ?? 0;
  for (const { rows } of arrays) sameLength(first, rows);
  if (labelRows) sameLength(first, labelRows);
  const labels = labelRows && readLabels(labelRows);
  const wrong = labels?.values.findIndex((label) => label < -1 || (classes !== undefined && label >= classes)) ?? -1;
  if (labels && wrong >= 0) {
    const at = `${labelRows.name}, sample ${Math.floor(wrong / labels.positions)}`;
    throw labelError(labels.values[wrong]!, classes, at);
  }
  const steps = arrays.map((array) => ({
    name: array.input.name,
    rows: array.rows,
    apply: rowTransform(array.transforms, array.rows.type, array.rows.dims.slice(1), array.input, joins),
  }));
  return {
    access: 'index',
    kind,
    source,
    length,
    labelled: labels !== undefined,
    notes,
    pixels: arrays.some(isImage),
    identity: (index) => `${first.name}#${index}`,
    async open(): Promise<Reader> {
      const readers = steps.map(({ rows }) => rows.open());
      return {
        read(index, _over, change) {
          const id = `${first.name}#${index}`;
          const feeds: Record<string, Tensor> = {};
          for (const [i, { name, apply }] of steps.entries()) feeds[name] = apply(readers[i]!.row(index), id, change);
          return labels
            ? { id, feeds: feeds satisfies Feeds, target: { label: labels.values.subarray(index * labels.positions, (index + 1) * labels.positions) } } // prettier-ignore
            : { id, feeds };
        },
        close() {
          for (const reader of readers) reader.close();
        },
      };
    },
  };
}

/** Whether rows are 8-bit images for an input that takes other numbers: what they become in it has to be said. */
const isImage = ({ rows: { type, dims }, input }: ArrayInput): boolean =>
  type === 'uint8' && dims.length >= 3 && input.type !== 'uint8';

function sameLength(a: Rows, b: Rows): void {
  if (b.dims.length === 0) throw dataError('is a single number, not an array of samples', b.name);
  if (a.dims[0] !== b.dims[0])
    throw dataError(`has ${b.dims[0]} samples, ${a.name} has ${a.dims[0]}`, b.name, 'Axis 0 of every array is the sample.'); // prettier-ignore
}
