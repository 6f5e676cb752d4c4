import { QtoolError } from '../util/error.ts';
import type { Granularity } from './format.ts';

const { ceil, floor, min } = Math;

/**
 * A dense row-major tensor seen as [outer, axis, inner], its axis cut into groups of `size` (the last one ragged), and where the
 * parameters of each element stand: entry `o·strideOuter + g·strideGroup + i·strideInner` for outer index o, group g, inner
 * index i. This one view serves every granularity: per tensor all strides are 0; per channel a group is one index of the axis;
 * per group the parameters have the tensor's dims with the axis replaced by the number of groups, as ONNX's blocked
 * quantization has them (QuantizeLinear, opset 21).
 */
export interface Layout {
  readonly outer: number;
  readonly axis: number;
  readonly inner: number;
  readonly size: number;
  readonly groups: number;
  readonly strideOuter: number;
  readonly strideGroup: number;
  readonly strideInner: number;
  /** Number of scales and zero points. */
  readonly params: number;
  /** Dims of the scale tensor as ONNX wants it: [] per tensor, [channels] per channel, the blocked dims per group. */
  readonly paramDims: readonly number[];
  readonly elements: number;
}

/** @throws QtoolError `graph` if the axis does not exist or a group size is not a positive integer. */
export function layoutOf(dims: readonly number[], granularity: Granularity): Layout {
  const elements = dims.reduce((a, b) => a * b, 1);
  if (granularity.per === 'tensor') {
    const strides = { strideOuter: 0, strideGroup: 0, strideInner: 0 };
    return { outer: 1, axis: 1, inner: elements, size: 1, groups: 1, ...strides, params: 1, paramDims: [], elements };
  }
  const at = granularity.axis;
  const axis = dims[at];
  if (axis === undefined || at < 0) {
    throw new QtoolError('graph', `axis ${at} does not exist in a tensor of dims [${dims.join(', ')}]`, {
      hint: `axes count from 0 and here end at ${dims.length - 1}`,
    });
  }
  const outer = dims.slice(0, at).reduce((a, b) => a * b, 1);
  const inner = dims.slice(at + 1).reduce((a, b) => a * b, 1);
  if (granularity.per === 'channel') {
    const strides = { strideOuter: 0, strideGroup: 1, strideInner: 0 };
    return { outer, axis, inner, size: 1, groups: axis, ...strides, params: axis, paramDims: [axis], elements };
  }
  const { size } = granularity;
  if (!Number.isInteger(size) || size < 1) {
    throw new QtoolError('graph', `a group size must be a positive integer, not ${size}`);
  }
  const groups = ceil(axis / size);
  const paramDims = dims.map((d, i) => (i === at ? groups : d));
  const strides = { strideOuter: groups * inner, strideGroup: inner, strideInner: 1 };
  return { outer, axis, inner, size, groups, ...strides, params: outer * groups * inner, paramDims, elements };
}

/**
 * Calls `run(start, count, param, step)` for consecutive stretches of the tensor's elements, each once and in order: element
 * `start + j` takes parameter `param + j·step`; `step` is 0 where a whole stretch shares one parameter, else 1.
 */
export function forEachRun(
  layout: Layout,
  run: (start: number, count: number, param: number, step: number) => void,
): void {
  const { outer, axis, inner, size, groups, strideOuter, strideGroup, strideInner } = layout;
  if (layout.elements === 0) return;
  if (inner === 1 && size === 1) {
    // Parameters follow the axis one by one: a row at a time instead of an element at a time.
    for (let o = 0; o < outer; o++) run(o * axis, axis, o * strideOuter, 1);
    return;
  }
  for (let o = 0; o < outer; o++) {
    for (let g = 0; g < groups; g++) {
      const first = g * size;
      const count = min(size, axis - first);
      const start = (o * axis + first) * inner;
      const param = o * strideOuter + g * strideGroup;
      if (strideInner === 0 || inner === 1) run(start, count * inner, param, 0);
      else for (let a = 0; a < count; a++) run(start + a * inner, inner, param, strideInner);
    }
  }
}

/** The most elements that share one parameter. */
export function groupSize({ elements, outer, size, axis, inner, strideInner, params }: Layout): number {
  if (params === 0) return 0;
  return strideInner === 0
    ? params === 1 && axis === 1
      ? elements
      : outer * min(size, axis) * inner
    : min(size, axis);
}

/** Calls `visit(start, count)` for each stretch of the tensor's elements that share parameter `param`, in the tensor's order. */
export function forEachOfGroup(layout: Layout, param: number, visit: (start: number, count: number) => void): void {
  const { outer, axis, inner, size, groups, strideOuter, strideInner } = layout;
  // Which outer and inner indices belong to the parameter: all, or the one it names.
  const [o0, o1] = strideOuter === 0 ? [0, outer] : [floor(param / strideOuter), floor(param / strideOuter) + 1];
  const rest = param - o0 * strideOuter;
  const g = layout.params === 1 ? 0 : floor(rest / layout.strideGroup) % groups;
  const [first, end] = [g * size, min(axis, (g + 1) * size)];
  for (let o = o0; o < o1; o++) {
    if (strideInner === 0 || inner === 1) visit((o * axis + first) * inner, (end - first) * inner);
    else for (let a = first; a < end; a++) visit((o * axis + a) * inner + (rest % inner), 1);
  }
}

/** Copies the elements of parameter `param` into `out`, in the tensor's order; gives how many. */
export function gatherGroup(data: Float32Array, layout: Layout, param: number, out: Float32Array): number {
  let n = 0;
  forEachOfGroup(layout, param, (start, count) => {
    for (let i = start; i < start + count; i++) out[n++] = data[i]!;
  });
  return n;
}
