import type { Model } from '../../graph/model.ts';
import { prepare } from '../fold/prepare.ts';
import { noteLine, type PassContext, type PassResult } from '../pass.ts';

/**
 * Runs a pass that changes a float model so that it quantizes better, on the form that quantizers read. A model that is quantized
 * already stays as it is, with a note.
 */
export async function beforeQuantizer(
  model: Model,
  ctx: PassContext,
  change: (prepared: Model) => Promise<PassResult>,
): Promise<PassResult> {
  if (ctx.twin)
    return {
      model,
      changed: [],
      skipped: [],
      notes: ['the model is quantized already: put this before the quantizer'],
    };
  const prepared = await prepare(model, ctx, 13);
  const result = await change(prepared.model);
  // The quantizer that follows finds the model converted already: nobody else would say what was rewritten.
  return { ...result, notes: [...prepared.notes.map(noteLine), ...(result.notes ?? [])] };
}
