import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import { prepare } from '../fold/prepare.ts';
import type { PassContext, PassResult } from '../pass.ts';

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
  const upgraded = upgradeOpset(model, 13);
  const prepared = await prepare(upgraded.model, ctx);
  const result = await change(prepared.model);
  // The quantizer that follows finds the model converted already: nobody else would say what was rewritten.
  const notes = [...upgraded.notes, ...prepared.notes].map((n) => `${n.layer}: ${n.text}`);
  return { ...result, notes: [...notes, ...(result.notes ?? [])] };
}
