import type { Model } from '../../graph/model.ts';
import { whereFinite } from '../../numerics/finite.ts';
import { gridOf } from '../../numerics/formats/apply.ts';
import type { BoundFormat } from '../../numerics/formats/format.ts';
import { blockGrid, type BlockGrid } from '../../numerics/formats/run_time.ts';
import type { Grid } from '../../numerics/grid.ts';
import { histogram, type Histogram } from '../../numerics/histogram.ts';
import { must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';

/** Elements of a value, over all samples, that its format is fitted to. */
const elements = 2 ** 18;

/** A value that is to be rounded to a format. */
export interface HeldValue {
  readonly value: string;
  readonly format: BoundFormat;
}

/**
 * The grid of each value under its format, one for the tensor, fitted to the histogram of what the value is on the calibration data; or how its
 * blocks get theirs when the model runs.
 * undefined: it is not finite there.
 */
export async function valueGrids(
  model: Model,
  held: readonly HeldValue[],
  samples: number,
  ctx: PassContext,
): Promise<(Grid | BlockGrid | undefined)[]> {
  if (held.length === 0) return [];
  const wanted = new Map(held.map(({ value }) => [value, [whereFinite(histogram({}, value))]]));
  const found = await ctx.collect(model, wanted, samples, elements);
  return held.map(({ value, format }) => {
    const [seen] = must(found, value, 'the histogram of');
    return seen && fitted(format, seen);
  });
}

/** A grid for what was seen: bins as values, each as often as it was met, and the ends exactly. */
function fitted(format: BoundFormat, { counts, first, width, min, max, count }: Histogram): Grid | BlockGrid {
  const full = count === 0 ? [] : Array.from(counts.keys()).filter((i) => counts[i]! > 0);
  const ends = count === 0 ? [0] : [min, max];
  const largest = Math.max(...ends.map(Math.abs));
  if (format.runTimeBlock !== undefined) return blockGrid(format, format.runTimeBlock, { signed: true, largest });
  const middles = full.map((i) => Math.min(max, Math.max(min, (first + i + 0.5) * width)));
  const fit = format.fit(Float32Array.of(...middles, ...ends), {
    signed: min < 0,
    largest,
    importance: Float64Array.of(...full.map((i) => counts[i]!), ...ends.map(() => 1)),
  });
  return gridOf(fit);
}
