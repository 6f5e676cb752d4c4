import { geometryOf } from './geometry.ts';
import type { Codes, ProductStep, Sums } from './steps.ts';

/**
 * x64 processors without VNNI multiply uint8 data by int8 weights with VPMADDUBSW, which adds the products of two neighbouring terms in int16
 * and saturates: 255 · 127 · 2 = 64,770 does not fit in 32,767. Only pairs whose weights are large together can.
 */

const [most, least] = [32767, -32768];

/** Two neighbouring terms of a group of channels, and the channels in whose sums they may saturate, with their weights there. */
interface RiskyPair {
  readonly group: number;
  readonly term: number;
  readonly own: { readonly channel: number; readonly first: number; readonly second: number }[];
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
  const padding = step.data.code.zeroPoint;
  const [left, right] = [new Int32Array(places), new Int32Array(places)];
  const ends = endsOf(data, padding, lift);
  for (let sample = 0; sample < samples; sample++)
    for (const { group, term, own } of pairs) {
      // Most data is far below 255: what the largest and smallest of it rule out is not looked at place by place.
      const [a, b] = [ends(geometry.span(sample, group, term)), ends(geometry.span(sample, group, term + 1))];
      const open = own.filter(({ first, second }) => mayLeave(first, second, a, b));
      if (open.length === 0) continue;
      geometry.gather(data.data, [sample, group, term], left, padding);
      geometry.gather(data.data, [sample, group, term + 1], right, padding);
      for (const { channel, first, second } of open) {
        const lifted = lift * (first + second);
        for (let place = 0; place < places; place++) {
          const sum = left[place]! * first + right[place]! * second + lifted;
          if (sum <= most && sum >= least) continue;
          if (count.saturated++ === 0) count.held = { dims: sums.dims, data: sums.data.slice() };
          const at = geometry.at(sample, channel, place);
          count.held.data[at] = count.held.data[at]! - (sum > most ? sum - most : sum - least);
        }
      }
    }
  return count;
}

/** Smallest and largest of some data as unsigned codes. */
type Ends = readonly [number, number];

/** Finds the ends of a span of the data and its padding, each span once. */
function endsOf({ data }: Codes, padding: number, lift: number): (span: readonly [number, number]) => Ends {
  const known = new Map<number, Ends>();
  return ([start, end]) => {
    const found = known.get(start);
    if (found !== undefined) return found;
    let [low, high] = [padding, padding];
    for (let i = start; i < end; i++) {
      const value = data[i]!;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const ends: Ends = [low + lift, high + lift];
    known.set(start, ends);
    return ends;
  };
}

/** Whether two products with data between these ends may come to a sum outside int16. */
function mayLeave(first: number, second: number, [lowA, highA]: Ends, [lowB, highB]: Ends): boolean {
  const up = first * (first > 0 ? highA : lowA) + second * (second > 0 ? highB : lowB);
  const down = first * (first > 0 ? lowA : highA) + second * (second > 0 ? lowB : highB);
  return up > most || down < least;
}

function riskyPairs(
  step: ProductStep,
  geometry: Pick<NonNullable<ReturnType<typeof geometryOf>>, 'channels' | 'weight' | 'group'>,
): RiskyPair[] {
  const { data = new Int32Array(0), raw } = step.weights ?? {};
  const zeros = raw?.zeroPoint ?? [0];
  const found = new Map<number, RiskyPair>();
  for (let channel = 0; channel < geometry.channels; channel++) {
    const zero = zeros[zeros.length === 1 ? 0 : channel]!;
    for (let term = 0; term + 1 < step.terms; term += 2) {
      const first = data[geometry.weight(channel, term)]! + zero;
      const second = data[geometry.weight(channel, term + 1)]! + zero;
      const [up, down] = [Math.max(first, 0) + Math.max(second, 0), Math.min(first, 0) + Math.min(second, 0)];
      if (255 * up <= most && 255 * down >= least) continue;
      const group = geometry.group(channel);
      const key = group * step.terms + term;
      const pair = found.get(key) ?? { group, term, own: [] };
      found.set(key, pair);
      pair.own.push({ channel, first, second });
    }
  }
  return [...found.values()];
}
