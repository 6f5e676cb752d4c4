import { outputError } from '../analyze/layer_error.ts';
import type { Model } from '../graph/model.ts';
import { layerName } from '../graph/query.ts';
import type { HeldLayer, PassContext, Plan, SensitivityMap } from '../passes/pass.ts';
import { latency } from '../runtime/time.ts';
import type { Fallback, Limit, Stage } from '../schedule/types.ts';
import { given } from '../util/must.ts';
import type { Instruments } from './context.ts';
import { collectingOnce, fallBack, withRaised } from './fallback.ts';
import type { Attempt, Measurement, StageReport, Verdict } from './report.ts';
import type { EpochPlan } from '../passes/train/plan.ts';
import { epochSummary } from '../schedule/training.ts';
import { weaken } from './retry.ts';
import { applied, refusal, tryOnce, type Tried } from './trial.ts';

/** A model on its way through the schedule, with what later stages need to know about it. */
export interface State {
  readonly model: Model;
  readonly plan: Plan;
  /** The float model the quantized one was made from. */
  readonly twin: Model | undefined;
  /** Layers of which the file's types do not tell how they are held. */
  readonly held: ReadonlyMap<string, HeldLayer>;
  readonly measurement: Measurement | undefined;
  /** The stages whose effect the model carries. */
  readonly stages: readonly number[];
  /** The measurement is of a plan's preview: of weights that only a later quantizer rounds. */
  readonly previewed?: boolean;
  /** The last state that held its gate, where this one is of an epoch of training that did not. */
  readonly safe?: State;
}

/** The state that a failure goes back to. */
export const safeState = (state: State): State => state.safe ?? state;

export interface StageOptions {
  /** The float model. */
  readonly model: Model;
  readonly measure: boolean;
  readonly latency: boolean;
  readonly signal: AbortSignal;
  /** What the float model itself gives. */
  readonly baseline: Pick<Measurement, 'metrics'>;
  /** Told how each try of a stage ended that is tried again weaker. */
  readonly say?: (text: string) => void;
}

/** Memories of pass instances, by instance name. */
export type Memories = Map<string, Map<string, unknown>>;

/**
 * Applies one stage to the state and decides what goes on: the new model, a weaker form of it (`retry`), or the old one
 * (`undo`, `stop`). A result that onnxruntime does not load or run, or that quantizes what the pass left in float, counts as failed.
 */
