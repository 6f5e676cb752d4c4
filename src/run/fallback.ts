import type { Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { AnyFold } from '../numerics/fold.ts';
import type { CollectBounds, PassContext } from '../passes/pass.ts';
import type { Fallback } from '../schedule/types.ts';
import { judge } from './gate.ts';
import type { Measurement } from './report.ts';

/** What a fallback needs of a trial. */
export interface FallbackTrial {
  readonly attempt: { readonly measurement: Measurement | undefined };
}

/** What one layer is raised to: a width, or null for float. */
export type Raised = Readonly<Record<string, { readonly bits_weights: number | null }>>;

/** What the search asks for. */
export interface FallbackWork<T extends FallbackTrial> {
  /** The layers that were quantized, in graph order. */
  readonly layers: readonly string[];
  /** Bits of the weights as asked for; null where there is no such option. */
  readonly bits: number | null;
  /** Applies the pass with these layers raised and measures the result. */
  attempt(raised: Raised): Promise<T>;
  /** Error of the outputs on calibration data with these layers raised, as a share of their energy. */
  damage(raised: Raised): Promise<number>;
  /** Seconds since the stage began. */
  seconds(): number;
  progress(done: number, text: string): void;
}

export interface FallbackResult<T> {
  readonly best: T;
  readonly raised: Raised;
  readonly passed: boolean;
  /** The sentence that says how the best trial stands to the gate. */
  readonly why: string;
  readonly notes: readonly string[];
}

/**
 * Raises layers of a quantized model until a gate holds: ranks them by how much of the outputs' error goes when that layer alone
 * is in float, then finds the shortest head of the ranking that must be raised, first to 8 bits, then to float. The best
 * trial is kept, and is the result where the time is up or nothing holds.
 */
export async function fallBack<T extends FallbackTrial>(
  first: T,
  fallback: Fallback,
  work: FallbackWork<T>,
): Promise<FallbackResult<T>> {
  const late = (share = 1): boolean =>
    fallback.timeBudget !== undefined && work.seconds() > share * fallback.timeBudget;
  let best: { trial: T; raised: Raised; cost: number } = { trial: first, raised: {}, cost: costOf(first, fallback) };
  if (best.cost <= 0) return { best: first, raised: {}, passed: true, why: whyOf(first, fallback), notes: [] };

  const { order, ranked } = await ranking(work, () => late(0.5));
  const raise = (count: number, bits: number | null, under: Raised): Raised => ({
    ...under,
    ...Object.fromEntries(order.slice(0, count).map((layer) => [layer, { bits_weights: bits }])),
  });
  let [tries, ended] = [1, false];
  /** The least number of layers to raise to a width, by halves: damage is taken to fall with every layer raised. */
  const search = async (bits: number | null, under: Raised): Promise<void> => {
    let [low, high] = [1, order.length];
    while (low <= high && !(ended ||= late())) {
      // The ranking's head first: a few layers do most of the damage.
      const middle = high === order.length && low === 1 ? Math.min(high, 4) : (low + high) >> 1;
      const raised = raise(middle, bits, under);
      work.progress(tries / (tries + 4), `fallback: ${middle} of ${order.length} layers in ${bits ?? 'float'}`);
      const trial = await work.attempt(raised);
      tries++;
      const cost = costOf(trial, fallback);
      if (cost <= 0 || cost < best.cost) best = { trial, raised, cost };
      if (cost <= 0) high = middle - 1;
      else low = middle + 1;
    }
  };
  const wider = work.bits !== null && work.bits < 8;
  if (wider) await search(8, {});
  if (best.cost > 0 && !ended) await search(null, wider ? raise(order.length, 8, {}) : {});
  const entries = Object.entries(best.raised);
  const passed = best.cost <= 0;
  return {
    best: best.trial,
    raised: best.raised,
    passed,
    why: `${entries.length} of ${order.length} layers raised: ${whyOf(best.trial, fallback)}`,
    notes: [
      `fallback: ${entries.length} of ${order.length} layers raised, after ${ranked} damages and ${tries} trials${ended ? '; the time budget is spent' : ''}${passed ? '' : '; the best of them does not hold either'}`,
      ...(entries.length === 0 ? [] : [`the same again: ${overridesText(best.raised)}`]),
    ],
  };
}

/** Layers by falling damage; those that there was no time for come last, in their order. */
async function ranking<T extends FallbackTrial>(
  work: FallbackWork<T>,
  late: () => boolean,
): Promise<{ readonly order: readonly string[]; readonly ranked: number }> {
  const known = new Map<string, number>();
  for (const [i, layer] of work.layers.entries()) {
    if (late()) break;
    work.progress(i / work.layers.length, `fallback: damage of ${layer}`);
    known.set(layer, await work.damage({ [layer]: { bits_weights: null } }));
  }
  const rest = (layer: string): number => known.get(layer) ?? Infinity;
  return { order: [...work.layers].sort((a, b) => rest(a) - rest(b)), ranked: known.size };
}

/** How far a trial is beyond the gate; 0 and below: it holds. A model that does not run is worst. */
const costOf = ({ attempt: { measurement } }: FallbackTrial, fallback: Fallback): number =>
  measurement ? judge(fallback, measurement.metrics).excess : Infinity;

const whyOf = ({ attempt: { measurement } }: FallbackTrial, fallback: Fallback): string =>
  measurement ? judge(fallback, measurement.metrics).why : 'onnxruntime refuses the result';

/** Lines of a schedule, as one YAML mapping that may be broken anywhere between its entries. */
export function overridesText(raised: Raised): string {
  const entries = Object.entries(raised).map(
    ([layer, { bits_weights }]) => `'${layer.replaceAll("'", "''")}': { bits_weights: ${bits_weights ?? 'float'} }`,
  );
  return `overrides: { ${entries.join(', ')} }`;
}

/** Options with layers raised, before whatever the schedule itself says of layers. */
export function withRaised(options: unknown, raised: Raised): unknown {
  const own = (options as { readonly overrides: Readonly<Record<string, object | undefined>> }).overrides;
  const others = Object.entries(own).filter(([pattern]) => raised[pattern] === undefined);
  const merged = Object.entries(raised).map(([layer, bits]) => [layer, { ...own[layer], ...bits }] as const);
  return { ...(options as object), overrides: Object.fromEntries<object | undefined>([...merged, ...others]) };
}

/**
 * A context that collects every statistic once: trials of a fallback differ in widths only, and so all ask for the same ones of
 * the same model.
 */
export function collectingOnce(ctx: PassContext, known: Map<string, unknown>): PassContext {
  return {
    ...ctx,
    cache: known,
    async collect<R>(
      model: Model,
      wanted: ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>,
      samples?: number,
      elements?: number,
      bounds?: CollectBounds<R>,
    ): Promise<Map<string, R[]>> {
      const key = (value: string, folds: readonly AnyFold<Tensor, R>[]): string =>
        JSON.stringify(['collect', value, samples, elements, folds.map((fold) => fold.name)]);
      const missing = new Map([...wanted].filter(([value, folds]) => !known.has(key(value, folds))));
      const fresh =
        missing.size === 0 ? new Map<string, R[]>() : await ctx.collect(model, missing, samples, elements, bounds);
      for (const [value, folds] of missing) known.set(key(value, folds), fresh.get(value));
      return new Map([...wanted].map(([value, folds]) => [value, known.get(key(value, folds)) as R[]]));
    },
  };
}
