import { geometryOf } from './geometry.ts';
import type { Codes, ProductStep, Sums } from './steps.ts';

/**
 * x64 processors without VNNI multiply uint8 data by int8 weights with VPMADDUBSW, which adds the products of two neighbouring terms in int16
 * and saturates: 255 · 127 · 2 = 64,770 does not fit in 32,767. Only pairs whose weights are large together can.
 */

const [most, least] = [32767, -32768];

/** Pairs of terms of one sum that may saturate. */
interface RiskyPair {
  readonly channel: number;
  readonly term: number;
  readonly first: number;
  readonly second: number;
}

/** The pairs of a layer that may saturate, found once. */
export type RiskyPairs = Map<ProductStep, readonly RiskyPair[]>;

/** Saturated pair sums of one run of a layer, among all. */
export interface PairCount {
  saturated: number;
  pairs: number;
}

/**
 * Counts the pair sums of a layer that saturate, and gives the sums less what is cut off, the same array where that is nothing. Zero where the
 * weights are unsigned, or the kernel is one without pairs.
 */
export function saturatePairs(
  step: ProductStep,
  sums: Sums,
  data: Codes,
  known: RiskyPairs,
): PairCount & { readonly held: Sums } {
  const count = { saturated: 0, pairs: 0, held: sums };
  const { weights } = step;
  const geometry = geometryOf(step, data.dims, sums.dims);
  if (geometry === undefined || weights?.raw.type !== 'int8' || step.data.code.type.endsWith('16')) return count;
  const pairs = known.get(step) ?? riskyPairs(step, geometry);
  known.set(step, pairs);
  const { samples, channels, places } = geometry;
  count.pairs = samples * channels * places * Math.ceil(step.terms / 2);
  // Signed data is moved to unsigned first.
  const lift = step.data.code.type === 'int8' ? 128 : 0;
  const zero = step.data.code.zeroPoint + lift;
  for (let sample = 0; sample < samples; sample++) {
    const rows = new Map<number, Int32Array>();
    const row = (channel: number, term: number): Int32Array => {
      const key = geometry.group(channel) * step.terms + term;
      const known = rows.get(key);
      if (known !== undefined) return known;
      const made = geometry.reads(sample, geometry.group(channel), term);
      for (let i = 0; i < made.length; i++) made[i] = made[i]! < 0 ? zero : data.data[made[i]!]! + lift;
      rows.set(key, made);
      return made;
    };
    for (const { channel, term, first, second } of pairs) {
      const [a, b] = [row(channel, term), row(channel, term + 1)];
      for (let place = 0; place < places; place++) {
        const sum = a[place]! * first + b[place]! * second;
        if (sum <= most && sum >= least) continue;
        if (count.saturated++ === 0) count.held = { dims: sums.dims, data: sums.data.slice() };
        const at = geometry.at(sample, channel, place);
        count.held.data[at] = count.held.data[at]! - (sum > most ? sum - most : sum - least);
      }
    }
  }
  return count;
}

function riskyPairs(
  step: ProductStep,
  geometry: Pick<NonNullable<ReturnType<typeof geometryOf>>, 'channels' | 'weight'>,
): RiskyPair[] {
  const { data = new Int32Array(0), raw } = step.weights ?? {};
  const zeros = raw?.zeroPoint ?? [0];
  const found: RiskyPair[] = [];
  for (let channel = 0; channel < geometry.channels; channel++) {
    const zero = zeros[zeros.length === 1 ? 0 : channel]!;
    for (let term = 0; term + 1 < step.terms; term += 2) {
      const first = data[geometry.weight(channel, term)]! + zero;
      const second = data[geometry.weight(channel, term + 1)]! + zero;
      const [up, down] = [Math.max(first, 0) + Math.max(second, 0), Math.min(first, 0) + Math.min(second, 0)];
      if (255 * up > most || 255 * down < least) found.push({ channel, term, first, second });
    }
  }
  return found;
}
