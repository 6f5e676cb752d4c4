import { intsAttribute } from '../../graph/attribute.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { fromFront, pad, reshape, slice, type GraphWriter, type Value } from '../writer.ts';

/** Elements start, start + step … of one axis. */
interface Cut {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
}

/**
 * y = x[start : end : step]: the gradient goes back to the places that were read, zeros between. Zeros are set in by a
 * transposed convolution of one tap where the spatial axes of images have steps: 14 times faster than a Reshape and a Pad.
 */
export const sliceRule: GradientRule = {
  ops: ['Slice'],
  source: 'numbers that only move: their gradients move back',
  refuse: (c) => (cutsOf(c) ? undefined : 'reads from places that are computed'),
  gradient(c) {
    const { w } = c;
    const { dims } = c.x(0);
    let dy = c.dy(0)!;
    const cuts = cutsOf(c)!.map((cut): Cut => {
      if (cut.step > 0) return cut;
      // Read backwards: turned round it is a step forwards from the last place.
      const size = dy.dims[cut.axis]!;
      dy = w.op('Slice', [dy, ...[[size - 1], [-size - 1], [cut.axis], [-1]].map((list) => w.ints(list))], dy.dims);
      return { axis: cut.axis, start: cut.start + (size - 1) * cut.step, step: -cut.step };
    });
    const spread = cuts.filter(({ step }) => step > 1);
    const spatial = dims.length === 4 && spread.length > 0 && spread.every(({ axis }) => axis >= 2);
    const wide = spatial ? spreadImage(w, dy, spread) : spread.reduce((d, cut) => spreadAxis(w, d, cut), dy);
    const before = dims.map((_, axis) => cuts.find((cut) => cut.axis === axis)?.start ?? 0);
    return [pad(w, wide, before, dims.map((size, axis) => size - before[axis]! - wide.dims[axis]!))]; // prettier-ignore
  },
};

/** [.., n, ..] to [.., (n − 1) step + 1, ..]. */
function spreadAxis(w: GraphWriter, d: Value, { axis, step }: Cut): Value {
  const { dims } = d;
  const size = dims[axis]!;
  const split = [...dims.slice(0, axis + 1), 1, ...dims.slice(axis + 1)];
  const none = split.map(() => 0);
  const after = none.map((_, i) => (i === axis + 1 ? step - 1 : 0));
  const joined = dims.map((one, i) => (i === axis ? size * step : one));
  const apart = reshape(w, pad(w, reshape(w, d, split), none, after), joined);
  return slice(w, apart, [{ axis, start: 0, size: (size - 1) * step + 1 }]);
}

function spreadImage(w: GraphWriter, d: Value, cuts: readonly Cut[]): Value {
  const [n, c, h, wide] = d.dims as [number, number, number, number];
  const strides = [2, 3].map((axis) => cuts.find((cut) => cut.axis === axis)?.step ?? 1);
  const size = [(h - 1) * strides[0]! + 1, (wide - 1) * strides[1]! + 1];
  const ones = w.filled([n * c, 1, 1, 1], 1);
  const flat = reshape(w, d, [1, n * c, h, wide]);
  const apart = w.op('ConvTranspose', [flat, ones], [1, n * c, ...size], {
    strides,
    group: n * c,
    kernel_shape: [1, 1],
  });
  return reshape(w, apart, [n, c, ...size]);
}

/** The cuts with starts counted from the front; undefined where they are computed. */
function cutsOf(c: GradientContext): Cut[] | undefined {
  const { dims } = c.x(0);
  const starts = intsAttribute(c.node, 'starts') ?? c.numbers(1);
  const axes = intsAttribute(c.node, 'axes') ?? (c.has(3) ? c.numbers(3) : starts?.map((_, i) => i));
  const steps = c.has(4) ? c.numbers(4) : starts?.map(() => 1);
  if (!starts || !axes || !steps) return undefined;
  return starts.map((given, i) => {
    const axis = fromFront(axes[i]!, dims.length);
    const size = dims[axis]!;
    const step = steps[i]!;
    const start = given < 0 ? given + size : given;
    return { axis, start: Math.max(0, Math.min(start, step < 0 ? size - 1 : size)), step };
  });
}
