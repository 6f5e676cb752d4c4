import { isOp } from '../query.ts';
import { elementCount } from '../tensor.ts';
import { constants, stridesOf, type Item } from './ints.ts';
import { atomAt, bindSize, spread, type Axis, type Cut, type Flow, type Rule } from './flow.ts';

/**
 * Reshape keeps the row-major order, so input and output axes fall into blocks of equal product. A block of one axis each is
 * the same axis; several that become one are merged, one that becomes several is split. In a merge or split only one of the
 * several axes may lose indices (the live one), since what is left must be rectangular.
 */
function reshaped(flow: Flow): Axis[] | undefined {
  const [x, out] = [flow.dims(0), flow.outDims(0)];
  if (!x || !out || [...x, ...out].includes(0)) return undefined;
  const result: Axis[] = out.map(() => undefined);
  for (const block of blocks(x, out)) {
    const [from, to] = [block.from.filter((d) => x[d] !== 1), block.to.filter((d) => out[d] !== 1)];
    const axes = from.map((d) => flow.axes(0)[d]);
    if (from.length === 1 && to.length === 1) result[to[0]!] = axes[0];
    else if (to.length === 1) result[to[0]!] = merge(flow, axes, pickFrom(x, from));
    else if (from.length === 1) {
      const live = split(flow, axes[0], pickFrom(out, to));
      if (live) result[to[live.at]!] = live.axis;
    } else axes.forEach((axis) => flow.freeze(axis, `${flow.node.op_type} mixes it with other axes`));
  }
  return result;
}

const pickFrom = (dims: readonly number[], at: readonly number[]): number[] => at.map((d) => dims[d]!);

function blocks(x: readonly number[], out: readonly number[]): { from: number[]; to: number[] }[] {
  const result: { from: number[]; to: number[] }[] = [];
  let [i, j] = [0, 0];
  while (i < x.length || j < out.length) {
    const block = { from: [] as number[], to: [] as number[] };
    let [a, b] = [1, 1];
    do {
      if (i < x.length && (a <= b || j >= out.length)) {
        a *= x[i]!;
        block.from.push(i++);
      } else {
        b *= out[j]!;
        block.to.push(j++);
      }
    } while (a !== b && (i < x.length || j < out.length));
    result.push(block);
  }
  return result;
}

/** Several axes become one: each merged index carries the atom of its index along the live axis. */
function merge(flow: Flow, axes: readonly Axis[], sizes: readonly number[]): Axis {
  const live = axes.findIndex((axis) => axis !== undefined);
  if (live < 0) return undefined;
  axes.slice(live + 1).forEach((axis) => flow.freeze(axis, `${flow.node.op_type} merges it with another axis`));
  const stride = stridesOf(sizes)[live]!;
  const size = sizes[live]!;
  return Int32Array.from({ length: elementCount(sizes) }, (_, i) => atomAt(axes[live], Math.floor(i / stride) % size));
}

/** One axis becomes several: all its indices that share an index along the live axis go together. */
function split(flow: Flow, axis: Axis, sizes: readonly number[]): { at: number; axis: Axis } | undefined {
  if (axis === undefined) return undefined;
  const at = liveFactor(flow, axis, sizes);
  const stride = stridesOf(sizes)[at]!;
  const size = sizes[at]!;
  const of = (i: number): number => Math.floor(i / stride) % size;
  const first = Array.from({ length: size }, (_, k) => k * stride);
  axis.forEach((_, i) => flow.tie(axis, first[of(i)]!, i));
  return { at, axis: Int32Array.from(first, (i) => axis[i]!) };
}

/**
 * Which factor keeps the channels: the one along which indices already go together in no other direction; in a channel shuffle
 * (Reshape, Transpose, Reshape) the larger, the other being the number of groups; otherwise the last but one, the heads of
 * attention in [batch, time, heads, depth].
 */
