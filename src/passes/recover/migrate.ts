import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import { intAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { ChannelStats } from '../../numerics/channel_stats.ts';
import { linearLayer, replaceLinear, scaledWeight, type LinearLayer } from '../fold/linear.ts';
import { constantTensors, ownedBy } from '../fold/tensors.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { beforeQuantizer } from './before_quantizer.ts';

const options = z.strictObject({
  alpha: z.number().min(0).max(1).default(0.5).meta({
    description: 'how much of the difficulty goes into the weights: 0 evens out the weights, 1 the activations',
  }),
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
});

type MigrateOptions = z.infer<typeof options>;

/**
 * SmoothQuant: channels of a normalized activation that are much larger than others make one scale a tensor coarse for all.
 * Each channel is divided by s_j = max|X_j|^α / max|W_j|^(1 − α) in the normalization's own factors, and the rows of the MatMuls and
 * Gemms that read it are multiplied by s_j: the function is the same.
 */
export const migrate: Pass<MigrateOptions> = {
  name: 'recover/migrate',
  section: 'extensions',
  precedes: 'quantizers',
  classes: ['SmoothQuant'],
  summary: 'moves outlier channels of normalized activations into the weights that read them; before the quantizer',
  source: 'Xiao et al. 2022, SmoothQuant (arXiv 2211.10438)',
  options,
  apply: (model, o, ctx) => beforeQuantizer(model, ctx, (prepared) => apply(prepared, o, ctx)),
};

/** A normalization with a factor a channel (and perhaps a term), whose result only matrix products read. */
interface Site {
  readonly name: string;
  readonly value: string;
  /** Constants that hold the factors and terms, with the node that reads each. */
  readonly parts: readonly { readonly node: NodeProto; readonly tensor: TensorProto }[];
  readonly readers: readonly LinearLayer[];
}

async function apply(model: Model, o: MigrateOptions, ctx: PassContext): Promise<PassResult> {
  const { sites, skipped } = findSites(model);
  const seen = await channelStatistics(ctx, model, new Map(sites.map(({ value }) => [value, -1])), o.samples);
  const changed: Note[] = [];
  let now = model;
  for (const site of sites) {
    const stats = seen.get(site.value);
    if (!stats) {
      skipped.push({ layer: site.name, text: notFiniteText(site.value) });
      continue;
    }
    const s = smoothing(site.readers, stats, o.alpha);
    now = smoothed(now, site, s);
    const text = `channels divided by ${show(Math.min(...s))} … ${show(Math.max(...s))}`;
    changed.push({
      layer: site.name,
      text: `${text} for "${site.readers.map((r) => layerName(r.node)).join('", "')}"`,
    });
  }
  return {
    model: now,
    changed,
    skipped,
    notes: sites.length > 0 ? [] : ['no normalization is read by matrix products alone'],
  };
}

const show = (v: number): string => Number(v.toPrecision(3)).toString();

function findSites(model: Model): { sites: Site[]; skipped: Note[] } {
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map((output) => output.name));
  const sites: Site[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    const parts = affineParts(model, node);
    const value = node.output[0] ?? '';
    const next = readers.get(value) ?? [];
    if (!parts || !next.some((reader) => isOp(reader, 'MatMul', 'Gemm'))) continue;
    const site = siteOf(model, node, parts, next, outputs);
    if (typeof site === 'string') skipped.push({ layer: layerName(node), text: site });
    else sites.push(site);
  }
  return { sites, skipped };
}

/** The constants with one entry a channel that a node's result is proportional to: γ and β of a LayerNormalization, Mul, Mul → Add. */
function affineParts(model: Model, node: NodeProto): Site['parts'] | undefined {
  const constants = constantTensors(model);
  const vector = (from: NodeProto, name: string | undefined): Site['parts'] => {
    const tensor = constants.get(name ?? '');
    return tensor?.dims.length === 1 && typeOf(tensor) === 'float32' ? [{ node: from, tensor }] : [];
  };
  if (isOp(node, 'LayerNormalization')) {
    if (intAttribute(node, 'axis', -1) !== -1) return undefined;
    const found = [...vector(node, node.input[1]), ...vector(node, node.input[2])];
    return found.length === node.input.filter((name, i) => i > 0 && name !== '').length ? found : undefined;
  }
  if (isOp(node, 'Mul')) {
    const found = node.input.flatMap((name) => vector(node, name));
    return found.length === 1 ? found : undefined;
  }
  if (!isOp(node, 'Add')) return undefined;
  const term = node.input.flatMap((name) => vector(node, name));
  const before = node.input.map((name) => producers(model.graph).get(name)).find((n) => n && isOp(n, 'Mul'));
  const once = before && consumers(model.graph).get(before.output[0] ?? '')?.length === 1;
  const factor = once ? affineParts(model, before) : undefined;
  return term.length === 1 && factor ? [...factor, ...term] : undefined;
}

function siteOf(
  model: Model,
  node: NodeProto,
  parts: Site['parts'],
  next: readonly NodeProto[],
  outputs: ReadonlySet<string>,
): Site | string {
  const value = node.output[0] ?? '';
  if (outputs.has(value)) return `"${value}" is an output of the model`;
  if (node.output.filter((name) => name !== '').length > 1) return 'its mean or deviation is read as well';
  const shared = parts.find((part) => !ownedBy(model, part.node, part.tensor.name));
  if (shared) return `"${shared.tensor.name}" is read by others too`;
  const layers: LinearLayer[] = [];
  for (const reader of next) {
    if (!isOp(reader, 'MatMul', 'Gemm') || reader.input[0] !== value)
      return `${reader.op_type} "${layerName(reader)}" reads it too`;
    const layer = linearLayer(model, reader);
    if (typeof layer === 'string') return layer;
    if (parts.some((part) => dimsOf(part.tensor)[0] !== layer.inputs))
      return `"${layerName(reader)}" takes ${layer.inputs} channels`;
    layers.push(layer);
  }
  return { name: layerName(node), value, parts, readers: layers };
}

/** Equation 4 of the paper; a channel or row of zeros stays as it is. */
function smoothing(readers: readonly LinearLayer[], stats: ChannelStats, alpha: number): Float64Array {
  const largest = new Float64Array(stats.channels);
  for (const layer of readers)
    floatData(layer.weight).forEach((w, i) => {
      const c = layer.inputOf(i);
      largest[c] = Math.max(largest[c]!, Math.abs(w));
    });
  return largest.map((w, c) => {
    const x = Math.max(stats.max[c]!, -stats.min[c]!);
    return x > 0 && w > 0 ? x ** alpha / w ** (1 - alpha) : 1;
  });
}

function smoothed(model: Model, site: Site, s: Float64Array): Model {
  return edit(model, (draft) => {
    for (const { tensor } of site.parts) {
      const values = floatData(tensor).map((v, c) => v / s[c]!);
      draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dimsOf(tensor), values));
    }
    for (const layer of site.readers) replaceLinear(draft, model, layer, { weight: scaledWeight(layer, s, 'inputs') });
  });
}
