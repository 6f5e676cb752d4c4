import * as z from 'zod';
import { intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { ChannelScales, Reader } from '../../numerics/channel_scales.ts';
import { linearLayer, replaceLinear, scaledWeight, type LinearLayer } from '../fold/linear.ts';
import { constantTensors, ownedBy } from '../fold/tensors.ts';
import type { Note, PassResult } from '../pass.ts';

/** A value that matrix products read, whose channels (its last axis) can be divided by factors that the products' weights take. */
export interface ChannelSite {
  /** What makes the value. */
  readonly name: string;
  readonly value: string;
  readonly readers: readonly LinearLayer[];
  /** Constants of the normalization that makes it which can take the factors, with the node that reads each; or why a Mul must. */
  readonly parts: readonly Part[] | string;
}

interface Part {
  readonly node: NodeProto;
  readonly tensor: TensorProto;
}

/** Every value that MatMuls and Gemms multiply by constant weights; and why others, or normalizations that none reads, are left alone. */
export function channelSites(model: Model): { readonly sites: ChannelSite[]; readonly skipped: Note[] } {
  const { graph } = model;
  const constants = initializers(graph);
  const made = producers(graph);
  const readers = consumers(graph);
  const sites: ChannelSite[] = [];
  const skipped: Note[] = [];
  for (const value of new Set([
    ...graph.input.map(({ name }) => name),
    ...graph.node.flatMap(({ output }) => output),
  ])) {
    if (value === '' || constants.has(value)) continue;
    const maker = made.get(value);
    const name = maker ? layerName(maker) : value;
    const products = (readers.get(value) ?? []).filter(
      (node) => isOp(node, 'MatMul', 'Gemm') && node.input[0] === value && constants.has(node.input[1] ?? ''),
    );
    if (products.length === 0) {
      if (maker && isNorm(maker)) skipped.push({ layer: name, text: 'no product with constant weights reads it' });
      continue;
    }
    const layers = layersOf(model, products);
    if (typeof layers === 'string') skipped.push({ layer: name, text: layers });
    else sites.push({ name, value, readers: layers, parts: ownParts(model, maker, value, layers) });
  }
  return { sites, skipped };
}

const isNorm = (node: NodeProto): boolean => isOp(node, 'LayerNormalization', 'RMSNormalization');

/** The products as linear layers of as many channels, each with a weight of its own: another reader of it would need the old one stored too. */
function layersOf(model: Model, products: readonly NodeProto[]): LinearLayer[] | string {
  const layers: LinearLayer[] = [];
  for (const node of products) {
    const layer = linearLayer(model, node);
    if (typeof layer === 'string') return layer;
    if (!ownedBy(model, node, layer.weight.name)) return `the weight of "${layerName(node)}" is read by others too`;
    layers.push(layer);
  }
  const [first] = layers as [LinearLayer];
  const other = layers.find(({ inputs }) => inputs !== first.inputs);
  return other === undefined ? layers : `"${layerName(other.node)}" takes ${other.inputs} channels`;
}

/** The constants that a value is proportional to, where they may be changed. */
function ownParts(
  model: Model,
  maker: NodeProto | undefined,
  value: string,
  layers: readonly LinearLayer[],
): ChannelSite['parts'] {
  const parts = maker && affineParts(model, maker);
  if (!maker || !parts) return 'it is made by no normalization';
  if (model.graph.output.some(({ name }) => name === value)) return `"${value}" is an output of the model`;
  if (maker.output.filter((name) => name !== '').length > 1) return 'its mean or deviation is read as well';
  const shared = parts.find((part) => !ownedBy(model, part.node, part.tensor.name));
  if (shared) return `"${shared.tensor.name}" is read by others too`;
  const nodes = new Set(layers.map(({ node }) => node));
  const other = consumers(model.graph)
    .get(value)
    ?.find((reader) => !nodes.has(reader));
  if (other) return `${other.op_type} "${layerName(other)}" reads it too`;
  return parts.some(({ tensor }) => dimsOf(tensor)[0] !== layers[0]?.inputs)
    ? 'its factors are not one a channel'
    : parts;
}

/** The constants with one entry a channel that a node's result is proportional to: γ and β of a LayerNormalization, Mul, Mul → Add. */
function affineParts(model: Model, node: NodeProto): readonly Part[] | undefined {
  const constants = constantTensors(model);
  const vector = (from: NodeProto, name: string | undefined): Part[] => {
    const tensor = constants.get(name ?? '');
    return tensor?.dims.length === 1 && typeOf(tensor) === 'float32' ? [{ node: from, tensor }] : [];
  };
  if (isNorm(node)) {
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

/** What a site's channels are divided by. */
export interface ChosenScales {
  readonly scales: ChannelScales;
  /** How strong, between 0 and 1. */
  readonly alpha: number;
  /** By how many dB less error the products are expected to have. */
  readonly gain: number;
}

/** By how many dB an expected error falls; 0 where there was none. */
export const gainOf = (before: number, after: number): number => (before > 0 ? 10 * Math.log10(before / after) : 0);

/** An operator more is worth so much, in dB. */
const worthMul = 1;

/** The option `insert` of passes that scale channels. */
export const insertOption = z.boolean().default(true).meta({
  description:
    'one Mul in front of products whose input no normalization makes for them alone, where it lowers their expected error by 1 dB or more',
});

/**
 * Divides the channels of every site by what `choose` gives for it, or says why not: where no normalization can take the factors, a Mul is put in
 * only for a gain of 1 dB or more.
 */
export function scaleChannels(
  model: Model,
  insert: boolean,
  { sites, skipped: before }: ReturnType<typeof channelSites>,
  choose: (site: ChannelSite) => ChosenScales | string,
): PassResult {
  const changed: Note[] = [];
  const skipped = [...before];
  let now = model;
  for (const site of sites) {
    const { name, parts, readers } = site;
    const inserted = typeof parts === 'string';
    const chosen = inserted && !insert ? parts : choose(site);
    if (typeof chosen === 'string') skipped.push({ layer: name, text: chosen });
    else if (inserted && chosen.gain < worthMul)
      skipped.push({
        layer: name,
        text: `other scales of its channels would lower the expected error by ${chosen.gain.toFixed(1)} dB, which is not worth a Mul (${parts})`,
      });
    else {
      now = divideChannels(now, site, chosen.scales);
      const [least, most] = [Math.min(...chosen.scales), Math.max(...chosen.scales)].map((v) =>
        Number(v.toPrecision(3)),
      );
      const how = `channels divided by ${least} … ${most}${inserted ? ` by a Mul (${parts})` : ''}`;
      const whose = readers.map(({ node }) => layerName(node)).join('", "');
      changed.push({
        layer: name,
        text: `${how} for "${whose}"; α ${chosen.alpha}, expected error ${chosen.gain.toFixed(1)} dB lower`,
      });
    }
  }
  return {
    model: now,
    changed,
    skipped,
    notes: sites.length > 0 ? [] : ['no product reads a value that can be scaled'],
  };
}

/** The strongest of several, or why none: where each expects more error than before. */
export function bestOf(candidates: readonly ChosenScales[]): ChosenScales | string {
  const best = candidates.reduce((a, b) => (b.gain > a.gain ? b : a));
  return best.gain > 0 ? best : 'any other scales of its channels would raise the expected error';
}

/** The weights of a site's products as matrices [outputs, channels]. */
export function readersOf({ readers }: ChannelSite): Reader[] {
  return readers.map((layer) => {
    const weights = floatData(layer.weight);
    const { inputs: columns, outputs: rows } = layer;
    // A rank-2 weight stands as [channels, outputs] or the other way.
    const across = layer.inputOf(1) === 0 && columns > 1;
    return { rows, columns, at: (r, c) => weights[across ? c * rows + r : r * columns + c]! };
  });
}

/** The same function with the site's channels divided by the scales, in the normalization's factors or by one Mul, and the weights multiplied by them. */
function divideChannels(model: Model, site: ChannelSite, scales: ChannelScales): Model {
  const { value, parts, readers } = site;
  return edit(model, (draft) => {
    const weight = (layer: LinearLayer): Float32Array => scaledWeight(layer, scales, 'inputs');
    if (typeof parts !== 'string') {
      for (const { tensor } of parts) {
        const divided = floatData(tensor).map((v, c) => v / scales[c]!);
        draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dimsOf(tensor), divided));
      }
      for (const layer of readers) replaceLinear(draft, model, layer, { weight: weight(layer) });
      return;
    }
    const inverse = Float32Array.from(scales, (s) => 1 / s);
    const factor = draft.add(`${value}_smoothing`, makeTensor('factor', 'float32', [inverse.length], inverse));
    const even = draft.freshName(`${value}_smooth`);
    draft.addNode(makeNode('Mul', [value, factor], [even]));
    for (const layer of readers) {
      replaceLinear(draft, model, layer, { weight: weight(layer) });
      const current = draft.current(layer.node);
      draft.update(layer.node, { input: [even, ...current.input.slice(1)] });
    }
  });
}
