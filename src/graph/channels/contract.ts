import { intAttribute } from '../attribute.ts';
import { broadcast } from './pointwise.ts';
import type { Axis, Flow, Rule } from './flow.ts';

/** A' [M, K] · B' [K, N] + C (https://onnx.ai/onnx/operators/onnx__Gemm.html). */
export const gemm: Rule = {
  flow(flow) {
    const transA = intAttribute(flow.node, 'transA', 0);
    const transB = intAttribute(flow.node, 'transB', 0);
    const [rows, inner] = transA ? [1, 0] : [0, 1];
    const [innerB, columns] = transB ? [1, 0] : [0, 1];
    const [a, b] = [flow.axes(0), flow.axes(1)];
    flow.join(a[inner], b[innerB]);
    flow.site({ input: 0, axis: inner }, { input: 1, axis: innerB });
    flow.member(1, columns, 'out');
    flow.member(1, innerB, 'in');
    const c = flow.dims(2);
    const out = flow.outDims(0);
    if (c && out) {
      const cs = flow.axes(2);
      c.forEach((size, d) => {
        const at = d + 2 - c.length;
        if (size !== out[at] || size === 1) return;
        flow.join(at === 1 ? b[columns] : a[rows], cs[d]);
        flow.member(2, d, 'bias');
      });
    }
    flow.set(0, [a[rows], b[columns]]);
  },
};

/** numpy's matmul: the last axis of A meets the last but one of B; axes before these broadcast. */
export const matMul: Rule = {
  flow(flow) {
    const [a, b, out] = [flow.dims(0), flow.dims(1), flow.outDims(0)];
    if (!a || !b || !out) return flow.freezeAll('its shapes are not known');
    const innerA = a.length - 1;
    const innerB = Math.max(0, b.length - 2);
    flow.join(flow.axes(0)[innerA], flow.axes(1)[innerB]);
    flow.site({ input: 0, axis: innerA }, { input: 1, axis: innerB });
    flow.member(1, innerB, 'in');
    flow.member(0, innerA, 'in');
    const tail: Axis[] = [];
    if (a.length > 1) {
      flow.member(0, a.length - 2, 'out');
      tail.push(flow.axes(0)[a.length - 2]);
    }
    if (b.length > 1) {
      flow.member(1, b.length - 1, 'out');
      tail.push(flow.axes(1)[b.length - 1]);
    }
    flow.set(0, [...batchAxes(flow, a, b, out.length - tail.length), ...tail]);
  },
};

function batchAxes(flow: Flow, a: readonly number[], b: readonly number[], rank: number): Axis[] {
  const heads = [a.slice(0, -2), b.slice(0, -2)];
  const out = Array.from({ length: rank }, (_, d) =>
    Math.max(...heads.map((dims) => dims[d - (rank - dims.length)] ?? 1)),
  );
  const leading: Flow = { ...flow, dims: (input) => heads[input], axes: (input) => flow.axes(input).slice(0, -2) };
  return broadcast(leading, [0, 1], out);
}
