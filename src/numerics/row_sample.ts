import { uniform } from '../util/uniform.ts';
import { throwNotFinite } from './finite.ts';
import type { Fold } from './fold.ts';
import { floatsOf, type Values } from './values.ts';

/** The largest and least element of each channel. */
export interface ChannelRange {
  readonly min: Float64Array;
  readonly max: Float64Array;
}

/** What is known of a value [samples, …, channels], every other sample by itself: what is chosen on the first half can be judged on the second. */
export interface RowSample {
  readonly channels: number;
  readonly first: ChannelRange;
  readonly second: ChannelRange;
  /** [rows, channels], of the second half. */
  readonly rows: Float32Array;
}

interface State {
  channels: number;
  samples: number;
  seen: number;
  halves: [ChannelRange, ChannelRange];
  rows: Float32Array[];
  random: () => number;
}

/**
 * Ranges of channels, and a fair choice of `count` rows of them, whatever number comes by: reservoir sampling (Vitter 1985, algorithm R).
 * One sample alone is both halves.
 *
 * @throws QtoolError `data` if a value is NaN or infinite.
 */
export function rowSample(count: number, at?: string): Fold<Values, State, RowSample> {
  return {
    name: `row_sample(${count})`,
    start: () => ({ channels: 0, samples: 0, seen: 0, halves: [empty(0), empty(0)], rows: [], random: uniform(0) }),
    add: (state, values) => {
      const data = floatsOf(values, at);
      const { dims } = values;
      const channels = dims.at(-1) ?? 1;
      if (state.samples === 0) Object.assign(state, { channels, halves: [empty(channels), empty(channels)] });
      const size = Math.max(channels, data.length / Math.max(1, dims.length > 1 ? dims[0]! : 1));
      for (let start = 0; start + size <= data.length; start += size) {
        const odd = state.samples++ % 2;
        // The first sample's rows stand in for a second half that may not come.
        if (state.samples === 2) Object.assign(state, { rows: [], seen: 0 });
        const { min, max } = state.halves[odd as 0 | 1];
        for (let row = start; row < start + size; row += channels) {
          for (let c = 0; c < channels; c++) {
            const v = data[row + c]!;
            if (v < min[c]!) min[c] = v;
            if (v > max[c]!) max[c] = v;
            if (!Number.isFinite(v)) throwNotFinite(data, at);
          }
          if (odd === 0 && state.samples > 1) continue;
          const slot = state.seen < count ? state.seen : Math.floor(state.random() * (state.seen + 1));
          state.seen++;
          if (slot < count) state.rows[slot] = data.slice(row, row + channels);
        }
      }
      return state;
    },
    finish: ({ channels, samples, halves: [first, second], rows }) => {
      const all = new Float32Array(rows.length * channels);
      for (const [i, row] of rows.entries()) all.set(row, i * channels);
      return { channels, first, second: samples > 1 ? second : first, rows: all };
    },
  };
}

function empty(channels: number): ChannelRange {
  return { min: new Float64Array(channels).fill(Infinity), max: new Float64Array(channels).fill(-Infinity) };
}
