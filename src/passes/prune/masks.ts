import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts, type LayerFact } from '../../graph/names.ts';
import { initializers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { applyMask, type Mask } from '../../numerics/sparsity.ts';
import { rampProgress, cubicRamp } from '../../numerics/agp.ts';
import type { Note, Pass, PassContext, PassResult, Strength } from '../pass.ts';

/** A weight to prune: its tensor as it stands, the layer it belongs to, and the entry of the options that named it. */
export interface PruneSite {
  readonly name: string;
  readonly layer: LayerFact;
  readonly dims: readonly number[];
  readonly data: Float32Array;
  /** The selector that picked it. */
  readonly selector: string;
}

/** A share of 1. */
export const share = z.number().min(0).max(1);

/** An option that gives a value to each weight that its keys pick. */
export const perWeight = <V extends z.ZodType>(value: V, meaning: string) =>
  z.record(z.string(), value).meta({ description: `weight name or pattern → ${meaning}; '*' = all others` });

/** Options of the pruners that look at calibration data. */
export const samplesOption = z.int().positive().default(512).meta({ description: 'calibration samples' });
export const dampingOption = z
  .number()
  .positive()
  .default(0.01)
  .meta({ description: "share of the Hessian's mean diagonal added to it" });

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

/** How pruners with a number for each selector are weakened: all by the same factor. `word` says what the numbers are. */
export function recordStrength<K extends string, O extends { readonly [key in K]: Readonly<Record<string, number>> }>(
  key: K,
  word: string,
): Strength<O> {
  return {
    at: (o, t) => ({ ...o, [key]: scaled(o[key], t) }),
    describe: (o) => `${word} ${spanText(Object.values(o[key]))}`,
  };
}

/** The sparsity of this epoch, where it rises over those of a policy. */
export function rampedSparsity(
  o: { readonly initial_sparsity: number; readonly final_sparsity: number },
  { clock }: PassContext,
): number {
  const progress = rampProgress(clock.epoch, clock.start, clock.end, clock.frequency);
  return cubicRamp(o.initial_sparsity, o.final_sparsity, progress);
}

/** What is said of weights and selectors that nothing comes of. */
export type Left = Required<Pick<PassResult, 'skipped' | 'notes'>>;

/** The weights that ordered selectors pick (first match wins, `'*'` last), and why others that they name stay whole. */
export function pruneSites(
  model: Model,
  selectors: readonly string[],
): Left & { readonly sites: readonly PruneSite[] } {
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
  const { sites, ...left } = pruneSites(model, selectors);
  const pruned = sites.map((site) => ({ site, data: applyMask(site.data, maskOf(site)), remark: remark(site) }));
  return prunedResult(model, pruned, left);
}

/** A weight that was pruned; `remark` follows the count of its zeros. */
interface Pruned {
  readonly site: PruneSite;
  readonly data: Float32Array;
  readonly remark?: string;
}

/** The model with pruned weights, and what the report says of them. */
export function prunedResult(model: Model, pruned: readonly Pruned[], { skipped, notes }: Left): PassResult {
  return {
    model: withWeights(model, new Map(pruned.map(({ site, data }) => [site.name, data]))),
    changed: pruned.map(({ site, data, remark }) => zerosNote(site, data, remark)),
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
export function zerosNote(site: PruneSite, data: Float32Array, remark = ''): Note {
  const zeros = data.reduce((n, w) => n + (w === 0 ? 1 : 0), 0);
  const share = ((100 * zeros) / data.length).toFixed(1);
  return { layer: site.layer.node, text: `${site.name}: ${share} % zeros (${zeros} of ${data.length})${remark}` };
}
