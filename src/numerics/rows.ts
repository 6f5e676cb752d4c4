/**
 * A weight tensor seen as a matrix [rows, columns], a row being the weights of one output, whatever order the tensor has. Element
 * (r, c) of the matrix stands at `rowStart[r] + columnStep[c]` of the tensor.
 */
export interface RowView {
  readonly rows: number;
  readonly columns: number;
  readonly rowStart: Int32Array;
  readonly columnStep: Int32Array;
  /** The tensor's own order is that of the matrix. */
  readonly plain: boolean;
  /**
   * The matrix with all axes it is made of, and how to transpose these into the tensor's order; where an axis was split, its two parts
   * stand side by side then.
   */
  readonly unrolled: { readonly shape: readonly number[]; readonly perm: readonly number[]; readonly isSplit: boolean };
}

type Numbers = Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array;

/**
 * The view of a tensor of these dims whose `out` axes make the rows, in their order; the columns are all other axes in theirs. Where
 * `split` is given, axis `split.axis` counts through `split.groups` groups that belong to the rows, before the `out` axes (the input
 * axis of ConvTranspose).
 */
export function rowView(
  dims: readonly number[],
  out: readonly number[],
  split?: { readonly axis: number; readonly groups: number },
): RowView {
  const stride = dims.map((_, d) => dims.slice(d + 1).reduce((a, b) => a * b, 1));
  const axisOf = (d: number): Axis => ({ size: dims[d] ?? 1, step: stride[d] ?? 1, order: 2 * d + 1 });
  const rowAxes = out.map(axisOf);
  const columnAxes = dims.flatMap((_, d) => (out.includes(d) ? [] : [axisOf(d)]));
  const isSplit = split !== undefined && split.groups > 1;
  if (isSplit) {
    const { size, step, order } = axisOf(split.axis);
    const within = size / split.groups;
    rowAxes.unshift({ size: split.groups, step: within * step, order: order - 1 });
    const at = columnAxes.findIndex((axis) => axis.order === order);
    columnAxes.splice(at, 1, { size: within, step, order });
  }
  const rowStart = offsets(rowAxes);
  const columnStep = offsets(columnAxes);
  const [rows, columns] = [rowStart.length, columnStep.length];
  const plain = rowStart.every((v, r) => v === r * columns) && columnStep.every((v, c) => v === c);
  const all = [...rowAxes, ...columnAxes];
  const perm = all.map((_, i) => i).sort((a, b) => all[a]!.order - all[b]!.order);
  const unrolled = { shape: all.map(({ size }) => size), perm, isSplit };
  return { rows, columns, rowStart, columnStep, plain, unrolled };
}

interface Axis {
  readonly size: number;
  /** Elements from one index to the next. */
  readonly step: number;
  /** Its place among the tensor's axes. */
  readonly order: number;
}

function offsets(axes: readonly Axis[]): Int32Array {
  const count = axes.reduce((product, { size }) => product * size, 1);
  const result = new Int32Array(count);
  let inner = count;
  for (const { size, step } of axes) {
    inner /= Math.max(1, size);
    for (let i = 0; i < count; i++) result[i] = (result[i] ?? 0) + (Math.floor(i / inner) % size) * step;
  }
  return result;
}

/** The tensor's elements as [rows, columns]: the same array where that is its order, else a copy. */
export function toRows<T extends Numbers>(data: T, view: RowView): T {
  return view.plain ? data : moved(data, view, true);
}

/** The reverse of `toRows`: [rows, columns] in the tensor's order. */
export function fromRows<T extends Numbers>(data: T, view: RowView): T {
  return view.plain ? data : moved(data, view, false);
}

/** Rows and columns of a piece of a matrix that stays in the processor's cache while it is transposed. */
const tile = 32;

function moved<T extends Numbers>(data: T, { rows, columns, rowStart, columnStep }: RowView, gather: boolean): T {
  const result = new (data.constructor as new (length: number) => T)(data.length);
  for (let top = 0; top < rows; top += tile)
    for (let left = 0; left < columns; left += tile) {
      const right = Math.min(columns, left + tile);
      for (let r = top; r < Math.min(rows, top + tile); r++)
        for (let c = left, start = rowStart[r]!, i = r * columns + left; c < right; c++, i++) {
          const at = start + columnStep[c]!;
          if (gather) result[i] = data[at]!;
          else result[at] = data[i]!;
        }
    }
  return result;
}
