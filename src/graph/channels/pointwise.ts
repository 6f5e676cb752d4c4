import { intAttribute } from '../attribute.ts';
import { positive } from './ints.ts';
import type { Axis, Flow, Rule } from './flow.ts';

/** Inputs broadcast against one another (numpy rules): axes of the same size are one axis. */
export function broadcast(flow: Flow, inputs: readonly number[], out: readonly number[]): Axis[] {
  return out.map((size, d) => {
    const places = inputs.flatMap((input) => {
      const dims = flow.dims(input)!;
      const axis = d - (out.length - dims.length);
      return axis >= 0 && dims[axis] === size && size > 1 ? [{ input, axis }] : [];
    });
    const role = ['Add', 'Sub', 'Sum'].includes(flow.node.op_type) ? 'bias' : 'through';
    const [first, ...others] = places.map(({ input, axis }) => flow.axes(input)[axis]);
    others.forEach((other) => flow.join(first, other));
    places.forEach(({ input, axis }) => flow.member(input, axis, role));
    return others.includes(undefined) ? undefined : first;
  });
}

/** Element by element, whatever the function: every index keeps its place. */
export const pointwise: Rule = {
  flow(flow) {
    const out = flow.outDims(0);
    const inputs = flow.node.input.flatMap((name, i) => (name === '' ? [] : [i]));
    if (!out || inputs.some((i) => !flow.dims(i))) return flow.freezeAll('its shapes are not known');
    flow.set(0, broadcast(flow, inputs, out));
  },
};

/** One input, one output of the same shape; further inputs are scalars or unused (Clip bounds, Dropout ratio). */
export const unary: Rule = {
  flow(flow) {
    flow.set(0, flow.axes(0));
    if (flow.node.output[1]) flow.set(1, flow.axes(0));
  },
};

/** QuantizeLinear and DequantizeLinear: scale and zero point a tensor or one an index of `axis`. */
export const quantization: Rule = {
  flow(flow) {
    const [xs, x, scale] = [flow.axes(0), flow.dims(0), flow.dims(1)];
    if (!x || !scale || scale.length > 1) return flow.freezeAll('block-wise scales');
    if (scale.length === 1 && scale[0]! > 1) {
      const axis = positive(intAttribute(flow.node, 'axis', 1), x.length);
      for (const input of [1, 2]) {
        if (!flow.dims(input)) continue;
        flow.join(xs[axis], flow.axes(input)[0]);
        flow.member(input, 0, 'through');
      }
    }
    flow.set(0, xs);
  },
};