function liveFactor(flow: Flow, axis: Int32Array, sizes: readonly number[]): number {
  const strides = stridesOf(sizes);
  const already = sizes.findIndex((size, at) => {
    const stride = strides[at]!;
    return axis.every((_, i) => flow.same(axis, (Math.floor(i / stride) % size) * stride, i));
  });
  if (already >= 0) return already;
  const [reader] = flow.readers(0);
  const shuffle = reader && isOp(reader, 'Transpose') && flow.readers(0).length === 1 && sizes.length === 2;
  const next = shuffle ? flow.readersOf(reader.output[0]!) : [];
  if (next.length === 1 && isOp(next[0]!, 'Reshape')) return sizes.indexOf(Math.max(...sizes));
  return sizes.length - 2;
}

function bindTarget(flow: Flow, axes: readonly Axis[]): void {
  const target = flow.ints(1);
  if (!target) {
    if (!flow.node.input[1]) return;
    axes.forEach((axis) => flow.freeze(axis, 'its shape is computed in a way that is not followed'));
    return;
  }
  target.items.forEach((item, d) => bindSize(flow, item, axes[d]));
}

/** Reshape by a vector; Flatten, Squeeze and Unsqueeze differ in how they say the shape only. */
export const reshape: Rule = {
  vectors: [1],
  flow(flow) {
    const axes = reshaped(flow);
    if (!axes) return flow.freezeAll('its shapes are not known');
    if (isOp(flow.node, 'Reshape')) bindTarget(flow, axes);
    flow.set(0, axes);
  },
  fix(cut) {
    if (!isOp(cut.node, 'Reshape')) return;
    const [x, y] = [cut.node.input[0]!, cut.node.output[0]!];
    const target = cut.ints(cut.node.input[1]!);
    const sizes = target?.items.map((item, d) => targetSize(cut, x, y, item, d));
    if (sizes) cut.patch(1, sizes);
  },
};

/** The number to write for an output axis; undefined where what stands there (0 = copy, -1 = the rest, a size) still holds. */
function targetSize(cut: Cut, x: string, y: string, item: Item, d: number): number | undefined {
  const size = cut.newDims(y)[d]!;
  if (!('number' in item) || item.number === -1) return undefined;
  if (item.number === 0) return cut.newDims(x)[d] === size ? undefined : size;
  return cut.oldDims(y)[d] === size ? undefined : size;
}

/** Expand and ConstantOfShape make axes of a size that a vector says. */
export const expand: Rule = {
  vectors: [1],
  flow(flow) {
    const [x, out] = [flow.dims(0), flow.outDims(0)];
    const target = flow.ints(1);
    if (!x || !out || !target) return flow.freezeAll('its shape is computed in a way that is not followed');
    const axes = out.map((size, d): Axis => {
      const own = d - (out.length - x.length);
      const item = target.items[d - (out.length - target.items.length)];
      const mine = own >= 0 && x[own] === size && size > 1 ? flow.axes(0)[own] : undefined;
      const kept = own >= 0 && x[own] === size;
      if (!item || size === 1) return mine;
      if ('number' in item) return kept ? mine : flow.fresh(size);
      if (kept || 'from' in item) bindSize(flow, item, mine);
      return 'size' in item ? flow.axisOf(item.size) : undefined;
    });
    flow.set(0, axes);
  },
  fix(cut) {
    const y = cut.node.output[0]!;
    const target = cut.ints(cut.node.input[1]!);
    const [before, after] = [cut.oldDims(y), cut.newDims(y)];
    if (!target) return;
    const shift = after.length - target.items.length;
    const sizes = target.items.map((item, d) =>
      'number' in item && item.number > 1 && before[d + shift] !== after[d + shift] ? after[d + shift] : undefined,
    );
    cut.patch(1, sizes);
  },
};

/** Repeats along axes; the repeats must be constant where channels are. */
export const tile: Rule = {
  vectors: [1],
  flow(flow) {
    const repeats = constants(flow.ints(1));
    const out = flow.outDims(0);
    if (!repeats || !out) return flow.freezeAll('Tile by computed repeats');
    const axes = flow.axes(0).map((axis, d) => spread(axis, out[d]!, (i) => i % axis!.length));
    flow.set(0, axes);
  },
};
