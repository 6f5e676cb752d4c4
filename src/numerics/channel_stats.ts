import { QtoolError } from '../util/error.ts';
import { throwNotFinite } from './finite.ts';
import type { Fold } from './fold.ts';
import { forEachRun, layoutOf } from './layout.ts';
import { floatsOf, type Values } from './values.ts';

/** One entry a channel in each array. */
export interface ChannelStats {
  readonly channels: number;
  /** Values per channel. */
  readonly count: number;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly sum: Float64Array;
  readonly sumSquares: Float64Array;
  /** Values that are exactly 0: over `count` it is the APoZ of H. Hu et al. (arXiv 1607.03250). */
  readonly zeros: Float64Array;
}

interface State {
  stats: { -readonly [K in keyof ChannelStats]: ChannelStats[K] } | undefined;
}

/**
 * Statistics of each channel of a tensor in one pass: ranges and sums of squares for equalization and SmoothQuant, means for bias
 * correction, shares of zeros for APoZ. `axis` may be negative, counting from the end.
 *
 * @throws QtoolError `graph` if the axis does not exist or the number of channels changes; `data` if a value is NaN or infinite.
 */
export function channelStats(
  { axis = 1 }: { readonly axis?: number | undefined } = {},
  at?: string,
): Fold<Values, State, ChannelStats> {
  return {
    name: `channel_stats(${axis})`,
    start: () => ({ stats: undefined }),
    add: (state, values) => {
      const data = floatsOf(values, at);
      const { dims } = values;
      const layout = layoutOf(dims, { per: 'channel', axis: axis < 0 ? axis + dims.length : axis });
      const stats = (state.stats ??= empty(layout.params));
      same(stats.channels, layout.params, at);
      const { min, max, sum, sumSquares, zeros } = stats;
      forEachRun(layout, (start, count, param, step) => {
        if (step === 1) {
          for (let j = 0, p = param; j < count; j++, p++) {
            const v = data[start + j]!;
            if (v < min[p]!) min[p] = v;
            if (v > max[p]!) max[p] = v;
            sum[p]! += v;
            sumSquares[p]! += v * v;
            if (v === 0) zeros[p]!++;
          }
          return;
        }
        let lo = min[param]!;
        let hi = max[param]!;
        let s = 0;
        let squares = 0;
        let none = 0;
        for (let i = start; i < start + count; i++) {
          const v = data[i]!;
          if (v < lo) lo = v;
          if (v > hi) hi = v;
          s += v;
          squares += v * v;
          if (v === 0) none++;
        }
        min[param] = lo;
        max[param] = hi;
        sum[param]! += s;
        sumSquares[param]! += squares;
        zeros[param]! += none;
      });
      // Squares of float32 do not overflow a double, so a sum that is not finite comes from a value that is not.
      if (!sumSquares.every(Number.isFinite)) throwNotFinite(data, at);
      stats.count += layout.params === 0 ? 0 : layout.elements / layout.params;
      return state;
    },
    finish: ({ stats }) => {
      if (stats === undefined) return empty(0);
      if (stats.count === 0) return { ...stats, min: stats.sum.slice(), max: stats.sum.slice() };
      return stats;
    },
  };
}

function empty(channels: number): NonNullable<State['stats']> {
  const zeros = () => new Float64Array(channels);
  return {
    channels,
    count: 0,
    min: zeros().fill(Infinity),
    max: zeros().fill(-Infinity),
    sum: zeros(),
    sumSquares: zeros(),
    zeros: zeros(),
  };
}

function same(known: number, found: number, at: string | undefined): void {
  if (known !== found) {
    throw new QtoolError('graph', `the tensor had ${known} channels, now it has ${found}`, {
      at,
      hint: 'statistics per channel need an axis of fixed size',
    });
  }
}
