import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { breathing } from '../../util/steps.ts';
import { notFinite } from '../moments.ts';
import type { Note, PassContext, PassResult } from '../pass.ts';
import type { GramSite, GramSites } from './columns.ts';
import { zerosNote } from './masks.ts';
import { pruneAndRefit, refitLayer, type ChooseMask } from './refit.ts';

/**
 * Prunes layers one after another, front to back, each on the inputs that the layers pruned before it give, and refits what is
 * left of it by least squares so that it goes on giving what the unpruned model gave. `chooseFor` says what of a weight stays. A layer
 * that cannot be solved for is left whole.
 */
export async function pruneInTurn(
  ctx: PassContext,
  model: Model,
  { usable: layers, skipped: left, notes }: GramSites,
  { samples, damping }: { readonly samples: number; readonly damping: number },
  chooseFor: (usage: GramSite) => ChooseMask,
): Promise<PassResult> {
  const changed: Note[] = [];
  const skipped: Note[] = [...left];
  let current = model;
  for (const [i, usage] of layers.entries()) {
    ctx.signal.throwIfAborted();
    ctx.progress(i / layers.length, `pruning ${usage.site.name}`);
    const layer = await refitLayer(ctx, { current, float: model }, usage, samples);
    const whole = (why: string): void =>
      void skipped.push({ layer: usage.site.layer.node, text: `${usage.site.name} left whole: ${why}` });
    const why = notFinite(layer.moments);
    if (why !== undefined) {
      whole(why);
      continue;
    }
    try {
      const { model: next, weights } = await breathing(pruneAndRefit(current, layer, damping, chooseFor(usage)), {
        signal: ctx.signal,
        progress: (done) => ctx.progress((i + done) / layers.length, `pruning ${usage.site.name}`),
      });
      current = next;
      changed.push(zerosNote(usage.site, weights));
    } catch (error) {
      if (!(error instanceof QtoolError) || error.code !== 'data') throw error;
      whole(error.message);
    }
  }
  return { model: current, changed, skipped, notes };
}
