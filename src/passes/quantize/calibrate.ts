import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import type { AffineFormat } from '../../numerics/affine.ts';
import { calibrators, observerOf, statisticOptions, type Calibrator } from '../../numerics/calibrators.ts';
import type { Range } from '../../numerics/range.ts';
import type { PassContext } from '../pass.ts';
import { keptStatistic } from './kept_statistic.ts';
import { given } from '../../util/must.ts';

const methods = calibrators.map((c) => c.name) as [string, ...string[]];

/** How clip ranges of activations are chosen: the schedule's `calibration:`. Names are onnxruntime's and Distiller's. */
export const calibration = z
  .strictObject({
    method: z
      .enum(methods)
      .default('minmax')
      .meta({ description: calibrators.map((c) => `${c.name}: ${c.summary}`).join('; ') }),
    samples: z.number().int().positive().default(512).meta({ description: 'calibration samples at most' }),
    elements: z
      .union([z.number().int().min(4096), z.literal('all')])
      .default(2 ** 18)
      .meta({ description: 'elements of a value, over all samples, that a histogram is made of; or all' }),
    num_bins: z.number().int().min(128).max(65536).optional(),
    num_quantized_bins: z.number().int().min(2).optional(),
    percentile: z.number().gt(50).max(100).optional().meta({ description: 'share of the values kept, %' }),
    symmetric: z.boolean().optional(),
    averaging_constant: z.number().gt(0).max(1).optional(),
    average_per: z.enum(['sample', 'batch']).optional(),
    p: z.number().positive().optional().meta({ description: 'exponent of the lp method' }),
    n_stds: z.number().positive().optional(),
    memory_limit: z.number().positive().optional().meta({
      description: 'MB of activations that one run may return; what is beyond takes further passes over the data',
    }),
  })
  .prefault({});

export type Calibration = z.infer<typeof calibration>;

/**
 * Clip ranges of values: one pass over the calibration data, whatever the method. Histograms see `elements` of a value, in every
 * sample the same rows: a quarter of a million leaves 26 beyond the 99.99th percentile, and copying more out of the network costs more than
 * running it.
 * @param formats the format each value will have; methods that weigh clipping against rounding need its width.
 * @param note is told how many passes over the data it takes, where that is not one.
 * @throws QtoolError naming the value where the data holds NaN or infinity.
 */
export async function calibrate(
  model: Model,
  formats: ReadonlyMap<string, AffineFormat>,
  o: Calibration,
  ctx: PassContext,
  note: (text: string) => void = () => undefined,
): Promise<Map<string, Range>> {
  const calibrator = given(
    calibrators.find((c) => c.name === o.method),
    'the calibrator',
  );
  const kind = calibrator.statistics[0] as Calibrator['statistics'][number];
  const wanted = new Map([...formats.keys()].map((value) => [value, [observerOf(kind, o, value)]]));
  const statistics = await ctx.collect(model, wanted, o.samples, o.elements === 'all' ? undefined : o.elements, {
    memoryLimit: o.memory_limit === undefined ? undefined : o.memory_limit * 1e6,
    planned(passes, bytes) {
      if (passes > 1 || o.memory_limit !== undefined)
        note(`calibration: ${passes} passes over the data, at most ${(bytes / 1e6).toFixed(1)} MB a run`);
    },
    keeping: { options: [kind, statisticOptions(kind, o)], ...keptStatistic },
  });
  return new Map(
    [...formats].map(([value, format]) => [value, calibrator.range(statistics.get(value)?.[0] as never, format, o)]),
  );
}
