import type { Layer } from '../../../graph/layer.ts';
import type { Model } from '../../../graph/model.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { layerName } from '../../../graph/query.ts';
import { given, must } from '../../../util/must.ts';
import { foldBatchNorm } from '../../fold/batchnorm.ts';
import type { Note, PassContext } from '../../pass.ts';
import { layerFormats, resolveOverrides, type LayerFormats } from '../../quantize/formats.ts';
import { activationFormats, scaleAxis } from '../../quantize/params.ts';
import { kernelLayers, quantizedRegion, type Region } from '../../quantize/region.ts';
import { weightLayers } from '../../quantize/targets.ts';
import type { EpochLearner } from '../plan.ts';

/** A weight that is rounded while training. */
export interface WeightPlace {
  readonly tensor: string;
  readonly bits: number;
  readonly axis: number | undefined;
  /** Whether an integer kernel will read it. */
  readonly kernel: boolean;
  /** The layers that read it, by name, and where. */
  readonly readers: ReadonlyMap<string, number>;
}

/** Where a quantizer acts: the same places while training and in the file that comes out. */
export interface Places {
  /** The model with its batch norms folded, in which integer kernels are looked for. */
  readonly folded: Model;
  readonly region: Region;
  /** The layers of the region, in the folded model. */
  readonly kernels: readonly Layer[];
  /** The layers whose weights alone are rounded, likewise. */
  readonly alone: readonly Layer[];
  readonly formatOf: (node: NodeProto) => LayerFormats;
  /** In the model as it is. */
  readonly weights: readonly WeightPlace[];
  /** Values that are rounded → their bits. */
  readonly values: ReadonlyMap<string, { readonly bits: number; readonly own: boolean }>;
  readonly skipped: readonly Note[];
}

/** What of a model (its constants folded) a quantizer rounds. `unfit`: layers that stay in float, each with its reason. */
export async function learningPlaces(
  model: Model,
  { options: o, kind }: EpochLearner,
  ctx: PassContext,
  unfit: ReadonlyMap<string, string> = new Map(),
): Promise<Places> {
  const folded = (await foldBatchNorm.apply(model, {}, { ...ctx, progress: () => undefined })).model;
  const shapes = await ctx.shapes(folded);
  const override = resolveOverrides(o.overrides, folded);
  const method = kind.method(o);
  const refused = new Map(unfit);
  const defaults = { bits_weights: o.bits_weights, bits_activations: o.bits_activations, per_channel: true, weights_symmetric: true }; // prettier-ignore
  const formats = new Map(folded.graph.node.map((node) => [node, layerFormats(node, defaults, ctx.plan, override)]));
  for (const [node, { weights }] of formats) {
    if (weights === undefined || refused.has(layerName(node))) continue;
    const why = weights.kind === 'int' ? method.refuse?.(weights.bits) : 'its plan has a format that is not learned';
    if (why !== undefined) refused.set(layerName(node), why);
  }
  const formatOf = (node: NodeProto): LayerFormats => must(formats, node, 'the format of');
  const { layers, skipped, kept } = weightLayers(folded);
  const why = new Map(skipped.map(({ layer, text }) => [layer, text]));
  const fit = new Set(layers.map(({ node }) => node));
  const float = 'left in float by the schedule';
  const region = quantizedRegion(folded, shapes, (node) => {
    const { weights, activations } = formatOf(node);
    if (weights === undefined) return float;
    if (activations === undefined) return `its activations are ${float}`;
    return refused.get(layerName(node)) ?? (fit.has(node) ? undefined : (why.get(layerName(node)) ?? kept.get(node)));
  });
  const kernels = kernelLayers(region, layers);
  const alone = layers.filter(
    ({ node, product }) =>
      !region.nodes.has(node) &&
      product.as !== 'Gather' &&
      !refused.has(layerName(node)) &&
      formatOf(node).weights !== undefined &&
      formatOf(node).activations === undefined,
  );
  const asked = activationFormats(region, formats, 0);
  // A value that no layer reads (a branch of a residual) has bytes: they are what its kernel takes.
  const values = new Map([...asked].map(([value, { bits }]) => [value, bits === 0 ? { bits: 8, own: false } : { bits, own: true }])); // prettier-ignore
  const only = new Set(alone.map(({ name }) => name));
  return {
    folded,
    region,
    kernels,
    alone,
    formatOf,
    weights: weightPlaces(model, [...kernels, ...alone], new Set(kernels), formatOf),
    values,
    skipped: region.skipped.filter(({ layer }) => !only.has(layer)),
  };
}

/** Weights by their tensor in the model that is trained. Of layers that share one, the widest has the say. */
function weightPlaces(
  model: Model,
  layers: readonly Layer[],
  kernels: ReadonlySet<Layer>,
  formatOf: (node: NodeProto) => LayerFormats,
): WeightPlace[] {
  const nodes = new Map(model.graph.node.map((node) => [layerName(node), node]));
  const found = new Map<string, WeightPlace>();
  for (const layer of layers) {
    const { name, node, input, weight } = layer;
    const tensor = given(must(nodes, name, 'the layer').input[input], name);
    const format = given(formatOf(node).weights, name);
    const bits = 'bits' in format ? format.bits : 8;
    const before = found.get(tensor);
    found.set(tensor, {
      tensor,
      bits: Math.max(bits, before?.bits ?? 0),
      axis: scaleAxis(weight),
      kernel: before?.kernel === true || kernels.has(layer),
      readers: new Map([...(before?.readers ?? []), [name, input]]),
    });
  }
  return [...found.values()];
}
