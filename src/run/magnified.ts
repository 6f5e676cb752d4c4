import { words } from '../util/words.ts';
import type { OwnError } from '../analyze/own_error.ts';
import { dB } from './culprit.ts';
import type { Model } from '../graph/model.ts';
import { layerName, producers } from '../graph/query.ts';

/** What makes a small error a large one; sums, moves and activations do not. */
const magnifying = words(
  'Sin Cos Tan CumSum Div Reciprocal Exp Pow Log Sqrt LayerNormalization InstanceNormalization GroupNormalization',
);

/** dB by which what arrives is worse than what all layers before have done: sums and activations move errors by less. */
const grown = 10;

/** Errors that grow on their way: the layer before, and in words where. */
export interface Magnified {
  readonly from: OwnError;
  readonly text: string;
}

/**
 * The first place where errors are far larger than the layers before have made them: a running sum, a Sin of many turns or a division by
 * little stands between, and no rounding of the layer behind is at fault. Undefined where errors only add up.
 */
export function magnified(twin: Model, errors: readonly OwnError[]): Magnified | undefined {
  const sites = new Map(errors.map((one) => [one.layer, one]));
  let noise = 0;
  for (const one of errors) {
    const made = -10 * Math.log10(noise);
    if (one.inherited < made - grown) {
      const { from, between } = before(twin, one, sites);
      const by = between.length > 0 ? ` (${between.join(', ')})` : '';
      const text = `errors grow between the layers: what "${one.layer}" reads is at ${dB(one.inherited)}, where the own errors of the layers before add up to ${dB(made)}; what stands between${by} magnifies them`;
      return from && between.some((op) => magnifying.includes(op)) ? { from, text } : undefined;
    }
    noise += 10 ** (-one.own / 10);
  }
  return undefined;
}

/** The nearest layer whose result comes to another, and the operators between. */
function before(
  { graph }: Model,
  { layer }: OwnError,
  sites: ReadonlyMap<string, OwnError>,
): { readonly from: OwnError | undefined; readonly between: readonly string[] } {
  const made = producers(graph);
  const between = new Set<string>();
  const way = new Set(graph.node.filter((node) => layerName(node) === layer));
  for (const node of way)
    for (const name of node.input) {
      const maker = made.get(name);
      if (maker === undefined) continue;
      const from = sites.get(layerName(maker));
      if (from) return { from, between: [...between].reverse() };
      between.add(maker.op_type);
      way.add(maker);
    }
  return { from: undefined, between: [] };
}
