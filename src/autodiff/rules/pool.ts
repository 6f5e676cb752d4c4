import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { convGeometry } from '../../graph/convolution.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { div, expand, mul, pad, reshape, scaled, slice, sub, sum, type Value } from '../writer.ts';
import { equalTo } from './arithmetic.ts';

const kernelOf = (c: GradientContext): number[] => intsAttribute(c.node, 'kernel_shape') ?? [];
const spatialOf = (x: Value): number[] => x.dims.map((_, i) => i).slice(2);

export const poolRules: readonly GradientRule[] = [
  {
    ops: ['MaxPool'],
    source: 'the gradient goes to the place that the operator names in its second output: of equal ones the first',
    // WebGPU's MaxPool gives no indices, and says so only when it runs.
    wants: (_, target) => (target === 'cpu' ? [1] : []),
    refuse: (c) => (intAttribute(c.node, 'storage_order', 0) !== 0 ? 'counts places column by column' : undefined),
    gradient(c) {
      const { w } = c;
      const [x, dy] = [c.x(0), c.dy(0)!];
      if (c.target === 'webgpu') return [atFirstExtremes(c)];
      const size = elementCount(x.dims);
      const count = elementCount(dy.dims);
      const places = [w.filled([size]), reshape(w, c.y(1), [count]), reshape(w, dy, [count])];
      return [reshape(w, w.op('ScatterElements', places, [size], { axis: 0, reduction: 'add' }), x.dims)];
    },
  },
  {
    ops: ['AveragePool'],
    source: 'a ConvTranspose of ones, divided by how many places each window holds',
    gradient(c) {
      const { w } = c;
      const { dims } = c.x(0);
      const kernel = kernelOf(c);
      const [n, channels, ...size] = dims as [number, number, ...number[]];
      const { begin, end, strides, dilations } = convGeometry(c.node, kernel, size);
      const out = c.y(0).dims.slice(2);
      const whole = intAttribute(c.node, 'count_include_pad', 0) === 1;
      const counts = out.map((places, i) => Array.from({ length: places }, (_, at) => held(at * strides[i]! - begin[i]!, kernel[i]!, dilations[i]!, whole ? [-begin[i]!, size[i]! + end[i]!] : [0, size[i]!]))); // prettier-ignore
      const share = counts.reduce((all, list) => all.flatMap((a) => list.map((b) => a / b)), [1]);
      const even = new Set(share).size === 1;
      const shared = even ? scaled(w, c.dy(0)!, share[0]!) : mul(w, c.dy(0)!, w.floats(share, [1, 1, ...out]));
      const ones = w.filled([1, 1, ...kernel], 1);
      const covered = coveredBy(out, kernel, strides, dilations);
      const flat = reshape(w, shared, [n * channels, 1, ...out]);
      const attributes = { strides, dilations, kernel_shape: kernel };
      const wide = w.op('ConvTranspose', [flat, ones], [n * channels, 1, ...covered], attributes);
      const before = [0, 0, ...begin.map((one) => -one)];
      const after = [0, 0, ...size.map((one, i) => one + begin[i]! - covered[i]!)];
      return [reshape(w, pad(w, wide, before, after), dims)];
    },
  },
  {
    ops: ['GlobalAveragePool'],
    source: 'a mean over all places',
    gradient(c) {
      const { dims } = c.x(0);
      return [expand(c.w, scaled(c.w, c.dy(0)!, 1 / elementCount(dims.slice(2))), dims)];
    },
  },
  {
    ops: ['GlobalMaxPool'],
    source: 'equal ones share it',
    gradient(c) {
      const mask = equalTo(c.w, c.x(0), c.y(0));
      return [mul(c.w, mask, div(c.w, c.dy(0)!, sum(c.w, mask, spatialOf(c.x(0)), true)))];
    },
  },
];

/** How many places of a window lie between two bounds. */
function held(start: number, kernel: number, dilation: number, [low, high]: readonly [number, number]): number {
  const places = Array.from({ length: kernel }, (_, i) => start + i * dilation);
  return places.filter((at) => at >= low && at < high).length;
}

/**
 * Of MaxPool without places: the windows' elements one offset after the other, so that of equal ones the first is taken, as with places. A
 * ConvTranspose puts each offset's share back where it came from.
 */
function atFirstExtremes(c: GradientContext): Value {
  const { w } = c;
  const [x, y, dy] = [c.x(0), c.y(0), c.dy(0)!];
  const kernel = kernelOf(c);
  const [n, channels, ...size] = x.dims as [number, number, ...number[]];
  const { begin, strides, dilations } = convGeometry(c.node, kernel, size);
  const out = y.dims.slice(2);
  const covered = coveredBy(out, kernel, strides, dilations);
  const [before, after] = [
    [0, 0, ...begin],
    [0, 0, ...size.map((one, i) => covered[i]! - one - begin[i]!)],
  ];
  const wide = pad(w, x, before, after, lowest);
  const offsets = kernel.reduce<number[][]>((all, k) => all.flatMap((at) => Array.from({ length: k }, (_, i) => [...at, i])), [[]]); // prettier-ignore
  const shares: Value[] = [];
  let open: Value | undefined;
  for (const [i, offset] of offsets.entries()) {
    const own = slice(w, wide, offset.map((at, j) => ({ axis: j + 2, start: at * dilations[j]!, size: out[j]!, step: strides[j]! }))); // prettier-ignore
    const equal = equalTo(w, own, y);
    const first = open ? mul(w, equal, open) : equal;
    if (i < offsets.length - 1) open = sub(w, open ?? w.scalar(1), first);
    shares.push(reshape(w, mul(w, first, dy), [n * channels, 1, ...out]));
  }
  const count = offsets.length;
  const stacked = w.op('Concat', shares, [n * channels, count, ...out], { axis: 1 });
  const places = w.floats(Float32Array.from({ length: count * count }, (_, i) => (i % (count + 1) === 0 ? 1 : 0)), [count, 1, ...kernel]); // prettier-ignore
  const attributes = { strides, dilations, kernel_shape: kernel };
  const back = w.op('ConvTranspose', [stacked, places], [n * channels, 1, ...covered], attributes);
  return reshape(w, pad(w, back, before.map(negated), after.map(negated)), x.dims);
}

/** What MaxPool takes for the elements of its padding. */
const lowest = -3.4028234663852886e38;

const negated = (one: number): number => 0 - one;

/** The extent that windows reach over. */
const coveredBy = (
  out: readonly number[],
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
): number[] => out.map((places, i) => (places - 1) * strides[i]! + (kernel[i]! - 1) * dilations[i]! + 1);
