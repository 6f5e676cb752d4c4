import type { Tensor } from '../../data/types.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import { breathing, type Steps } from '../../util/steps.ts';
import { difference, layerMoments, notFinite, openMoments, tooWide, type Moments } from '../moments.ts';
import type { Note, PassContext, PassResult } from '../pass.ts';
import { besides, type Beside } from './beside.ts';
import { quantizedLayers, storeLayer, type LayerChange, type QuantizedLayer } from './sites.ts';
import { openWalk } from './walk.ts';

export interface AfterOptions {
  readonly samples: number;
  /** For the progress line: `rounding`. */
  readonly doing: string;
  /** false: the moments are sums only. */
  readonly products?: boolean;
  /**
   * What a layer's output is added to (a residual's other branch) is wrong in the quantized model too: the layer's target is the
   * float output plus what that branch lacks.
   */
  readonly residual?: boolean;
  /** The moments are those of the float model's inputs, of all layers in one pass. */
  readonly inFloat?: boolean;
  /** Why a layer is left alone; undefined where it is not. */
  readonly unfit?: (layer: QuantizedLayer) => string | undefined;
}

/** What of a layer is stored anew, and what the report says of it. */
export interface Changed extends LayerChange {
  readonly text: string;
}

/** Works on a layer, which is the part from `from` to `to` of what is done to it, so that it can be stopped. */
export type Breathe = <T>(steps: Steps<T>, from?: number, to?: number) => Promise<T>;

/** Columns that are enough, and positions that are taken of an image at least. */
const enough = 2 ** 15;
const fewest = 64;

/**
 * Changes the layers of a quantized model one after the other, front to back: each gets the moments of the input that it has once all
 * layers before it are changed, with the output of its float twin as target. One forward pass through both models altogether (see
 * `openWalk`). A layer whose moments are of no use stays as it is, and so, with a note, does a model of which nothing is quantized.
 */
export async function afterQuantizer(
  start: Model,
  ctx: PassContext,
  { samples, doing, products = true, residual = false, inFloat = false, unfit = () => undefined }: AfterOptions,
  change: (layer: QuantizedLayer, moments: Moments, breathe: Breathe) => Changed | Promise<Changed>,
): Promise<PassResult> {
  const { twin } = ctx;
  let model = start;
  if (!twin)
    return { model, changed: [], skipped: [], notes: ['nothing is quantized yet: put this after a quantizer'] };
  const found = quantizedLayers(model, twin);
  const changed: Note[] = [];
  const skipped: Note[] = [...found.skipped];
  const layers = found.layers.filter((layer) => {
    const wide = products ? tooWide(layer) : undefined;
    const text = unfit(layer) ?? (wide && leftAsMade(wide));
    if (text !== undefined) skipped.push({ layer: layer.name, text });
    return text === undefined;
  });
  const say = (layer: QuantizedLayer, done: number): void =>
    ctx.progress((layers.indexOf(layer) + done) / layers.length, `${doing} ${layer.name}`);
  const store = async (layer: QuantizedLayer, moments: Moments): Promise<void> => {
    const made = await change(layer, moments, (steps, from = 0, to = 1) =>
      breathing(steps, { signal: ctx.signal, progress: (done) => say(layer, from + (to - from) * done) }),
    );
    let { text } = made;
    model = edit(model, (draft) => void (text += storeLayer(draft, layer, made)));
    changed.push({ layer: layer.name, text });
  };
  if (inFloat) {
    const requests = layers.map((layer) => ({ ...layer, node: layer.twin, input: layer.twin.input[0] ?? '' }));
    const moments = await layerMoments(ctx, twin, requests, { samples, products });
    for (const [i, layer] of layers.entries()) {
      const own = given(moments[i], layer.name);
      const why = useless(own);
      if (why === undefined) await store(layer, own);
      else skipped.push({ layer: layer.name, text: leftAsMade(why) });
    }
    return { model, changed, skipped };
  }
  const others = residual ? besides(model, twin, layers) : new Map<string, Beside>();
  const asked = layers.map((layer) => ({
    layer,
    input: layer.node.input[0] as string,
    float: layer.twin.input[0] as string,
    beside: others.get(layer.name),
  }));
  const hats = openWalk(
    ctx,
    asked.flatMap(({ input, beside }) => (beside ? [beside.value, input] : [input])),
    samples,
  );
  const floats = openWalk(
    ctx,
    asked.flatMap(({ float, beside }) => (beside ? [beside.twin, float] : [float])),
    samples,
  );
  const positions = Math.max(fewest, Math.ceil(enough / samples));
  for (const { layer, input, float, beside } of asked) {
    ctx.signal.throwIfAborted();
    say(layer, 0);
    const sums = openMoments(layer, { target: { weights: layer.weights }, products, positions });
    // In step, batch by batch; the branch beside comes first in each walk.
    const streams = [
      ...(beside ? [hats.visit(model, beside.value), floats.visit(twin, beside.twin)] : []),
      hats.visit(model, input),
      floats.visit(twin, float),
    ].map((stream) => stream[Symbol.asyncIterator]());
    for (;;) {
      const batch: (Tensor | undefined)[] = [];
      // The walks tidy up behind their last batch, so each is asked for what comes after it.
      for (const stream of streams) batch.push((await stream.next()).value as Tensor | undefined);
      const [x, y] = batch.slice(-2);
      if (!x || !y) break;
      const extra = beside && difference(given(batch[1], beside.twin), given(batch[0], beside.value));
      await sums.add(ctx, { hat: x, float: y, extra });
    }
    const moments = await sums.close(ctx);
    const why = useless(moments);
    if (why === undefined) {
      try {
        await store(layer, moments);
        continue;
      } catch (error) {
        if (!(error instanceof QtoolError) || error.code !== 'data') throw error;
        skipped.push({ layer: layer.name, text: leftAsMade(error.message) });
      }
    } else skipped.push({ layer: layer.name, text: leftAsMade(why) });
  }
  return { model, changed, skipped };
}

const leftAsMade = (why: string): string => `left as the quantizer made it: ${why}`;

/** Why nothing can be learnt from moments. */
function useless(moments: Moments): string | undefined {
  return moments.all.count === 0 ? 'no calibration value reaches it' : notFinite(moments);
}
