import { bytesOf, codesOf, type Bytes } from './arrays.ts';
import { byteFeeds, productGraph } from './graphs.ts';
import { graphFor, summed, type Machine } from './machine.ts';
import { given } from '../../util/must.ts';
import { innerOf } from './run_product.ts';
import type { Code, Codes, ProductStep, Sums } from './steps.ts';

/** What a layer's accumulators came to. */
export interface SumFacts {
  /** Accumulators seen. */
  count: number;
  /** Extremes of finished accumulators, bias and all. */
  low: number;
  high: number;
  /** Extremes of what a partial sum may come to, whatever the order: all negative terms, all positive ones; undefined where that was not looked at. */
  partial: { low: number; high: number } | undefined;
  /** Finished accumulators that the asked width does not hold. */
  outside: number;
}

export const noSums = (): SumFacts => ({ count: 0, low: Infinity, high: -Infinity, partial: undefined, outside: 0 });

/** Bits of a signed register that holds the numbers from `low` to `high`. */
export function bitsFor(low: number, high: number): number {
  let bits = 1;
  while (low < -(2 ** (bits - 1)) || high > 2 ** (bits - 1) - 1) bits++;
  return bits;
}

/** Distiller's rule for the width of an accumulator: 2n + log2(c · k²), for n-bit codes and c · k² terms. */
export const ruleBits = (terms: number, bits: number): number => 2 * bits + Math.log2(Math.max(1, terms));

/** The ends of a register of so many bits. */
const endsOf = (bits: number): readonly [number, number] => [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];

/** Adds what one run of a layer shows. */
export function lookAtSums(facts: SumFacts, data: ArrayLike<number>, width: number | undefined): void {
  const [least, most] = endsOf(width ?? 32);
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (value < facts.low) facts.low = value;
    if (value > facts.high) facts.high = value;
    if (value < least || value > most) facts.outside++;
  }
  facts.count += data.length;
}

/**
 * Sums what is positive and what is negative of each accumulator, apart: partial sums of any order lie between. The sum of all absolute
 * values tells both: with the sum itself it is twice what is positive. The bias counts to whichever side it is on.
 */
export async function lookAtPartials(
  facts: SumFacts,
  step: ProductStep,
  sums: Sums,
  data: Codes,
  machine: Machine,
): Promise<void> {
  // Where even absolute values may overflow, the bound that the weights give has to do.
  if (step.weights === undefined || step.worst >= 2 ** 31) return;
  const { weights, bias } = step;
  const x = { dims: data.dims, bytes: absolute(data, step.data.code) };
  const graph = graphFor(machine, step, 'absolute', () =>
    productGraph(step, x, { dims: weights.dims, values: weights.data.map(Math.abs) }, undefined),
  );
  const all = await summed(machine, graph, byteFeeds('x', x.dims, x.bytes));
  const partial = (facts.partial ??= { low: 0, high: 0 });
  const inner = innerOf(step, sums.dims);
  for (let start = 0, channel = 0; start < all.data.length; start += inner) {
    const own = bias?.[channel] ?? 0;
    const [up, down] = [Math.max(0, own), Math.min(0, own)];
    for (let i = start; i < start + inner; i++) {
      const sum = sums.data[i]! - own;
      const above = (sum + all.data[i]!) / 2;
      if (above + up > partial.high) partial.high = above + up;
      if (sum - above + down < partial.low) partial.low = sum - above + down;
    }
    channel = bias === undefined || channel + 1 === bias.length ? 0 : channel + 1;
  }
  machine.pool.give(all.data);
}

/** The distances of codes from their zero point. */
function absolute({ type, dims, data }: Codes, { zeroPoint }: Code): Bytes[] {
  const unsigned = type.endsWith('16') ? 'uint16' : 'uint8';
  if (type === unsigned && zeroPoint === 0) return bytesOf({ type, dims, data }, { type, scale: 1, zeroPoint: 0 });
  const away = codesOf(unsigned, dims, Int32Array.from(data, (code) => Math.abs(code - zeroPoint))); // prettier-ignore
  return bytesOf(away, { type: unsigned, scale: 1, zeroPoint: 0 });
}

/** The finished sums of a step: as they are, or where these may have left int32 and wrapped, once more in float64, exact. */
export async function exactSums(
  step: ProductStep,
  sums: Sums,
  data: Codes,
  machine: Machine,
): Promise<ArrayLike<number>> {
  if (step.weights === undefined || step.worst < 2 ** 31) return sums.data;
  const { weights, bias } = step;
  const x = { dims: data.dims, bytes: bytesOf(data, step.data.code) };
  const graph = graphFor(machine, step, 'exact', () =>
    productGraph(step, x, { dims: weights.dims, values: weights.data }, bias, 'float64'),
  );
  const { y } = await machine.computer.compute(graph, byteFeeds('x', x.dims, x.bytes));
  return given(y, 'the sums').data as Float64Array;
}

/** Sums in a register of so many bits: what does not fit wraps around, or stays at the end. */
export function narrowed({ dims, data }: Sums, bits: number, wraps: boolean): Sums {
  const [least, most] = endsOf(bits);
  const shift = 32 - bits;
  return {
    dims,
    data: data.map((value) => (wraps ? (value << shift) >> shift : Math.min(most, Math.max(least, value)))),
  };
}
