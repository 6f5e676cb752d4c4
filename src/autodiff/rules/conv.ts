import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { convGeometry } from '../../graph/convolution.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { slice, sum, type Value } from '../writer.ts';
import type { Geometry } from './conv_geometry.ts';
import { inputGradient } from './conv_input.ts';
import { weightGradient } from './conv_weight.ts';

function geometryOf(c: GradientContext): Geometry {
  const kernel = c.x(1).dims.slice(2);
  const groups = intAttribute(c.node, 'group', 1);
  return { kernel, groups, ...convGeometry(c.node, kernel, c.x(0).dims.slice(2)) };
}

/** dB = dY summed over samples and places. */
function biasGradient(c: GradientContext, dy: Value): Value | undefined {
  if (!c.has(2) || !c.needs(2)) return undefined;
  // Two sums are faster than one over axes that do not lie side by side.
  return sum(c.w, sum(c.w, dy, dy.dims.map((_, i) => i).slice(2)), [0]); // prettier-ignore
}

const source = 'Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016), chapter 4';

/** Y = X ∗ W + B. */
export const convRule: GradientRule = {
  ops: ['Conv'],
  source,
  gradient(c) {
    const geometry = geometryOf(c);
    const dy = c.dy(0)!;
    return [
      c.needs(0) ? inputGradient(c.w, geometry, dy, c.x(1), c.x(0).dims) : undefined,
      c.needs(1) ? weightGradient(c.w, geometry, c.x(0), dy, c.x(1).dims) : undefined,
      biasGradient(c, dy),
    ];
  },
};

/** A convolution read backwards: the roles of its input and output are changed over. */
export const convTransposeRule: GradientRule = {
  ops: ['ConvTranspose'],
  source,
  gradient(c) {
    const { w } = c;
    const [x, weight, dy] = [c.x(0), c.x(1), c.dy(0)!];
    const kernel = weight.dims.slice(2);
    const ones = kernel.map(() => 1);
    const strides = intsAttribute(c.node, 'strides') ?? ones;
    const dilations = intsAttribute(c.node, 'dilations') ?? ones;
    // What is cut off of the whole result before it, whichever attribute says it: what lies behind follows from the size.
    const whole = kernel.map((k, i) => (x.dims[i + 2]! - 1) * strides[i]! + (k - 1) * dilations[i]! + 1);
    const begin = beginOf(c, whole, dy.dims.slice(2));
    const end = whole.map((size, i) => size - begin[i]! - dy.dims[i + 2]!);
    const geometry: Geometry = { kernel, strides, dilations, begin, end, groups: intAttribute(c.node, 'group', 1) };
    // A Conv takes no negative padding: output_padding, whose places nothing reads, is cut off.
    const over = end.flatMap((size, i) => (size < 0 ? [{ axis: i + 2, start: 0, size: dy.dims[i + 2]! + size }] : []));
    const read = slice(w, dy, over);
    const pads = [...begin, ...end.map((size) => Math.max(0, size))];
    const attributes = { kernel_shape: kernel, strides, dilations, pads, group: geometry.groups };
    return [
      c.needs(0) ? w.op('Conv', [read, weight], x.dims, attributes) : undefined,
      c.needs(1)
        ? weightGradient(w, { ...geometry, end: end.map((size) => Math.max(0, size)) }, read, x, weight.dims)
        : undefined,
      biasGradient(c, dy),
    ];
  },
};

function beginOf(c: GradientContext, whole: readonly number[], size: readonly number[]): number[] {
  const pads = intsAttribute(c.node, 'pads');
  const extra = intsAttribute(c.node, 'output_padding') ?? size.map(() => 0);
  const auto = c.node.attribute.some(({ name }) => name === 'auto_pad' || name === 'output_shape');
  if (pads && !auto) return pads.slice(0, size.length);
  return auto ? whole.map((full, i) => Math.max(0, Math.floor((full + extra[i]! - size[i]!) / 2))) : size.map(() => 0);
}
