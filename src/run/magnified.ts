import { words } from '../util/words.ts';
import type { OwnError } from '../analyze/own_error.ts';
import { layers } from '../graph/layer.ts';
import { dB, fine } from './culprit.ts';
import type { Model } from '../graph/model.ts';
import { layerName, producers } from '../graph/query.ts';

/** What makes a small error a large one; sums, moves and activations do not. */
const magnifying = words(
  'Sin Cos Tan CumSum Div Reciprocal Exp Pow Log Sqrt LayerNormalization InstanceNormalization GroupNormalization',
);

/** dB by which what arrives is worse than what all layers before have done: sums and activations move errors by less. */
const grown = 10;
/** The same of a layer that reads them at once: weights of like channels differ too. */
const quiet = 15;

/** Errors that grow on their way: the layer that is to blame, and in words where. */
export interface Magnified {
  readonly from: OwnError;
  readonly text: string;
  /** The layer reads what is to blame: what it reads is worse in the channels that it counts on. */
  readonly quiet?: true;
}

/**
 * The first place where errors are far larger than the layers before have made them: a running sum, a Sin of many turns or a division by
 * little stands between, and no rounding of the layer behind is at fault; or the layer has large weights for channels that are small beside
 * others, where an error that is little of all is much of them. Undefined where errors only add up.
 */
export function magnified(twin: Model, errors: readonly OwnError[]): Magnified | undefined {
  const sites = new Map(errors.map((one) => [one.layer, one]));
  const weighted = new Set(layers(twin).layers.map(({ node }) => layerName(node)));
  let noise = 0;
  for (const one of errors) {
    const made = -10 * Math.log10(noise);
    if (one.inherited < made - grown) {
      const { from, between } = before(twin, one, sites);
      const by = between.length > 0 ? ` (${between.join(', ')})` : '';
      if (
        from &&
        !between.some((op) => magnifying.includes(op)) &&
        weighted.has(one.layer) &&
        one.inherited < Math.min(fine, made - quiet)
      )
        return { from: one, text: quietText(one, made), quiet: true };
      const text = `errors grow between the layers: what "${one.layer}" reads is at ${dB(one.inherited)}, where the own errors of the layers before add up to ${dB(made)}; what stands between${by} magnifies them`;
      return from && between.some((op) => magnifying.includes(op)) ? { from, text } : undefined;
    }
    noise += 10 ** (-one.own / 10);
  }
  return undefined;
}

const quietText = ({ layer, value, inherited }: OwnError, made: number): string =>
  `the first fall is at ${layer}: it inherits ${dB(inherited)}, where the own errors of the layers before add up to ${dB(made)}; its weights count channels of "${value}" that are small beside others, and the rounding that is little of all is much of them`;

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
