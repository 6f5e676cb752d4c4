import type { Model } from '../../graph/model.ts';
import type { Note, PassContext } from '../pass.ts';
import type { GramSite } from './columns.ts';
import { zerosNote } from './masks.ts';
import { pruneAndRefit, refitLayer, type ChooseMask } from './refit.ts';

export interface RefitOptions {
  readonly samples: number;
  readonly damping: number;
}

/**
 * Prunes layers one after another, front to back, each on the inputs that the layers pruned before it give, and refits what is
 * left of it by least squares so that it goes on giving what the unpruned model gave. `chooseFor` says what of a weight stays.
 */
export async function pruneInTurn(
  ctx: PassContext,
  model: Model,
  layers: readonly GramSite[],
  { samples, damping }: RefitOptions,
  chooseFor: (usage: GramSite) => ChooseMask,
): Promise<{ readonly model: Model; readonly changed: readonly Note[] }> {
  const changed: Note[] = [];
  let current = model;
  for (const [i, usage] of layers.entries()) {
    ctx.signal.throwIfAborted();
    ctx.progress(i / layers.length, `pruning ${usage.site.name}`);
    const layer = await refitLayer(ctx, { current, float: model }, usage, samples);
    const { model: next, weights } = pruneAndRefit(current, layer, damping, chooseFor(usage));
    current = next;
    changed.push(zerosNote(usage.site, weights));
  }
  return { model: current, changed };
}
