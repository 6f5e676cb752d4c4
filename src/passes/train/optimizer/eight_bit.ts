import type { Optimizer } from '../../../autodiff/training_graph.ts';
import { div, mul, pad, reshape, slice, sub, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { dynamicTree } from '../../../numerics/formats/dynamic_tree.ts';
import { given } from '../../../util/must.ts';

export interface EightBitOptions {
  /** Elements that share their largest magnitude. */
  readonly block?: number;
  /** Smaller parameters keep float32. */
  readonly leastElements?: number;
}

/**
 * An optimizer whose slots hold only what 8 bits hold: of every block one of 256 levels, times the block's largest magnitude. The update itself is by
 * the slots before they are rounded, as in bitsandbytes; `square` has no sign, other slots have one. The rounded slots leave the graph as float32,
 * since what goes in and out of it for a parameter is float32 of the parameter's shape: they train as 8-bit ones do, and can be stored without
 * loss in a byte an element, but take no less memory while training.
 *
 * Source: Dettmers et al., 8-bit optimizers via block-wise quantization (arXiv 2110.02861), sections 2 and 3; block and least size of bitsandbytes.
 */
export const eightBit = (inner: Optimizer, { block = 256, leastElements = 4096 }: EightBitOptions = {}): Optimizer => ({
  ...inner,
  update(w, a) {
    const next = inner.update(w, a);
    if (elementCount(a.parameter.dims) < leastElements) return next;
    return { ...next, slots: next.slots.map((slot, i) => rounded(w, slot, inner.slots[i] !== 'square', block)) };
  },
});

/**
 * The nearest level of each element. Levels are found by their decade, which is seven comparisons, then by their place in it, since all of a decade are
 * equally far apart: half the work of eight halvings of a table.
 */
export function rounded(w: GraphWriter, x: Value, signed: boolean, block: number): Value {
  const count = elementCount(x.dims);
  const size = Math.min(block, count);
  const blocks = Math.ceil(count / size);
  const flat = pad(w, reshape(w, x, [count]), [0], [blocks * size - count]);
  const rows = reshape(w, flat, [blocks, size]);
  const magnitude = unary(w, 'Abs', rows);
  const largest = w.op('ReduceMax', [magnitude, w.ints([1])], [blocks, 1], { keepdims: 1 });
  const floor = w.op('Max', [largest, w.scalar(1e-30)], largest.dims);
  const index = nearest(w, div(w, magnitude, floor), rows, signed);
  const { levels } = tables(signed);
  const level = w.op('Gather', [w.floats(levels, [levels.length]), index], rows.dims);
  const value = mul(w, mul(w, level, largest), unary(w, 'Sign', rows));
  return reshape(w, slice(w, reshape(w, value, [blocks * size]), [{ axis: 0, start: 0, size: count }]), x.dims);
}

/** The magnitudes of the map in rising order, 0 first and 1 last, and for each decade its factor, its parts and the index of its first level. */
function tables(signed: boolean) {
  const levels = dynamicTree.set({ block: 256 }, signed).levels.filter((level) => level >= 0).sort(); // prettier-ignore
  const starts = [0];
  const parts: number[] = [];
  const factors: number[] = [];
  for (let decade = 0, at = 1; decade < 7; decade++) {
    parts.push(2 ** (signed ? decade : decade + 1));
    factors.push(10 ** (6 - decade));
    starts.push(at);
    at += given(parts.at(-1), 'the parts');
  }
  starts.push(levels.length - 1);
  // 0 and 1 are decades of one level.
  return { levels, starts, parts: [1, ...parts, 1], factors: [0, ...factors, 0] };
}

/** The index of the level that each share of the block's largest is nearest to. */
function nearest(w: GraphWriter, share: Value, rows: Value, signed: boolean): Value {
  const { levels, starts, parts, factors } = tables(signed);
  const bounds = starts
    .slice(1)
    .map((start) => (given(levels[start], 'a level') + given(levels[start - 1], 'a level')) / 2);
  const passed = bounds.map((bound) => above(w, share, bound));
  // The level 1 has no negative.
  if (signed) passed.push(mul(w, given(passed.pop(), 'a bound'), above(w, rows, 0)));
  const decade = w.op('Cast', [w.op('Sum', passed, share.dims)], share.dims, { to: 6 });
  const of = (table: readonly number[]): Value => w.op('Gather', [w.floats(table, [table.length]), decade], share.dims);
  const width = of(parts.map((count) => count / 0.9));
  const place = unary(w, 'Floor', mul(w, sub(w, mul(w, share, of(factors)), w.scalar(0.1)), width));
  const within = w.op(
    'Min',
    [w.op('Max', [place, w.scalar(0)], share.dims), of(parts.map((count) => count - 1))],
    share.dims,
  );
  return w.op('Cast', [w.op('Add', [within, of(starts)], share.dims)], share.dims, { to: 6 });
}

/** 1 where x is above a bound, 0 where not. */
const above = (w: GraphWriter, x: Value, bound: number): Value =>
  unary(w, 'HardSigmoid', sub(w, x, w.scalar(bound)), { alpha: { float: 3e38 }, beta: { float: 0 } });
