import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import type { Note, PassContext } from '../pass.ts';
import { foldAffine } from './affine.ts';
import { foldBatchNorm } from './batchnorm.ts';
import { foldConstants } from './constants.ts';
import type { FoldPass } from './each.ts';
import { foldEinsum } from './einsum.ts';
import { inlineFunctions } from './functions.ts';
import { foldGemm } from './gemm.ts';
import { withWidened } from './half.ts';
import { foldIdentity } from './identity.ts';

/** The passes of this folder, which change how a model is written and not what it computes, in the order to run them. */
export const foldPasses: readonly FoldPass[] = [
  foldConstants, // first: the others look for constants among the initializers
  foldGemm,
  foldEinsum, // before what reads layers: these make more of them
  foldIdentity, // so that nothing stands between a layer and what goes into it
  foldAffine, // into layers and BatchNormalizations, which then go into their layers whole
  foldBatchNorm,
];

/**
 * Brings a model into the form that quantization reads: local functions with layers written out, plain initializers as weights, biases inside their layers, no
 * BatchNormalization where it can be folded, no node without effect. Outputs agree to float32 rounding.
 * @param opset the least operator set it is to be of.
 */
export async function prepare(model: Model, ctx: PassContext, opset = 0): Promise<{ model: Model; notes: Note[] }> {
  const inlined = inlineFunctions(model);
  const upgraded = upgradeOpset(inlined.model, opset);
  const widened = withWidened(upgraded.model);
  const notes: Note[] = [...inlined.notes, ...upgraded.notes, ...widened.notes];
  let now = widened.model;
  for (const pass of foldPasses) {
    const result = await pass.apply(now, {}, ctx);
    now = result.model;
    notes.push(...result.changed, ...result.skipped);
  }
  return { model: now, notes };
}
