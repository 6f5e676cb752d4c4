import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { diagonalOfInverse } from '../../numerics/obs.ts';
import { sparsegpt } from '../../numerics/sparsegpt.ts';
import { applyMask, globalLevelMasks, type Mask } from '../../numerics/sparsity.ts';
import { breathing, portion, type Steps } from '../../util/steps.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { eachMatrix, freshMoments, gramOf, gramSites, type GramSite, type GramSites } from './columns.ts';
import { pruneInTurn } from './in_turn.ts';
import {
  dampingOption,
  prunedResult,
  pruneSites,
  samplesOption,
  share,
  weightNames,
  weightSelectors,
} from './masks.ts';

const options = z.strictObject({
  sparsity: share.meta({ description: 'share of zeros over all the weights together' }),
  weights: weightNames.default(['*']),
  criterion: z.enum(['magnitude', 'wanda', 'obs']).default('obs').meta({
    description:
      "what weights of different layers are compared by: |w|, |w|·‖x‖ or the error that is left when others make up for it, both as shares of the layer's output",
  }),
  refit: z.boolean().default(true).meta({ description: 'refit what is left to the unpruned outputs, front to back' }),
  samples: samplesOption,
  damping: dampingOption,
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
  const plain = o.criterion === 'magnitude' && !o.refit;
  const named = plain ? unread(model, o.weights) : gramSites(model, o.weights);
  const { scores, skipped, usable } =
    o.criterion === 'magnitude'
      ? { scores: named.usable.map(({ site }) => site.data), skipped: [], usable: named.usable }
      : await lossScores(ctx, model, named.usable, o);
  const found = { ...named, usable, skipped: [...named.skipped, ...skipped] };
  const masks = globalLevelMasks(scores, o.sparsity, ctx.clock.epoch.toString());
  if (!o.refit) {
    const pruned = usable.map(({ site }, i) => ({ site, data: applyMask(site.data, masks[i] as Mask) }));
    return prunedResult(model, pruned, found);
  }
  const shares = new Map(usable.map((usage, i) => [usage, shareOf(masks[i] as Mask)]));
  return pruneInTurn(
    ctx,
    model,
    found,
    o,
    (usage) =>
      function* (weights, shape, hessian) {
        const asked = { share: shares.get(usage) ?? 0, damping: o.damping, at: usage.site.name };
        return (yield* sparsegpt(weights, shape, hessian, asked)).mask;
      },
  );
}

/** All the weights that selectors pick: for magnitudes nobody looks at what their layers read. */
function unread(model: Model, selectors: readonly string[]): GramSites {
  const { sites, ...left } = pruneSites(model, selectors);
  return { ...left, usable: sites.map((site) => ({ site, nodes: [] })) };
}

const shareOf = (mask: Mask): number =>
  mask.reduce((n, keep) => n + (keep === 0 ? 1 : 0), 0) / Math.max(1, mask.length);

type Scores = Pick<GramSites, 'usable' | 'skipped'> & { readonly scores: readonly Float32Array[] };

/** The scores that another try of the stage has found, or new ones: how much is pruned changes none of them. */
async function lossScores(
  ctx: PassContext,
  model: Model,
  sites: readonly GramSite[],
  o: GlobalOptions,
): Promise<Scores> {
  // prettier-ignore
  const known = ctx.cache?.get('scores') as Scores | undefined;
  const scores = known ?? (await freshScores(ctx, model, sites, o));
  ctx.cache?.set('scores', scores);
  return scores;
}

/** What is lost of the power of a layer's output with each of its weights, in the weights' own order; of those it is known for. */
async function freshScores(
  ctx: PassContext,
  model: Model,
  sites: readonly GramSite[],
  { criterion, samples, damping }: GlobalOptions,
): Promise<Scores> {
  // The scores are kept, which are smaller.
  const { known, skipped } = await freshMoments(ctx, model, sites, samples);
  const scores: Float32Array[] = [];
  for (const [usage, gram] of known) {
    let power = 0;
    const steps = eachMatrix(usage, function* (matrix, [rows, cols], group) {
      const hessian = gramOf(gram, group);
      power += yield* portion(outputPower(matrix, rows, cols, hessian), 0, 0.5);
      const price =
        criterion === 'obs'
          ? (yield* portion(diagonalOfInverse(hessian, cols, damping, usage.site.name), 0.5, 1)).map((v) => 1 / v)
          : Float64Array.from({ length: cols }, (_, k) => hessian[k * cols + k]!);
      return matrix.map((w, e) => w * w * price[e % cols]!);
    });
    const losses = await breathing(steps, { signal: ctx.signal });
    scores.push(losses.map((loss) => loss / Math.max(power, 1e-30)));
  }
  return { scores, skipped, usable: known.map(([usage]) => usage) };
}

/** ‖W X‖² = tr(W H Wᵀ). */
function* outputPower(matrix: Float32Array, rows: number, cols: number, hessian: Float64Array): Steps<number> {
  let power = 0;
  for (let r = 0; r < rows; r++) {
    yield r / rows;
    for (let i = 0; i < cols; i++) {
      const w = matrix[r * cols + i]!;
      if (w === 0) continue;
      for (let j = 0; j < cols; j++) power += w * matrix[r * cols + j]! * hessian[i * cols + j]!;
    }
  }
  return power;
}
