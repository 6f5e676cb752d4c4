import type { Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { AnyFold } from '../numerics/fold.ts';
import type { CollectBounds, PassContext } from '../passes/pass.ts';
import type { Fallback } from '../schedule/types.ts';
import { must } from '../util/must.ts';
import { judge } from './gate.ts';
import type { Measurement } from './report.ts';
import { leastThatHolds } from './trial.ts';

/** What a fallback needs of a trial. */
export interface FallbackTrial {
  readonly attempt: { readonly measurement: Measurement | undefined };
}

/** What a layer is raised to: widths of its weights and of the value it reads, null for float. */
export interface Raise {
  readonly bits_weights?: number | null;
  readonly bits_activations?: number;
}
export type Raised = Readonly<Record<string, Raise>>;

/** What the search asks for. */
export interface FallbackWork<T extends FallbackTrial> {
  /** The layers that were quantized, in graph order. */
  readonly layers: readonly string[];
  /** Of the values that they read a layer each, which can be asked to read it in 16 bits; none where the pass has no such width. */
  readonly readers: readonly string[];
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

/** Something that can be raised on its own: a layer's weights, or the value that it reads. */
interface Candidate {
  readonly layer: string;
  readonly of: 'weights' | 'value';
}

/**
 * Raises parts of a quantized model until a gate holds. A layer in float frees no value that its neighbours keep in integers, so
 * values are candidates beside layers: they are ranked by how much of the outputs' error goes when each alone is raised (a layer
 * to float, a value to 16 bits). The shortest head of the ranking that must be raised is then found by halves. Where weights are
 * narrower than 8 bits, first with weights alone, in 8 bits: all stays on integer kernels. The best trial is kept, and is the result where
 * the time is up or nothing holds.
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
  let [tries, ended] = [1, false];
  /** The least number of candidates to raise, by halves: damage is taken to fall with every one raised. */
  const search = async (among: readonly Candidate[], bits: number | null, under: Raised): Promise<void> => {
    const what = among.every(({ of }) => of === 'weights') ? 'layers' : 'layers and values';
    const holds = async (head: number): Promise<boolean | undefined> => {
      if ((ended ||= late())) return undefined;
      const raised = raise(among.slice(0, head), bits, under);
      work.progress(tries / (tries + 4), `fallback: ${head} of ${among.length} ${what} raised`);
      const trial = await work.attempt(raised);
      tries++;
      const cost = costOf(trial, fallback);
      if (cost <= 0 || cost < best.cost) best = { trial, raised, cost };
      return cost <= 0;
    };
    // The ranking's head first: a few do most of the damage.
    await leastThatHolds(1, among.length, holds, Math.min(among.length, 4));
  };
  const wider = work.bits !== null && work.bits < 8;
  const layers = order.filter(({ of }) => of === 'weights');
  if (wider) await search(layers, 8, {});
  if (best.cost > 0 && !ended && !(wider && layers.length === order.length)) await search(order, wider ? 8 : null, {});
  // What 8 bits could not do, or 16-bit values beside float layers: layers in float alone.
  if (best.cost > 0 && !ended && (wider || layers.length < order.length))
    await search(layers, null, wider ? raise(order, 8, {}) : {});
  const passed = best.cost <= 0;
  const count = `${Object.keys(best.raised).length} of ${work.layers.length} layers raised`;
  return {
    best: best.trial,
    raised: best.raised,
    passed,
    why: `${count}: ${whyOf(best.trial, fallback)}`,
    notes: [
      `fallback: ${count}, after ${ranked} damages and ${tries} trials${ended ? '; the time budget is spent' : ''}${passed ? '' : '; the best of them does not hold either'}`,
      ...(Object.keys(best.raised).length === 0 ? [] : [`the same again: ${overridesText(best.raised)}`]),
    ],
  };
}

/** Layers with what is asked for them. A layer in float reads its value as its neighbours leave it: with both asked, it gets 16 bits. */
function raise(among: readonly Candidate[], bits: number | null, under: Raised): Raised {
  const raised: Record<string, Raise> = { ...under };
  for (const { layer, of } of among)
    if (of === 'value') raised[layer] = { ...raised[layer], bits_activations: 16 };
    else if (under[layer] !== undefined) raised[layer] = { bits_weights: bits };
    else raised[layer] = { bits_weights: bits, ...raised[layer] };
  for (const [layer, { bits_weights, bits_activations }] of Object.entries(raised))
    if (bits_weights === null && bits_activations !== undefined) raised[layer] = { bits_weights: 16, bits_activations };
  return raised;
}

/** Candidates by falling damage; those that there was no time for come last, in their order. */
async function ranking<T extends FallbackTrial>(
  work: FallbackWork<T>,
  late: () => boolean,
): Promise<{ readonly order: readonly Candidate[]; readonly ranked: number }> {
  const all = work.layers.flatMap((layer): Candidate[] => [
    ...(work.readers.includes(layer) ? [{ layer, of: 'value' } as const] : []),
    { layer, of: 'weights' },
  ]);
  const known = new Map<Candidate, number>();
  for (const [i, candidate] of all.entries()) {
    if (late()) break;
    const { layer, of } = candidate;
    work.progress(i / all.length, `fallback: damage of ${of === 'value' ? 'what enters ' : ''}${layer}`);
    known.set(candidate, await work.damage(raise([candidate], null, {})));
  }
  const rest = (candidate: Candidate): number => known.get(candidate) ?? Infinity;
  return { order: all.sort((a, b) => rest(a) - rest(b)), ranked: known.size };
}

/** How far a trial is beyond the gate; 0 and below: it holds. A model that does not run is worst. */
const costOf = ({ attempt: { measurement } }: FallbackTrial, fallback: Fallback): number =>
  measurement ? judge(fallback, measurement.metrics).excess : Infinity;

const whyOf = ({ attempt: { measurement } }: FallbackTrial, fallback: Fallback): string =>
  measurement ? judge(fallback, measurement.metrics).why : 'onnxruntime refuses the result';

/** Lines of a schedule, as one YAML mapping that may be broken anywhere between its entries. */
export function overridesText(raised: Raised): string {
  const entries = Object.entries(raised).map(([layer, widths]) => {
    const given = Object.entries(widths as Record<string, number | null>).map(
      ([key, bits]) => `${key}: ${bits ?? 'float'}`,
    );
    return `'${layer.replaceAll("'", "''")}': { ${given.join(', ')} }`;
  });
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
      return new Map(
        [...wanted].map(([value, folds]) => [value, must(known, key(value, folds), 'the statistics of') as R[]]),
      );
    },
  };
}
