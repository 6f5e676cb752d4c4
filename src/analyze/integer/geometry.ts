import { intAttribute } from '../../graph/attribute.ts';
import { convGeometry } from '../../graph/convolution.ts';
import type { ProductStep } from './steps.ts';

/** A product as rows of terms: which element of the data each term of a sum reads. */
export interface Geometry {
  readonly samples: number;
  /** Output channels, and positions of each. */
  readonly channels: number;
  readonly places: number;
  /** Index of (sample, channel, place) in the sums. */
  at(sample: number, channel: number, place: number): number;
  /** Which data a channel reads: channels of one group read the same. */
  group(channel: number): number;
  /** What of the data a term may read: the first index, and the one behind the last. */
  span(sample: number, group: number, term: number): readonly [number, number];
  /** Puts the codes that a term reads at every place into an array, `padding` where it reads none. */
  gather(
    from: ArrayLike<number>,
    at: readonly [sample: number, group: number, term: number],
    into: Int32Array,
    padding: number,
  ): void;
  /** Index in the weights of a term of a channel. */
  weight(channel: number, term: number): number;
}

/**
 * Terms are numbered as onnxruntime's x64 kernels sum them: a convolution by row, column, then input channel (channels last), a matrix
 * product by row. Undefined for what they do otherwise: depthwise convolutions, three dimensions, computed factors, stacks of weights.
 */
export function geometryOf(step: ProductStep, data: readonly number[], sums: readonly number[]): Geometry | undefined {
  const dims = step.weights?.dims;
  if (dims === undefined) return undefined;
  if (step.as === 'Conv') return convReads(step, dims, data, sums);
  if (dims.length !== 2) return undefined;
  const turned = intAttribute(step.node, 'transB', 0) === 1;
  if (intAttribute(step.node, 'transA', 0) === 1) return undefined;
  const [terms, channels] = turned ? [dims[1]!, dims[0]!] : [dims[0]!, dims[1]!];
  const places = sums.slice(0, -1).reduce((a, b) => a * b, 1);
  return {
    ...{ samples: 1, channels, places },
    at: (_, channel, place) => place * channels + channel,
    group: () => 0,
    span: () => [0, places * terms],
    gather(from, [, , term], into) {
      for (let place = 0, at = term; place < places; place++, at += terms) into[place] = from[at]!;
    },
    weight: (channel, term) => (turned ? channel * terms + term : term * channels + channel),
  };
}

function convReads(
  { node }: ProductStep,
  dims: readonly number[],
  data: readonly number[],
  sums: readonly number[],
): Geometry | undefined {
  if (dims.length > 4 || dims.length < 3) return undefined;
  const [channels = 1, depth = 1] = dims;
  const group = intAttribute(node, 'group', 1);
  if (depth === 1 && group > 1) return undefined;
  const flat = dims.length === 3;
  // One axis is the second of two.
  const pair = (list: readonly number[], first: number): readonly [number, number] =>
    flat ? [first, list[0]!] : [list[0]!, list[1]!];
  const kernel = dims.slice(2);
  const { begin, strides, dilations } = convGeometry(node, kernel, data.slice(2));
  const [rows, columns] = pair(kernel, 1);
  const [height, width] = pair(data.slice(2), 1);
  const [outHeight, outWidth] = pair(sums.slice(2), 1);
  const [downStride, rightStride] = pair(strides, 1);
  const [downStep, rightStep] = pair(dilations, 1);
  const [top, left] = pair(begin, 0);
  const places = outHeight * outWidth;
  const inGroup = channels / group;
  const plane = (sample: number, group: number, term: number): number =>
    (sample * data[1]! + group * depth + (term % depth)) * height * width;
  return {
    ...{ samples: data[0]!, channels, places },
    at: (sample, channel, place) => (sample * channels + channel) * places + place,
    group: (channel) => Math.floor(channel / inGroup),
    span(sample, group, term) {
      const start = plane(sample, group, term);
      return [start, start + height * width];
    },
    gather(from, [sample, group, term], into, padding) {
      const start = plane(sample, group, term);
      const tap = Math.floor(term / depth);
      const column = tap % columns;
      const [firstRow, firstColumn] = [((tap - column) / columns) * downStep - top, column * rightStep - left];
      for (let row = 0, at = 0; row < outHeight; row++) {
        const y = row * downStride + firstRow;
        const inside = y >= 0 && y < height;
        for (let place = 0, x = firstColumn; place < outWidth; place++, at++, x += rightStride)
          into[at] = inside && x >= 0 && x < width ? from[start + y * width + x]! : padding;
      }
    },
    weight(channel, term) {
      const from = term % depth;
      return (channel * depth + from) * rows * columns + (term - from) / depth;
    },
  };
}
