import type { Model } from '../../graph/model.ts';
import type { Note, Pass, PassContext } from '../pass.ts';
import { foldBatchNorm } from './batchnorm.ts';
import { foldConstants } from './constants.ts';
import { foldBias } from './conv_add.ts';
import { foldIdentity } from './identity.ts';

/** The passes of this folder, which change how a model is written and not what it computes. */
export const foldPasses: readonly Pass<Record<string, never>>[] = [
  foldConstants,
  foldIdentity,
  foldBias,
  foldBatchNorm,
];

/**
 * Brings a model into the form that quantization reads: plain initializers as weights, biases inside their layers, no
 * BatchNormalization where it can be folded, no node without effect. Outputs agree to float32 rounding.
 */
export async function prepare(model: Model, ctx: PassContext): Promise<{ model: Model; notes: Note[] }> {
  const order = [
    foldConstants, // first: the others look for constants as initializers
    foldIdentity, // before folding, so that nothing stands between a layer and what goes into it
    foldBias, // before BatchNormalization, which then finds one layer instead of layer and Add
    foldBatchNorm,
    foldBias, // once more, for an Add that followed a BatchNormalization
  ];
  const notes: Note[] = [];
  let now = model;
  for (const pass of order) {
    const result = await pass.apply(now, {}, ctx);
    now = result.model;
    // What the first of two runs left alone, the second would say again.
    const known = new Set(notes.map(({ layer, text }) => `${layer} ${text}`));
    notes.push(...[...result.changed, ...result.skipped].filter(({ layer, text }) => !known.has(`${layer} ${text}`)));
  }
  return { model: now, notes };
}
