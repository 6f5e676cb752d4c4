import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { consumers } from '../../graph/query.ts';
import { diagonalOfInverse } from '../../numerics/obs.ts';
import { sparsegpt } from '../../numerics/sparsegpt.ts';
import { applyMask, globalLevelMasks, type Mask } from '../../numerics/sparsity.ts';
import type { Moments } from '../moments.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { eachMatrix, gramSites, siteMoments, type GramSite } from './columns.ts';
import { pruneInTurn } from './in_turn.ts';
import { pruneSites, weightNames, weightSelectors, withWeights, zerosNote } from './masks.ts';

const options = z.strictObject({
  sparsity: z.number().min(0).max(1).meta({ description: 'share of zeros over all the weights together' }),
  weights: weightNames.default(['*']),
  criterion: z.enum(['magnitude', 'wanda', 'obs']).default('obs').meta({
    description:
      "what weights of different layers are compared by: |w|, |w|·‖x‖ or the error that is left when others make up for it, both as shares of the layer's output",
  }),
  refit: z.boolean().default(true).meta({ description: 'refit what is left to the unpruned outputs, front to back' }),
  samples: z.int().positive().default(512).meta({ description: 'calibration samples' }),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .meta({ description: "share of the Hessian's mean diagonal added to it" }),
});

export type GlobalOptions = z.infer<typeof options>;

/** One sparsity for the whole model: layers that bear more zeros get more of them. */
export const globalPruner: Pass<GlobalOptions> = {
  name: 'prune/global',
  section: 'pruners',
  classes: ['GlobalPruner'],
  summary: 'zero a share of all weights together, more where they matter less, and refit the others',
  source: 'Hassibi and Stork 1993 (optimal brain surgeon); Frantar and Alistarh 2022 (arXiv 2208.11580)',
  options,
  selectors: (o) => weightSelectors('weights', o.weights),
  strength: {
    at: (o, t) => ({ ...o, sparsity: o.sparsity * t }),
    describe: (o) => `sparsity ${o.sparsity.toFixed(2)}`,
  },
  apply,
};

async function apply(model: Model, o: GlobalOptions, ctx: PassContext): Promise<PassResult> {
  const { sites, skipped, notes } = pruneSites(model, o.weights);
  const plain = o.criterion === 'magnitude' && !o.refit;
  const { usable, skipped: unseen } = plain ? unread(model, sites) : gramSites(model, sites);
  const scores =
    o.criterion === 'magnitude' ? usable.map(({ site }) => site.data) : await lossScores(ctx, model, usable, o);
  const masks = globalLevelMasks(scores, o.sparsity, ctx.clock.epoch.toString());
  const left = [...skipped, ...unseen];
  if (!o.refit) {
    const pruned = usable.map(({ site }, i) => ({ site, data: applyMask(site.data, masks[i] as Mask) }));
    const changed = pruned.map(({ site, data }) => zerosNote(site, data));
    const weights = new Map(pruned.map(({ site, data }) => [site.name, data]));
    return { model: withWeights(model, weights), changed, skipped: left, notes };
  }
  const shares = new Map(usable.map((usage, i) => [usage, shareOf(masks[i] as Mask)]));
  const {
    model: refitted,
    changed,
    skipped: unsolved,
  } = await pruneInTurn(
    ctx,
    model,
    usable,
    o,
    (usage) => (weights, shape, hessian) =>
      sparsegpt(weights, shape, hessian, { share: shares.get(usage) ?? 0, damping: o.damping, at: usage.site.name })
        .mask,
  );
  return { model: refitted, changed, skipped: [...left, ...unsolved], notes };
}

function unread(model: Model, sites: ReturnType<typeof pruneSites>['sites']): ReturnType<typeof gramSites> {
  const readers = consumers(model.graph);
  return { usable: sites.map((site) => ({ site, nodes: readers.get(site.name) ?? [] })), skipped: [] as Note[] };
}

const shareOf = (mask: Mask): number =>
  mask.reduce((n, keep) => n + (keep === 0 ? 1 : 0), 0) / Math.max(1, mask.length);

/** What is lost of the power of a layer's output with each of its weights, in the weights' own order. */
async function lossScores(
  ctx: PassContext,
  model: Model,
  usable: readonly GramSite[],
  { criterion, samples, damping }: GlobalOptions,
): Promise<Float32Array[]> {
  const grams = await siteMoments(ctx, model, usable, samples);
  return usable.map((usage, i) => {
    const gram = grams[i] as Moments;
    const { size } = gram;
    let power = 0;
    const losses = eachMatrix(usage, (matrix, [rows, cols], group) => {
      const hessian = gram.gram.slice(group * size * size, (group + 1) * size * size);
      power += outputPower(matrix, rows, cols, hessian);
      const price =
        criterion === 'obs'
          ? diagonalOfInverse(hessian, cols, damping, usage.site.name).map((v) => 1 / v)
          : Float64Array.from({ length: cols }, (_, k) => hessian[k * cols + k] as number);
      return matrix.map((w, e) => w * w * (price[e % cols] as number));
    });
    return losses.map((loss) => loss / Math.max(power, 1e-30));
  });
}

/** ‖W X‖² = tr(W H Wᵀ). */
function outputPower(matrix: Float32Array, rows: number, cols: number, hessian: Float64Array): number {
  let power = 0;
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < cols; i++) {
      const w = matrix[r * cols + i] as number;
      if (w === 0) continue;
      for (let j = 0; j < cols; j++) power += w * (matrix[r * cols + j] as number) * (hessian[i * cols + j] as number);
    }
  return power;
}
