import type { Model } from '../../graph/model.ts';
import type { Tensor } from '../../data/types.ts';
import { openGram, type LayerGram } from '../gram.ts';
import type { PassContext } from '../pass.ts';
import { openMoments, type LayerMoments } from './moments.ts';
import { gramRequest, type QuantizedLayer } from './sites.ts';
import { besides, type Beside } from './beside.ts';
import { openWalk } from './walk.ts';

/** What a walk changes. */
export interface Sequence {
  readonly model: Model;
  readonly twin: Model;
  readonly layers: readonly QuantizedLayer[];
}

interface Summed<M> {
  readonly result: M;
  add(ctx: PassContext, hat: Tensor, float: Tensor, extra: Tensor | undefined): Promise<void>;
}

/**
 * Changes layers one after the other, front to back: each gets the mean of the input that it has once all layers before it are
 * changed, beside the float twin's. One forward pass through both models altogether (see `openWalk`).
 * @param change the new model; only constants of the layer may differ.
 */
export function withMeans(
  ctx: PassContext,
  start: Sequence,
  options: { readonly samples: number; readonly doing: string },
  change: (model: Model, layer: QuantizedLayer, means: LayerGram) => Model | Promise<Model>,
): Promise<Model> {
  const open = (layer: QuantizedLayer): Summed<LayerGram> => {
    const sums = openGram(layer, { reference: true, products: false });
    return { result: sums.gram, add: (context, hat, float) => sums.add(context, hat, float) };
  };
  return layerByLayer(ctx, start, { ...options, besides: new Map() }, open, change);
}

/**
 * The same with second moments, for passes that round. What a layer's output is added to (a residual's other branch) is wrong
 * in the quantized model too: the layer's target is the float output plus what that branch lacks.
 */
export function withMoments(
  ctx: PassContext,
  start: Sequence,
  options: { readonly samples: number; readonly residual: boolean; readonly doing: string },
  change: (model: Model, layer: QuantizedLayer, moments: LayerMoments) => Model | Promise<Model>,
): Promise<Model> {
  const found = options.residual ? besides(start.model, start.twin, start.layers) : new Map<string, Beside>();
  const open = (layer: QuantizedLayer): Summed<LayerMoments> => {
    const sums = openMoments(layer, options.samples);
    return { result: sums.moments, add: (...batch) => sums.add(...batch) };
  };
  return layerByLayer(ctx, start, { ...options, besides: found }, open, change);
}

async function layerByLayer<M>(
  ctx: PassContext,
  { model: start, twin, layers }: Sequence,
  options: { readonly samples: number; readonly besides: ReadonlyMap<string, Beside>; readonly doing: string },
  open: (layer: QuantizedLayer) => Summed<M>,
  change: (model: Model, layer: QuantizedLayer, moments: M) => Model | Promise<Model>,
): Promise<Model> {
  const asked = layers.map((layer) => ({ ...gramRequest(layer), beside: options.besides.get(layer.name) }));
  const hats = openWalk(
    ctx,
    asked.flatMap(({ input, beside }) => (beside ? [beside.value, input] : [input])),
    options.samples,
  );
  const floats = openWalk(
    ctx,
    asked.flatMap(({ reference, beside }) => (beside ? [beside.twin, reference] : [reference])),
    options.samples,
  );
  let model = start;
  for (const [i, layer] of layers.entries()) {
    ctx.signal.throwIfAborted();
    ctx.progress(i / layers.length, `${options.doing} ${layer.name}`);
    const { input, reference, beside } = asked[i] as (typeof asked)[number];
    const sums = open(layer);
    // In step, batch by batch; the branch beside comes first in each walk.
    const streams = [
      ...(beside ? [hats.visit(model, beside.value), floats.visit(twin, beside.twin)] : []),
      hats.visit(model, input),
      floats.visit(twin, reference),
    ].map((stream) => stream[Symbol.asyncIterator]());
    for (;;) {
      const batch: (Tensor | undefined)[] = [];
      // The walks tidy up behind their last batch, so each is asked for what comes after it.
      for (const stream of streams) batch.push((await stream.next()).value as Tensor | undefined);
      const [hat, float] = batch.slice(-2);
      if (!hat || !float) break;
      const extra = beside && difference(batch[1] as Tensor, batch[0] as Tensor);
      await sums.add(ctx, hat, float, extra);
    }
    model = await change(model, layer, sums.result);
  }
  return model;
}

function difference(a: Tensor, b: Tensor): Tensor {
  const [from, less] = [a.data as Float32Array, b.data as Float32Array];
  return { ...a, data: from.map((v, i) => v - (less[i] as number)) };
}
