import { attribute, intAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { inverse, transpose, type Value } from '../writer.ts';

/**
 * Interpolation is a product with a matrix along each axis, [out, in]; the gradient is one with the same matrix from the other side.
 * Its weights are those of https://onnx.ai/onnx/operators/onnx__Resize.html.
 */
export const resizeRule: GradientRule = {
  ops: ['Resize', 'Upsample'],
  source: 'a linear map of each axis: its transpose',
  refuse(c) {
    const mode = stringAttribute(c.node, 'mode', 'nearest');
    const coordinates = coordinatesOf(c);
    if ([1, 2].some((i) => c.has(i) && c.needs(i))) return 'has scales that would have to be trained';
    if (mode !== 'nearest' && mode !== 'linear') return `interpolates by mode "${mode}"`;
    if (!known.has(coordinates)) return `has the coordinates "${coordinates}"`;
    if (intAttribute(c.node, 'antialias', 0) === 1) return 'has antialias';
    if (stringAttribute(c.node, 'keep_aspect_ratio_policy', 'stretch') !== 'stretch') return 'keeps the aspect ratio';
    return attribute(c.node, 'axes') && c.has(2) && scalesOf(c) === undefined
      ? 'has scales that are computed'
      : undefined;
  },
  gradient(c) {
    const { w } = c;
    const { dims } = c.x(0);
    const out = c.y(0).dims;
    let d: Value = c.dy(0)!;
    for (const [axis, size] of dims.entries()) {
      if (size === out[axis]) continue;
      const matrix = w.floats(matrixOf(c, size, out[axis]!, scaleOf(c, axis)), [out[axis]!, size]);
      const order = [...dims.keys()].filter((i) => i !== axis).concat(axis);
      const last = transpose(w, d, order);
      const product = w.op('MatMul', [last, matrix], [...last.dims.slice(0, -1), size]);
      d = transpose(w, product, inverse(order)); // prettier-ignore
    }
    return [d];
  },
};

const known = new Set(['half_pixel', 'pytorch_half_pixel', 'asymmetric', 'align_corners']);

const coordinatesOf = (c: GradientContext): string =>
  stringAttribute(
    c.node,
    'coordinate_transformation_mode',
    c.node.op_type === 'Upsample' ? 'asymmetric' : 'half_pixel',
  );

/** The scales that the node was given; undefined where it has sizes, or they are computed. */
const scalesOf = (c: GradientContext): readonly number[] | undefined => {
  const given = c.numbers(c.node.op_type === 'Upsample' ? 1 : 2);
  return given && given.length > 0 ? given : undefined;
};

function scaleOf(c: GradientContext, axis: number): number {
  const from = c.x(0).dims;
  const axes = attribute(c.node, 'axes')?.ints.map(Number) ?? from.map((_, i) => i);
  return (
    scalesOf(c)?.[axes.map((one) => (one + from.length) % from.length).indexOf(axis)] ??
    c.y(0).dims[axis]! / from[axis]!
  );
}

/** The weights of every input for every output, [out, in]. */
function matrixOf(c: GradientContext, size: number, out: number, scale: number): Float32Array {
  const matrix = new Float32Array(out * size);
  const held = (i: number): number => Math.max(0, Math.min(size - 1, i));
  const nearest = stringAttribute(c.node, 'mode', 'nearest') === 'nearest';
  const rounding = stringAttribute(
    c.node,
    'nearest_mode',
    c.node.op_type === 'Upsample' ? 'floor' : 'round_prefer_floor',
  );
  for (let i = 0; i < out; i++) {
    const at = place(coordinatesOf(c), i, scale, size, out);
    const add = (j: number, weight: number): void => void (matrix[i * size + held(j)]! += weight);
    if (nearest) add(rounded(rounding, at), 1);
    else {
      const low = Math.floor(at);
      add(low, 1 - (at - low));
      add(low + 1, at - low);
    }
  }
  return matrix;
}

/** Where an output's place lies in the input. */
function place(coordinates: string, i: number, scale: number, size: number, out: number): number {
  if (coordinates === 'asymmetric') return i / scale;
  if (coordinates === 'align_corners') return out === 1 ? 0 : (i * (size - 1)) / (out - 1);
  return coordinates === 'pytorch_half_pixel' && out === 1 ? 0 : (i + 0.5) / scale - 0.5;
}

function rounded(mode: string, at: number): number {
  if (mode === 'floor') return Math.floor(at);
  if (mode === 'ceil') return Math.ceil(at);
  return mode === 'round_prefer_ceil' ? Math.floor(at + 0.5) : Math.ceil(at - 0.5);
}
