import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { convGeometry } from '../../graph/convolution.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { div, expand, mul, pad, reshape, scaled, sum, type Value } from '../writer.ts';
import { equalTo } from './arithmetic.ts';

const kernelOf = (c: GradientContext): number[] => intsAttribute(c.node, 'kernel_shape') ?? [];
const spatialOf = (x: Value): number[] => x.dims.map((_, i) => i).slice(2);

/** Blocks that lie side by side and cover the input. */
function tiles(c: GradientContext): boolean {
  const kernel = kernelOf(c);
  const { begin, end, strides, dilations } = convGeometry(c.node, kernel, c.x(0).dims.slice(2));
  const plain = [...begin, ...end].every((size) => size === 0) && dilations.every((d) => d === 1);
  return plain && kernel.every((k, i) => k === strides[i] && c.y(0).dims[i + 2]! * k === c.x(0).dims[i + 2]!);
}

export const poolRules: readonly GradientRule[] = [
  {
    ops: ['MaxPool'],
    source: 'the gradient goes to the place that the operator names in its second output: of equal ones the first',
    // WebGPU's MaxPool gives no indices, and says so only when it runs.
    wants: (_, target) => (target === 'cpu' ? [1] : []),
    refuse: (c) => {
      if (intAttribute(c.node, 'storage_order', 0) !== 0) return 'counts places column by column';
      return c.target === 'webgpu' && !tiles(c)
        ? 'has windows that overlap, whose places WebGPU does not name'
        : undefined;
    },
    gradient(c) {
      const { w } = c;
      const [x, dy] = [c.x(0), c.dy(0)!];
      if (c.target === 'webgpu') return [atExtremes(c)];
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
      const covered = out.map((places, i) => (places - 1) * strides[i]! + (kernel[i]! - 1) * dilations[i]! + 1);
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

/** Of windows that lie side by side: where the input equals the output. */
function atExtremes(c: GradientContext): Value {
  const { w } = c;
  const { dims } = c.x(0);
  const kernel = kernelOf(c);
  const out = c.y(0).dims.slice(2);
  const blocks = [dims[0]! * dims[1]!, ...out.flatMap((size, i) => [size, kernel[i]!])];
  const tops = [dims[0]! * dims[1]!, ...out.flatMap((size) => [size, 1])];
  const mask = equalTo(w, reshape(w, c.x(0), blocks), reshape(w, c.y(0), tops));
  const inner = kernel.map((_, i) => 2 * i + 2);
  const shared = div(w, reshape(w, c.dy(0)!, tops), sum(w, mask, inner, true));
  return reshape(w, mul(w, mask, shared), dims);
}
