import * as z from 'zod';
import { channelGroups } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers } from '../../../graph/query.ts';
import { dimsOf } from '../../../graph/tensor.ts';
import { sliceNorms } from '../../../numerics/sparsity.ts';
import type { Note, PassContext, PassResult } from '../../pass.ts';
import { noisy, rounding, twoForms } from './ranked.ts';
import { refitLayer, refitText, targetOf } from './reconstruct.ts';
import { refitSites, type Site } from './sites.ts';
import {
  structureNote,
  structureSites,
  structuresToPrune,
  weakest,
  zeroStructures,
  type StructureSite,
} from './structures.ts';
import { weightNames } from '../masks.ts';

const shape = {
  group_type: z.enum(['Channels', 'Cols']).default('Channels'),
  weights: weightNames,
  group_dependency: z.null().optional(),
  kwargs: z.null().optional(),
  magnitude_fn: z.enum(['l1', 'l2', 'l1_norm', 'l2_norm']).default('l1'),
  ranking_noise: z.number().min(0).default(0),
  group_size: z.int().min(1).default(1),
  rounding_fn: rounding,
  samples: z.int().min(1).default(512),
  ridge: z.number().min(0).default(1e-3),
  seed: z.int().min(0).default(0),
};
type Options = z.infer<z.ZodObject<typeof shape>>;

/** Zeroes input channels of layers, front to back, each refitted on what the layers before it give by then. */
export const fmReconstruction = twoForms<Options>(
  {
    name: 'prune/structure/fm_reconstruction',
    classes: ['FMReconstructionChannelPruner'],
    summary: 'zero the input channels of least norm and refit the layer to the same feature map',
    source: 'He et al. 2017, Channel Pruning (arXiv 1707.06168); Distiller',
  },
  shape,
  apply,
);

async function apply(model: Model, o: Options, sparsity: number, ctx: PassContext): Promise<PassResult> {
  const { sites, skipped: unfit, notes } = structureSites(model, o.weights, o.group_type);
  const channels = channelGroups(model, await ctx.shapes(model));
  const refit = new Map(refitSites(model, channels).map((site) => [site.tensor, site]));
  const [changed, skipped]: [Note[], Note[]] = [[], [...unfit]];
  const before = floatModel(model, sites, ctx);
  let result = model;
  const inOrder = [...sites].sort((a, b) => a.layer.index - b.layer.index);
  for (const [i, site] of inOrder.entries()) {
    ctx.progress(i / inOrder.length, `refitting ${site.layer.node}`);
    const norms = sliceNorms(site.data, site.dims, site.axis, o.magnitude_fn.startsWith('l1') ? 'l1' : 'l2');
    const scores = noisy(norms, { noise: o.ranking_noise, seed: o.seed }, site);
    const gone = weakest(scores, structuresToPrune(site.count, sparsity, o.group_size, o.rounding_fn));
    const layer = refit.get(site.tensor);
    const note = structureNote(site, o.group_type, gone.size);
    if (!layer) {
      changed.push(note);
      result = zeroStructures(result, new Map([[site, gone]]));
      skipped.push({
        layer: site.layer.node,
        text: 'zeroed but not refitted: its weights are shared or reached indirectly',
      });
      continue;
    }
    const [target, take] = [targetOf(layer, channels, new Set(), false), columnsOf(site, layer, gone)];
    const done = await refitLayer(ctx, { before, model: result, site: layer, target, take }, o);
    if (typeof done === 'string') skipped.push({ layer: site.layer.node, text: `${site.tensor} left whole: ${done}` });
    else {
      result = done.model;
      changed.push(note, { layer: site.layer.node, text: refitText(done) });
    }
  }
  return {
    model: result,
    changed,
    skipped,
    notes: [...notes, `sparsity ${sparsity.toFixed(4)} of each weight's ${o.group_type}`],
  };
}

/** What to reproduce: the model as this instance saw it first, while no layer has been cut for real since. */
function floatModel(model: Model, sites: readonly StructureSite[], ctx: PassContext): Model {
  const first = ctx.memory.get('float') as Model | undefined;
  const tensors = first && initializers(first.graph);
  const same = sites.every((site) => {
    const tensor = tensors?.get(site.tensor);
    return tensor !== undefined && dimsOf(tensor).join() === site.dims.join();
  });
  if (first && same) return first;
  ctx.memory.set('float', model);
  return model;
}

/** The columns (weights of one output) that belong to each input channel. */
function columnsOf(site: StructureSite, layer: Site, gone: ReadonlySet<number>): number[][] {
  const taps = layer.columns.length / site.count;
  return [...gone].map((c) => Array.from({ length: taps }, (_, t) => c * taps + t));
}
