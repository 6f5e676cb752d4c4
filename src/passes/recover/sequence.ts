import type { Model } from '../../graph/model.ts';
import type { Tensor } from '../../data/types.ts';
import { openGram, type LayerGram } from '../gram.ts';
import type { PassContext } from '../pass.ts';
import { gramRequest, type QuantizedLayer } from './sites.ts';
import { openWalk } from './walk.ts';

/**
 * Changes layers one after the other, front to back: each gets the moments of the input that it has once all layers before it
 * are changed, beside the float twin's. One forward pass through both models altogether (see `openWalk`).
 * @param change the new model; only constants of the layer may differ.
 */
export async function layerByLayer(
  ctx: PassContext,
  start: { readonly model: Model; readonly twin: Model; readonly layers: readonly QuantizedLayer[] },
  options: { readonly samples: number; readonly products?: boolean; readonly doing: string },
  change: (model: Model, layer: QuantizedLayer, moments: LayerGram) => Model | Promise<Model>,
): Promise<Model> {
  const { layers, twin } = start;
  const requests = layers.map(gramRequest);
  const [hats, floats] = [
    openWalk(
      ctx,
      requests.map((r) => r.input),
      options.samples,
    ),
    openWalk(
      ctx,
      requests.map((r) => r.reference),
      options.samples,
    ),
  ];
  let { model } = start;
  for (const [i, layer] of layers.entries()) {
    ctx.signal.throwIfAborted();
    ctx.progress(i / layers.length, `${options.doing} ${layer.name}`);
    const { input, reference } = requests[i] as ReturnType<typeof gramRequest>;
    const sums = openGram(layer, { reference: true, products: options.products ?? true });
    const beside = floats.visit(twin, reference)[Symbol.asyncIterator]();
    for await (const hat of hats.visit(model, input))
      await sums.add(ctx, hat, (await beside.next()).value as Tensor | undefined);
    // The walk tidies up behind its last batch.
    await beside.next();
    model = await change(model, layer, sums.gram);
  }
  return model;
}