export async function runStage(
  stage: Stage,
  before: State,
  tools: Instruments,
  options: StageOptions,
  memories: Memories,
): Promise<{ state: State; report: StageReport; sensitivity: SensitivityMap | undefined }> {
  const began = Date.now();
  const attempts: Attempt[] = [];
  const old = memories.get(stage.instance) ?? new Map<string, unknown>();
  const known = new Map<string, unknown>();
  const retries = stage.gate?.onFail === 'retry' && stage.pass.strength !== undefined;
  const contextOf = (memory: Map<string, unknown>): PassContext => {
    const given = tools.context({ plan: before.plan, twin: before.twin, memory, clock: stage.clock });
    const again = (doing: string | undefined): string => `try ${attempts.length + 1}: ${doing ?? 'working'}`;
    const context = retries ? { ...given, progress: (done: number, doing?: string) => given.progress(done, attempts.length === 0 ? doing : again(doing)) } : given; // prettier-ignore
    return stage.fallback ? collectingOnce(context, known) : { ...context, cache: known };
  };
  const attempt = async (passOptions: unknown): Promise<Tried> => {
    const tried = await tryOnce(stage, passOptions, before, contextOf(new Map(old)), tools, options);
    attempts.push(tried.attempt);
    // A first try that holds is the stage's own line.
    if (retries && (attempts.length > 1 || !tried.attempt.passed)) options.say?.(`try ${attempts.length}: ${tried.attempt.strength}, ${tried.why}`); // prettier-ignore
    return tried;
  };
  let tried = await attempt(stage.options);
  let verdict: Verdict = 'kept';
  // What the float model itself has no number for no setting has: one try says all.
  const vain = (limit: Limit | undefined): boolean =>
    options.measure &&
    options.baseline.metrics.some(({ name, value }) => name === limit?.metric && Number.isNaN(value));
  if (vain(stage.fallback)) {
    const why = `${given(stage.fallback, 'a fallback').metric} is not a number, and the float model's own is none: nothing else was tried`;
    tried = { ...tried, attempt: { ...tried.attempt, passed: false }, why };
  } else if (stage.fallback && options.measure) {
    const raising = { began, attempt, context: contextOf(new Map(old)), tools, before, float: options.model };
    ({ tried, verdict } = await raiseLayers(stage, tried, raising));
  }
  // An epoch may miss the gate, as long as the last one does not: that is what the others are for.
  const trainsOn = stage.epoch?.last === false && tried.attempt.measurement !== undefined;
  if (!tried.attempt.passed && !trainsOn)
    ({ tried, verdict } = await onFailure(stage, tried, attempt, vain(stage.gate) || vain(stage.fallback)));
  const goesOn = verdict === 'kept' || verdict === 'retried' || verdict === 'warned';
  let state = safeState(before);
  if (goesOn) {
    memories.set(stage.instance, tried.memory);
    const { result } = tried;
    const measurement = await timed(result.model, tried.attempt.measurement, tools, options);
    state = {
      model: result.model,
      plan: result.plan ? new Map([...before.plan, ...result.plan]) : before.plan,
      twin: result.twin ?? before.twin,
      held: result.held ? new Map([...before.held, ...result.held]) : before.held,
      measurement,
      stages: [...before.stages, stage.index],
      previewed: result.preview !== undefined,
      ...(tried.attempt.passed || !trainsOn ? {} : { safe: safeState(before) }),
    };
  }
  const report: StageReport = {
    ...factsOf(stage),
    attempts,
    measurement: state.measurement,
    verdict,
    why: tried.attempt.passed || !trainsOn ? tried.why : `${tried.why}; training goes on`,
    ...(tried.result.trained && { trained: tried.result.trained }),
    changed: tried.result.changed,
    skipped: tried.result.skipped,
    notes: tried.result.notes ?? [],
    seconds: (Date.now() - began) / 1000,
  };
  return { state, report, sensitivity: tried.result.sensitivity };
}

const factsOf = (stage: Stage) => ({
  index: stage.index,
  instance: stage.instance,
  pass: stage.pass.name,
  class: stage.pass.classes[0] ?? stage.pass.name,
  epoch: stage.clock.epoch,
  at: stage.at,
  options: stage.epoch ? epochSummary(stage.options as EpochPlan) : stage.options,
  gate: stage.gate,
});

/**
 * The report of a stage that works on what a quantizer made, or plans for one, where that was undone and none follows; undefined where
 * the stage can run.
 */
export function leftOut(
  stage: Stage,
  before: State,
  reports: readonly StageReport[],
  stages: readonly Stage[],
): StageReport | undefined {
  const { follows, precedes } = stage.pass;
  const needs = follows === 'quantizers' || follows === 'allocators' || precedes === 'quantizers';
  const coming = stages.some(({ index, pass }) => index > stage.index && pass.section === 'quantizers');
  const undone = undoneQuantizer(reports, stages);
  if (!needs || coming || before.twin !== undefined || undone === undefined) return undefined;
  const why = `nothing is left to do: its quantizer (${undone.index} ${undone.instance}) was undone`;
  const none = { attempts: [], changed: [], skipped: [], notes: [], seconds: 0 };
  return { ...factsOf(stage), ...none, measurement: before.measurement, verdict: 'undone', why };
}

/** The last quantizer that ran in vain, where none was kept. */
export function undoneQuantizer(reports: readonly StageReport[], stages: readonly Stage[]): StageReport | undefined {
  const quantizers = new Set(stages.filter(({ pass }) => pass.section === 'quantizers').map(({ index }) => index));
  const ran = reports.filter(({ index }) => quantizers.has(index));
  const lost = ({ verdict }: StageReport): boolean => verdict === 'undone' || verdict === 'stopped';
  return ran.every(lost) ? ran.at(-1) : undefined;
}

