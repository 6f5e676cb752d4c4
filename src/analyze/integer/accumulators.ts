import type { Computer } from '../../runtime/compute.ts';
import type { Model } from '../../graph/model.ts';
import { given } from '../../util/must.ts';
import { centred } from './arrays.ts';
import { positiveGraph } from './graphs.ts';
import { innerOf } from './run_product.ts';
import type { Codes, ProductStep } from './steps.ts';

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
export function lookAtSums(facts: SumFacts, { data }: Codes, width: number | undefined): void {
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
 * Sums what is positive and what is negative of each accumulator, apart: partial sums of any order lie between. The bias counts to
 * whichever side it is on.
 */
export async function lookAtPartials(
  facts: SumFacts,
  step: ProductStep,
  sums: Codes,
  data: Codes,
  { computer, graphs }: { readonly computer: Pick<Computer, 'compute'>; readonly graphs: Map<ProductStep, Model> },
): Promise<void> {
  // Where float32 needs parts to be exact, the bound that the weights give has to do.
  if (step.weights === undefined || step.digits?.count !== 1) return;
  const x = centred(data, step.data.code);
  const graph = graphs.get(step) ?? positiveGraph(step, x);
  graphs.set(step, graph);
  const above = given((await computer.compute(graph, { x })).y, 'the positive sums').data as Float32Array;
  const partial = (facts.partial ??= { low: 0, high: 0 });
  const { bias } = step;
  const inner = innerOf(step, sums.dims);
  for (let start = 0, channel = 0; start < above.length; start += inner) {
    const own = bias?.[channel] ?? 0;
    const [up, down] = [Math.max(0, own), Math.min(0, own)];
    for (let i = start; i < start + inner; i++) {
      const high = above[i]! + up;
      const low = sums.data[i]! - own - above[i]! + down;
      if (high > partial.high) partial.high = high;
      if (low < partial.low) partial.low = low;
    }
    channel = bias === undefined || channel + 1 === bias.length ? 0 : channel + 1;
  }
}

/** Sums in a register of so many bits: what does not fit wraps around, or stays at the end. */
export function narrowed({ data }: Codes, bits: number, wraps: boolean): void {
  const [least, most] = endsOf(bits);
  const shift = 32 - bits;
  for (let i = 0; i < data.length; i++)
    data[i] = wraps ? (data[i]! << shift) >> shift : Math.min(most, Math.max(least, data[i]!));
}
