import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { formatCodes, type FormatCodes, type Rows } from '../../numerics/formats/apply.ts';
import type { BoundFormat, Sharing } from '../../numerics/formats/format.ts';
import type { Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';
import { roundFormat, type FormatRoundingOptions } from './format_rounding.ts';
import { siteMoments } from './weight_moments.ts';

/** A weight that is to be held in a format: of all layers that read it so, the first says what its rows are. */
export interface HeldWeight {
  readonly layer: Layer;
  readonly format: BoundFormat;
  readonly sharing: Sharing | undefined;
}

/** Codes of a weight, and why they were not fitted as was asked. */
export interface WeightFit {
  readonly held: HeldWeight;
  readonly codes: FormatCodes;
  /** By how many dB the error of the layer's output is less than with rounding to the nearest. */
  readonly gain?: number | undefined;
  readonly why?: string | undefined;
}

/** A layer's weight as formats see it. */
export function weightRows({ weight }: Layer): Rows {
  const { rows, columns } = weight.view();
  const named = [...(weight.axes?.out ?? []), ...(weight.axes?.in ?? [])];
  return { data: weight.rows(), rows, columns, kernel: weight.dims.filter((_, axis) => !named.includes(axis)) };
}

export interface FitOptions extends FormatRoundingOptions {
  /** Whether errors are weighed by the mean squares of the inputs they meet. */
  readonly importance: 'none' | 'inputs';
  readonly samples: number;
}

/** Fits and rounds the weights, each by itself. */
export async function fitWeights(
  model: Model,
  weights: readonly HeldWeight[],
  o: FitOptions,
  ctx: PassContext,
): Promise<WeightFit[]> {
  const done: WeightFit[] = [];
  const weighed = o.importance === 'inputs';
  const fit = async (held: HeldWeight, moments?: Moments, why?: string, most?: Moments): Promise<void> => {
    ctx.signal.throwIfAborted();
    const { layer, format, sharing } = held;
    const at = layer.weight.tensor.name;
    ctx.progress(done.length / weights.length, `fitting ${format.name} to ${at}`);
    const rows = weightRows(layer);
    const codes = formatCodes(format, rows, {
      sharing,
      importance: weighed && moments ? inputSquares(rows, moments) : undefined,
      at,
    });
    if (!moments || o.rounding === 'nearest') {
      done.push({ held, codes, why });
      return;
    }
    const rounded = await roundFormat(codes, rows, { moments, most }, o, ctx, at);
    done.push({ held, ...rounded });
  };
  if (!weighed && o.rounding === 'nearest') {
    for (const held of weights) await fit(held);
    return done;
  }
  const of = new Map(weights.map((held) => [held.layer, held]));
  for await (const { site, moments, most, why } of siteMoments(ctx, model, [...of.keys()], o.samples))
    await fit(
      of.get(site)!,
      moments,
      moments
        ? undefined
        : `${why ?? 'what its inputs weigh is not known for this operator'}; errors are weighed alike`,
      most,
    );
  return done;
}

/** The mean square of the input that each weight meets, [rows, columns]. A grouped Conv's outputs see their group's inputs. */
function inputSquares({ rows, columns }: Rows, { gram, groups }: Moments): Float32Array {
  const each = rows / groups;
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const [group, column] = [Math.floor(i / columns / each), i % columns];
    return gram[(group * columns + column) * columns + column]!;
  });
}