interface Raising {
  readonly began: number;
  readonly attempt: (options: unknown) => Promise<Tried>;
  readonly context: PassContext;
  readonly tools: Instruments;
  readonly before: State;
  readonly float: Model;
}

/** Samples on which the damage of single layers is measured: enough for an order. */
const damageSamples = 128;

/** Raises layers until the stage's fallback holds; what it did stands in the notes of the result. */
async function raiseLayers(
  stage: Stage,
  first: Tried,
  { began, attempt, context, tools, before, float }: Raising,
): Promise<{ readonly tried: Tried; readonly verdict: Verdict }> {
  const fallback = stage.fallback as Fallback;
  const { bits_weights: bits, bits_activations: wide } = stage.options as {
    readonly bits_weights?: number | null;
    readonly bits_activations?: number | null;
  };
  const layers = [...new Set(first.result.changed.map((note) => note.layer))];
  const readers = (wide ?? 16) < 16 ? onePerValue(layers, first.result.twin ?? before.model) : [];
  const { best, notes, passed, why } = await fallBack(first, fallback, {
    layers,
    readers,
    bits: bits ?? null,
    attempt: (raised) => attempt(withRaised(stage.options, raised)),
    damage: async (raised) => {
      const { model } = await applied(stage, withRaised(stage.options, raised), before.model, context, float);
      let damage = Infinity;
      await refusal(async () => {
        damage = await outputError(before.model, model, () => tools.calibration(damageSamples), context.signal);
      });
      return damage;
    },
    seconds: () => (Date.now() - began) / 1000,
    progress: (done, text) => context.progress(done, text),
  });
  if (notes.length === 0) return { tried: first, verdict: 'kept' };
  const result = { ...best.result, notes: [...(best.result.notes ?? []), ...notes] };
  if (best.result.changed.length > 0)
    return { tried: { ...best, result, why }, verdict: passed ? 'retried' : 'warned' };
  const text = 'fallback found nothing that holds but the float model: no layer can stay quantized';
  return { tried: { ...best, result, attempt: { ...best.attempt, passed: false }, why: text }, verdict: 'undone' };
}

/** Of the values that layers read, the first layer that reads each. */
function onePerValue(layers: readonly string[], { graph }: Model): string[] {
  const reads = new Map(graph.node.map((node) => [layerName(node), node.input[0]]));
  return layers.filter((layer, i) => layers.findIndex((other) => reads.get(other) === reads.get(layer)) === i);
}

async function onFailure(
  stage: Stage,
  failed: Tried,
  attempt: (options: unknown) => Promise<Tried>,
  vain: boolean,
): Promise<{ tried: Tried; verdict: Verdict }> {
  const onFail = stage.gate?.onFail;
  if (onFail === 'warn' && failed.attempt.measurement) return { tried: failed, verdict: 'warned' };
  if (onFail === 'stop' || failed.result.failed !== undefined) return { tried: failed, verdict: 'stopped' };
  if (onFail === 'retry' && vain)
    return {
      tried: stage.fallback ? failed : { ...failed, why: `${failed.why}, and the float model's own is none: nothing weaker was tried` }, // prettier-ignore
      verdict: 'undone',
    };
  if (onFail === 'retry') {
    const { strength } = stage.pass;
    if (!strength)
      return {
        tried: { ...failed, why: `${failed.why}; this pass has no weaker setting to retry` },
        verdict: 'undone',
      };
    let passed: Tried | undefined;
    await weaken(strength, stage.options, async (options) => {
      const tried = await attempt(options);
      if (tried.attempt.passed) passed = tried;
      return tried.attempt.passed;
    });
    if (passed) return { tried: { ...passed, why: `${passed.attempt.strength}: ${passed.why}` }, verdict: 'retried' };
    return { tried: { ...failed, why: `${failed.why}; no weaker setting passed either` }, verdict: 'undone' };
  }
  return { tried: failed, verdict: 'undone' };
}

async function timed(
  model: Model,
  measured: Measurement | undefined,
  tools: Instruments,
  options: StageOptions,
): Promise<Measurement | undefined> {
  if (!measured || !options.latency) return measured;
  const { model: float, signal } = options;
  return { ...measured, latency: await latency(model, float, await tools.sample(), { signal }) };
}
