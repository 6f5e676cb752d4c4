import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts, type LayerFact } from '../../graph/names.ts';
import { initializers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { applyMask, type Mask } from '../../numerics/sparsity.ts';
import type { Note, Pass, PassResult, Strength } from '../pass.ts';

/** A weight to prune: its tensor as it stands, the layer it belongs to, and the entry of the options that named it. */
export interface PruneSite {
  readonly name: string;
  readonly layer: LayerFact;
  readonly dims: readonly number[];
  readonly data: Float32Array;
  /** The selector that picked it. */
  readonly selector: string;
}

/** An option that names weights: a list, or a single name as Distiller's files have it. */
export const weightNames = z
  .union([
    z.array(z.string()).min(1),
    z
      .string()
      .min(1)
      .transform((name) => [name]),
  ])
  .meta({ description: 'weight names or patterns' });

/** The weight selectors below `key` of an instance: a list of them, or a mapping whose keys they are. */
export function weightSelectors(
  key: string,
  given: readonly string[] | Readonly<Record<string, unknown>>,
): ReturnType<NonNullable<Pass['selectors']>> {
  const list = Array.isArray(given) ? (given as readonly string[]) : undefined;
  return (list ?? Object.keys(given)).map((pattern, i) => ({
    pattern,
    path: [key, list ? i : pattern],
    over: 'weights',
  }));
}

/** How pruners with `levels` (selector → share) are weakened: every share by the same factor. */
export function levelStrength<O extends { readonly levels: Readonly<Record<string, number>> }>(): Strength<O> {
  return {
    at: (o, t) => ({ ...o, levels: scaled(o.levels, t) }),
    describe: (o) => `sparsity ${spanText(Object.values(o.levels))}`,
  };
}

/** The weights that ordered selectors pick (first match wins, `'*'` last), and why others that they name stay whole. */
export function pruneSites(
  model: Model,
  selectors: readonly string[],
): { readonly sites: readonly PruneSite[]; readonly skipped: readonly Note[]; readonly notes: readonly string[] } {
  const tensors = initializers(model.graph);
  const layers = layerFacts(model);
  const { weights, notes } = assignNames(selectors, layers, 'weights');
  const sites: PruneSite[] = [];
  const skipped: Note[] = [];
  for (const layer of layers)
    for (const name of layer.weights) {
      const selector = weights.get(name);
      const tensor = tensors.get(name);
      if (selector === undefined) skipped.push({ layer: layer.node, text: `${name}: no entry of the pruner names it` });
      else if (!tensor)
        skipped.push({ layer: layer.node, text: `${name} is made by a Constant node: fold constants first` });
      else if (typeOf(tensor) !== 'float32')
        skipped.push({ layer: layer.node, text: `${name} is ${typeOf(tensor)}: prune before quantizing` });
      else if (!sites.some((s) => s.name === name))
        sites.push({ name, layer, dims: dimsOf(tensor), data: floatData(tensor), selector });
    }
  return { sites, skipped, notes };
}

/**
 * Zeros what the masks of the sites that `selectors` pick say, each site by itself. `remark` follows the count in the
 * report, such as the threshold.
 */
export function pruneEach(
  model: Model,
  selectors: readonly string[],
  maskOf: (site: PruneSite) => Mask,
  remark: (site: PruneSite) => string = () => '',
): PassResult {
  const { sites, skipped, notes } = pruneSites(model, selectors);
  const pruned = sites.map((site) => ({ site, data: applyMask(site.data, maskOf(site)) }));
  return {
    model: withWeights(model, new Map(pruned.map(({ site, data }) => [site.name, data]))),
    changed: pruned.map(({ site, data }) => {
      const { layer, text } = zerosNote(site, data);
      return { layer, text: `${text}${remark(site)}` };
    }),
    skipped,
    notes,
  };
}

/** The smallest and largest of numbers as the report prints them: `0.70`, or `0.50 to 0.70`. */
export function spanText(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)].map((v) => v.toFixed(2));
  return low === high ? `${low}` : `${low} to ${high}`;
}

/** Every value of a record times `t`: how the strength of most pruners is weakened. */
export function scaled(record: Readonly<Record<string, number>>, t: number): Record<string, number> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, value * t]));
}

/** The model with new values in the given weights. */
export function withWeights(model: Model, weights: ReadonlyMap<string, Float32Array>): Model {
  const tensors = initializers(model.graph);
  return edit(model, (draft) => {
    for (const [name, data] of weights) {
      const tensor = tensors.get(name);
      if (tensor) draft.replace(name, makeTensor(name, 'float32', dimsOf(tensor), data));
    }
  });
}

/** `conv1.weight: 70.0 % zeros (350 of 500)`, for the report. */
export function zerosNote(site: PruneSite, data: Float32Array): Note {
  const zeros = data.reduce((n, w) => n + (w === 0 ? 1 : 0), 0);
  return {
    layer: site.layer.node,
    text: `${site.name}: ${((100 * zeros) / data.length).toFixed(1)} % zeros (${zeros} of ${data.length})`,
  };
}
