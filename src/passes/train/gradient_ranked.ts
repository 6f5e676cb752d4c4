import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { given } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { rankedPasses, type RankedOptions } from '../prune/structure/ranked.ts';
import { structureOf, type StructureSite } from '../prune/structure/structures.ts';
import { lossGradients } from './gradients.ts';
import { trainingSchema } from './options.ts';

/** How the sums Σ w g of a structure over the batches make its score. */
const criteria = {
  signed: (sum: number) => sum,
  taylor: Math.abs,
  taylor_squared: (sum: number) => sum * sum,
} as const;

const more = {
  criterion: z
    .enum(['signed', 'taylor', 'taylor_squared'])
    .default('signed')
    .meta({ description: "what is averaged over the batches of a structure's Σ w g: itself, its magnitude or its square" }), // prettier-ignore
  samples: z.int().positive().default(512).meta({ description: 'training samples whose gradients are taken' }),
};
type Options = RankedOptions & z.infer<z.ZodObject<typeof more>>;

/**
 * Zeros the structures whose Σ w g, the slope of the training loss along them, is least. `signed` is Distiller's: what goes first is what the
 * loss is lowered by, as far as the first order tells. `taylor` and `taylor_squared` take away what changes the loss least either way.
 */
export const gradientRanked = rankedPasses<Options>({
  name: 'train/gradient_ranked',
  classes: ['GradientRankedFilterPruner'],
  summary: 'zero the filters along which the training loss changes least',
  source:
    'Distiller GradientRankedFilterPruner; Molchanov et al. 2017 (arXiv 1611.06440), 2019 (arXiv 1906.10771), first-order Taylor expansion',
  trains: true,
  more,
  rankAll,
});

async function rankAll(sites: readonly StructureSite[], o: Options, ctx: PassContext, model: Model) {
  const scores = new Map(sites.map((site) => [site, new Float64Array(site.count)]));
  const places = new Map(sites.map((site) => [site, structureOf(site)]));
  const reached = new Set<string>();
  const names = [...new Set(sites.map(({ tensor }) => tensor))];
  const score = criteria[o.criterion];
  const gradients =
    ctx.lesson?.gradients(model, names, o.samples) ??
    lossGradients(model, names, o.samples, trainingSchema.parse({}), ctx);
  for await (const batch of gradients)
    for (const [site, total] of scores) {
      const gradient = batch.get(site.tensor);
      if (!gradient) continue;
      reached.add(site.tensor);
      const sums = new Float64Array(site.count);
      const of = given(places.get(site), site.tensor);
      for (let i = 0; i < of.length; i++) sums[of[i]!]! += site.data[i]! * gradient[i]!;
      for (let i = 0; i < sums.length; i++) total[i]! += score(sums[i]!);
    }
  return new Map(
    [...scores].map(([site, total]): [StructureSite, Float64Array | string] => {
      if (!reached.has(site.tensor)) return [site, `${site.tensor}: no gradient of the training loss reaches it`];
      return [site, zerosFirst(site, total, given(places.get(site), site.tensor))];
    }),
  );
}

/** What is zero already stays so: signed scores below 0 would come before it. */
function zerosFirst({ data, count }: StructureSite, scores: Float64Array, of: Int32Array): Float64Array {
  const alive = new Uint8Array(count);
  for (let i = 0; i < of.length; i++) if (data[i] !== 0) alive[of[i]!] = 1;
  return scores.map((score, i) => (alive[i] === 0 ? -Infinity : score));
}
