import { attribute, intAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { add, mul, reshape, slice, sub, sum, unary, type GraphWriter, type Value } from '../writer.ts';

/** More steps than these would make a graph of thousands of nodes. */
const mostSteps = 256;

/**
 * With all steps' results known, the gates of all steps are computed at once, and only what goes from step to step is unrolled:
 *
 *     z, r = σ(x W + h R + b)   n = tanh(x Wn + bn + r (h Rn + cn))   h' = (1 − z) n + z h
 *     d = dY + carry            carry' = d z + (d G) R, where G holds ∂h' / ∂ of the three products with R
 *
 * Shapes: X [T, B, I], W [1, 3H, I], R [1, 3H, H], B [1, 6H], h [1, B, H], Y [T, 1, B, H]; gates in the order z, r, n.
 */
export const gruRule: GradientRule = {
  ops: ['GRU'],
  source: 'Cho et al., Learning phrase representations using RNN encoder-decoder (2014), as https://onnx.ai/onnx/operators/onnx__GRU.html has it, differentiated', // prettier-ignore
  refuse(c) {
    const { node } = c;
    if (stringAttribute(node, 'direction', 'forward') !== 'forward') return 'is recurrent and goes backwards';
    if (intAttribute(node, 'linear_before_reset', 0) === 0) return 'is recurrent and resets before its product';
    if (intAttribute(node, 'layout', 0) !== 0) return 'is recurrent and has batches first';
    if (attribute(node, 'activations') || attribute(node, 'clip')) return 'is recurrent with activations of its own';
    if ((node.output[0] ?? '') === '') return 'is recurrent and gives only its last result';
    const steps = c.x(0).dims[0]!;
    return steps > mostSteps ? `is recurrent, of ${steps} steps, and is unrolled for ${mostSteps} at most` : undefined;
  },
  gradient(c) {
    const { w } = c;
    const [x, weight, recurrent] = [c.x(0), c.x(1), c.x(2)];
    const [steps, batch, width] = x.dims as [number, number, number];
    const size = recurrent.dims[2]!;
    const rows = steps * batch;
    const [flatW, flatR] = [reshape(w, weight, [3 * size, width]), reshape(w, recurrent, [3 * size, size])];
    const all = reshape(w, c.y(0), [steps, batch, size]);
    const first = c.has(5) ? c.x(5) : w.filled([1, batch, size]);
    const before = steps === 1 ? first : w.op('Concat', [first, slice(w, all, [{ axis: 0, start: 0, size: steps - 1 }])], [steps, batch, size], { axis: 0 }); // prettier-ignore

    const bias = (start: number): Value | undefined =>
      c.has(3) ? reshape(w, slice(w, c.x(3), [{ axis: 1, start, size: 3 * size }]), [3 * size]) : undefined;
    const product = (of: Value, by: Value, wide: number, b: Value | undefined): Value =>
      reshape(w, w.op('Gemm', [reshape(w, of, [rows, wide]), by, b], [rows, 3 * size], { transB: 1 }), [steps, batch, 3, size]); // prettier-ignore
    const [fed, kept] = [product(x, flatW, width, bias(0)), product(before, flatR, size, bias(3 * size))];
    const gate = (of: Value, i: number): Value => slice(w, of, [{ axis: 2, start: i, size: 1 }]);
    const [z, r] = [0, 1].map((i) => unary(w, 'Sigmoid', add(w, gate(fed, i), gate(kept, i)))) as [Value, Value];
    const n = unary(w, 'Tanh', add(w, gate(fed, 2), mul(w, r, gate(kept, 2))));
    const rest = (v: Value): Value => sub(w, w.scalar(1), v);
    const old = reshape(w, before, [steps, batch, 1, size]);
    const byN = mul(w, rest(z), rest(mul(w, n, n)));
    const byZ = mul(w, sub(w, old, n), mul(w, z, rest(z)));
    const byR = mul(w, mul(w, byN, gate(kept, 2)), mul(w, r, rest(r)));
    const joined = (last: Value): Value => w.op('Concat', [byZ, byR, last], [steps, batch, 3, size], { axis: 2 });

    const live = liveOf(c, steps, batch);
    const masked = (v: Value): Value => (live ? mul(w, v, live) : v);
    const [slopes, stays] = [masked(joined(mul(w, byN, r))), live ? add(w, masked(z), rest(live)) : z];
    const dys = c.dy(0) && masked(reshape(w, c.dy(0)!, [steps, batch, 1, size]));
    const { ds, carry } = unrolled(w, { slopes, stays, dys, last: c.dy(1), recurrent: flatR });

    const dKept = reshape(w, mul(w, ds, slopes), [rows, 3 * size]);
    const dFed = reshape(w, mul(w, ds, masked(joined(byN))), [rows, 3 * size]);
    const turned = (d: Value, by: Value, wide: number): Value => w.op('Gemm', [d, reshape(w, by, [rows, wide])], [3 * size, wide], { transA: 1 }); // prettier-ignore
    const db = (): Value => reshape(w, w.op('Concat', [sum(w, dFed, [0]), sum(w, dKept, [0])], [6 * size], { axis: 0 }), c.x(3).dims); // prettier-ignore
    return [
      c.needs(0) ? reshape(w, w.op('MatMul', [dFed, flatW], [rows, width]), x.dims) : undefined,
      c.needs(1) ? reshape(w, turned(dFed, x, width), weight.dims) : undefined,
      c.needs(2) ? reshape(w, turned(dKept, before, size), recurrent.dims) : undefined,
      c.has(3) && c.needs(3) ? db() : undefined,
      undefined,
      c.has(5) && c.needs(5) ? reshape(w, carry, c.x(5).dims) : undefined,
    ];
  },
};

/** 1 in steps that a sample has, 0 behind its end: [T, B, 1, 1]; undefined where all have all. */
function liveOf(c: GradientContext, steps: number, batch: number): Value | undefined {
  if (!c.has(4)) return undefined;
  const { w } = c;
  const lengths = w.op('Cast', [reshape(w, c.x(4), [1, batch, 1, 1])], [1, batch, 1, 1], { to: 1 });
  const times = w.floats(Float32Array.from({ length: steps }, (_, t) => t), [steps, 1, 1, 1]); // prettier-ignore
  const less = w.op('Less', [times, lengths], [steps, batch, 1, 1]);
  return w.op('Cast', [less], less.dims, { to: 1 });
}

interface Recurrence {
  /** [T, B, 3, H] */
  readonly slopes: Value;
  /** [T, B, 1, H], as dys. */
  readonly stays: Value;
  readonly dys: Value | undefined;
  readonly last: Value | undefined;
  readonly recurrent: Value;
}

/** The gradients by every step's result, [T, B, 1, H], and what goes to the state before the first. */
function unrolled(w: GraphWriter, { slopes, stays, dys, last, recurrent }: Recurrence): { ds: Value; carry: Value } {
  const [steps, batch, gates, size] = slopes.dims as [number, number, number, number];
  const one = [batch, 1, size];
  const at = (of: Value, t: number, dims: readonly number[]): Value => reshape(w, slice(w, of, [{ axis: 0, start: t, size: 1 }]), dims); // prettier-ignore
  let carry = last ? reshape(w, last, one) : undefined;
  const ds: Value[] = [];
  for (let t = steps - 1; t >= 0; t--) {
    const dy = dys && at(dys, t, one);
    const d = dy && carry ? add(w, dy, carry) : (dy ?? carry!);
    ds.unshift(reshape(w, d, [1, ...one]));
    const through = reshape(w, mul(w, d, at(slopes, t, [batch, gates, size])), [batch, gates * size]);
    const back = reshape(w, w.op('MatMul', [through, recurrent], [batch, size]), one);
    carry = add(w, mul(w, d, at(stays, t, one)), back);
  }
  return { ds: ds.length === 1 ? ds[0]! : w.op('Concat', ds, [steps, ...one], { axis: 0 }), carry: carry! };
}
