import { elementCount } from '../../graph/tensor.ts';
import { mul, pad, reshape, slice, sum, transpose, turned, type GraphWriter, type Value } from '../writer.ts';
import type { Geometry } from './conv_geometry.ts';

/**
 * The gradient of a convolution by its weight, [M, C/g, k…]: for each tap, the products of dY and of what the tap read, summed
 * over samples and places. The forms are those that measured fastest in onnxruntime for each kind of convolution.
 */
export function weightGradient(w: GraphWriter, g: Geometry, x: Value, dy: Value, dims: readonly number[]): Value {
  const padded = pad(w, x, [0, 0, ...g.begin], [0, 0, ...g.end]);
  const image = g.kernel.length === 2;
  const size = elementCount(g.kernel);
  const depthwise = g.groups > 1 && dims[1] === 1 && dims[0] === g.groups;
  if (depthwise && image && g.strides.some((s) => s > 1)) return asDepthwiseConv(w, g, padded, dy, dims);
  // With few channels rows of channels are too short to be copied fast.
  if (g.groups === 1 && size > 1 && dims[1]! >= 8) return channelsLast(w, g, padded, dy, dims);
  if (g.groups === 1 && image && g.kernel.some((k) => k > 3)) return byRows(w, g, padded, dy, dims);
  const taps = tapsOf(g.kernel).map((at) => tap(w, g, padded, dy, at));
  const parts = depthwise ? taps.map((read) => pointProducts(w, dy, read)) : taps.map((read) => products(w, g, dy, read)); // prettier-ignore
  const [m, c] = dims as [number, number];
  const columns = parts.map((part) => reshape(w, part, [m, c, 1]));
  return reshape(w, columns.length === 1 ? columns[0]! : w.op('Concat', columns, [m, c, columns.length], { axis: 2 }), dims); // prettier-ignore
}

/** All places of a kernel in the order that it is stored in. */
const tapsOf = (kernel: readonly number[]): number[][] =>
  kernel.reduce<number[][]>((all, k) => all.flatMap((at) => Array.from({ length: k }, (_, i) => [...at, i])), [[]]);

/** What one tap read: [B, C, out…]. */
const tap = (w: GraphWriter, g: Geometry, padded: Value, dy: Value, at: readonly number[]): Value =>
  slice(w, padded, at.map((i, axis) => ({ axis: axis + 2, start: i * g.dilations[axis]!, size: dy.dims[axis + 2]!, step: g.strides[axis]! }))); // prettier-ignore

/** [M, C/g] of one tap, as a product of matrices a sample and a group. */
function products(w: GraphWriter, { groups }: Geometry, dy: Value, read: Value): Value {
  const places = elementCount(dy.dims.slice(2));
  const [batch, m] = dy.dims as [number, number];
  const c = read.dims[1]!;
  const lead = groups === 1 ? [batch] : [batch, groups];
  const left = reshape(w, dy, [...lead, m / groups, places]);
  const right = reshape(w, read, [...lead, c / groups, places]);
  return sum(w, w.op('MatMul', [left, turned(w, right)], [...lead, m / groups, c / groups]), [0]);
}

/** One product over all samples and places a tap: with channels last what it read is a matrix as it lies, and nothing is left to be summed. */
function channelsLast(w: GraphWriter, g: Geometry, padded: Value, dy: Value, dims: readonly number[]): Value {
  const [m, c] = dims as [number, number];
  const axes = dims.map((_, i) => i).slice(2);
  const last = transpose(w, padded, [0, ...axes, 1]);
  const places = elementCount(dy.dims) / m;
  const left = reshape(w, transpose(w, dy, [1, 0, ...axes]), [m, places]);
  const taps = tapsOf(g.kernel);
  const parts = taps.map((at) => {
    const cuts = at.map((i, axis) => ({ axis: axis + 1, start: i * g.dilations[axis]!, size: dy.dims[axis + 2]!, step: g.strides[axis]! })); // prettier-ignore
    return w.op('MatMul', [left, reshape(w, slice(w, last, cuts), [places, c])], [m, c]);
  });
  const all = reshape(w, w.op('Concat', parts, [m, taps.length * c], { axis: 1 }), [m, taps.length, c]);
  return reshape(w, transpose(w, all, [0, 2, 1]), dims);
}

/** [C] of one tap where each channel has its own kernel. */
function pointProducts(w: GraphWriter, dy: Value, read: Value): Value {
  return sum(w, sum(w, mul(w, dy, read), dy.dims.map((_, i) => i).slice(2)), [0]); // prettier-ignore
}

/** Columns of the kernel stacked as channels, its rows one after another: fewer, longer products for large kernels. */
function byRows(w: GraphWriter, g: Geometry, padded: Value, dy: Value, dims: readonly number[]): Value {
  const [batch, m, high, wide] = dy.dims as [number, number, number, number];
  const c = dims[1]!;
  const [rows, columns] = g.kernel as [number, number];
  const shifted = Array.from({ length: columns }, (_, j) =>
    slice(w, padded, [{ axis: 3, start: j * g.dilations[1]!, size: wide, step: g.strides[1]! }]),
  );
  const stacked = columns === 1 ? shifted[0]! : w.op('Concat', shifted, [batch, columns * c, padded.dims[2]!, wide], { axis: 1 }); // prettier-ignore
  const left = reshape(w, dy, [batch, m, high * wide]);
  const parts = Array.from({ length: rows }, (_, i) => {
    const cut = slice(w, stacked, [{ axis: 2, start: i * g.dilations[0]!, size: high, step: g.strides[0]! }]);
    const right = reshape(w, cut, [batch, columns * c, high * wide]);
    return reshape(w, sum(w, w.op('MatMul', [left, turned(w, right)], [batch, m, columns * c]), [0]), [m, 1, columns, c]); // prettier-ignore
  });
  const all = rows === 1 ? parts[0]! : w.op('Concat', parts, [m, rows, columns, c], { axis: 1 });
  return transpose(w, all, [0, 3, 1, 2]);
}

/** Every channel of every sample a group of its own, dY as its kernel: strides and dilations change over. */
function asDepthwiseConv(w: GraphWriter, g: Geometry, padded: Value, dy: Value, dims: readonly number[]): Value {
  const [batch, m, ...out] = dy.dims as [number, number, number, number];
  const groups = batch * m;
  const attributes = { group: groups, dilations: g.strides, strides: g.dilations, kernel_shape: out };
  const size = padded.dims.slice(2).map((one, i) => Math.floor((one - (out[i]! - 1) * g.strides[i]! - 1) / g.dilations[i]!) + 1); // prettier-ignore
  const flat = [reshape(w, padded, [1, groups, ...padded.dims.slice(2)]), reshape(w, dy, [groups, 1, ...out])];
  const all = w.op('Conv', flat, [1, groups, ...size], attributes);
  const cut = slice(w, all, g.kernel.map((k, i) => ({ axis: i + 2, start: 0, size: k }))); // prettier-ignore
  return reshape(w, sum(w, reshape(w, cut, [batch, m, ...g.kernel]), [0]), dims);
}
