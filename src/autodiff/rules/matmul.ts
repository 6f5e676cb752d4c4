import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { GradientRule } from '../rule.ts';
import { broadcast, reshape, scaled, turned, unbroadcast, type GraphWriter, type Value } from '../writer.ts';

/** A product of matrices, or of stacks of them. */
function matmul(w: GraphWriter, a: Value, b: Value): Value {
  const lead = broadcast(a.dims.slice(0, -2), b.dims.slice(0, -2));
  return w.op('MatMul', [a, b], [...lead, a.dims.at(-2)!, b.dims.at(-1)!]);
}

/** Y = A B: dA = dY Bᵀ, dB = Aᵀ dY, summed over what was broadcast; a vector is a matrix of one row or column. */
export const matmulRule: GradientRule = {
  ops: ['MatMul'],
  source: 'Giles, An extended collection of matrix derivative results (2008), 2.2.3',
  gradient(c) {
    const { w } = c;
    const [p, q] = [c.x(0).dims, c.x(1).dims];
    const a = reshape(w, c.x(0), p.length === 1 ? [1, p[0]!] : p);
    const b = reshape(w, c.x(1), q.length === 1 ? [q[0]!, 1] : q);
    const lead = broadcast(a.dims.slice(0, -2), b.dims.slice(0, -2));
    const dy = reshape(w, c.dy(0)!, [...lead, a.dims.at(-2)!, b.dims.at(-1)!]);
    const da = c.needs(0) ? reshape(w, unbroadcast(w, matmul(w, dy, turned(w, b)), a.dims), p) : undefined;
    if (!c.needs(1)) return [da, undefined];
    // A stack times one matrix is one product of all its rows.
    if (b.dims.length === 2 && a.dims.length > 2) {
      const rows = elementCount(a.dims.slice(0, -1));
      const flat = [reshape(w, a, [rows, a.dims.at(-1)!]), reshape(w, dy, [rows, b.dims[1]!])];
      return [da, reshape(w, w.op('Gemm', flat, b.dims, { transA: 1 }), q)];
    }
    return [da, reshape(w, unbroadcast(w, matmul(w, turned(w, a), dy), b.dims), q)];
  },
};

/** Y = α A' B' + β C, where A' and B' may be turned. */
export const gemmRule: GradientRule = {
  ops: ['Gemm'],
  source: matmulRule.source,
  gradient(c) {
    const { w, node } = c;
    const dy = c.dy(0)!;
    const [ta, tb] = [intAttribute(node, 'transA', 0), intAttribute(node, 'transB', 0)];
    const alpha = { float: floatAttribute(node, 'alpha', 1) };
    const [a, b] = [c.x(0), c.x(1)];
    const gemm = (left: Value, right: Value, dims: readonly number[], transA: number, transB: number): Value =>
      w.op('Gemm', [left, right], dims, { alpha, transA, transB });
    const da = (): Value => (ta ? gemm(b, dy, a.dims, tb, 1) : gemm(dy, b, a.dims, 0, 1 - tb));
    const db = (): Value => (tb ? gemm(dy, a, b.dims, 1, ta) : gemm(a, dy, b.dims, 1 - ta, 0));
    return [
      c.needs(0) ? da() : undefined,
      c.needs(1) ? db() : undefined,
      c.has(2) && c.needs(2) ? unbroadcast(w, scaled(w, dy, floatAttribute(node, 'beta', 1)), c.x(2).dims) : undefined,
    ];
  },
};
