import { withDecodedWeights } from '../analyze/decoded.ts';
import { zeroShare } from '../analyze/zero_share.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import type { MetricResult } from '../metrics/metric.ts';
import { storedHalves, withWidened } from '../passes/fold/half.ts';
import { withFloatOutputs, withHalfOutputs } from '../passes/fold/half_outputs.ts';
import type { PassContext, PassResult } from '../passes/pass.ts';
import { halvesAgain } from '../passes/quantize/half_weights.ts';
import { openSession } from '../runtime/session.ts';
import type { Stage } from '../schedule/types.ts';
import { QtoolError } from '../util/error.ts';
import type { Instruments } from './context.ts';
import { contradiction } from './contradiction.ts';
import { judge, type GateResult } from './gate.ts';
import type { Attempt, Measurement } from './report.ts';

/** One application of the pass: what came out, and whether the gate holds. */
export interface Tried {
  readonly result: PassResult;
  readonly memory: Map<string, unknown>;
  readonly attempt: Attempt;
  readonly why: string;
}

/** Loads a model and lets it go. @throws QtoolError saying what onnxruntime refuses. */
export async function checkLoads(model: Model): Promise<void> {
  await (await openSession(model, { lookedAt: true })).close();
}

/**
 * Applies a stage's pass to a model whose weights stand as float32 constants and whose outputs are float32, where the file has them in 16
 * bits; weights that the pass leaves in float are stored so again. Between epochs of training they are not: that would round what one of them learned.
 * @param float the model that the run began with.
 */
export async function applied(
  { pass, epoch }: Pick<Stage, 'pass' | 'epoch'>,
  passOptions: unknown,
  before: Model,
  context: PassContext,
  float: Model,
): Promise<PassResult> {
  // What packs weights knows the form that they are stored in.
  if (pass.closes !== undefined) return pass.apply(before, passOptions, context);
  const result = await pass.apply(withFloatOutputs(withWidened(before).model), passOptions, context);
  const now = withHalfOutputs(result.model, before);
  const halves = new Map([...storedHalves(float), ...storedHalves(before)]);
  if (halves.size === 0 || epoch?.last === false) return { ...result, model: now };
  const { model, notes } = await halvesAgain(now, halves, context);
  return { ...result, model, notes: [...(result.notes ?? []), ...notes] };
}

/**
 * One candidate of a stage: applies its pass with these options, and loads, measures and judges what comes out. A result that
 * onnxruntime does not load or run, or that quantizes what the pass left in float, has not passed. What applies the pass in
 * vain (bad options) throws.
 */
export async function tryOnce(
  stage: Stage,
  passOptions: unknown,
  before: { readonly model: Model },
  context: PassContext,
  tools: Instruments,
  { measure, model: float }: { readonly measure: boolean; readonly model: Model },
): Promise<Tried> {
  const { pass, gate } = stage;
  const { memory } = context;
  const result = await applied(stage, passOptions, before.model, context, float);
  const strength = pass.strength?.describe(passOptions) ?? '';
  const failed = (why: string): Tried => ({
    result,
    memory,
    attempt: { strength, measurement: undefined, passed: false },
    why,
  });
  if (result.failed !== undefined) return failed(result.failed);
  const refused = await refusal(() => checkLoads(result.model));
  if (refused !== undefined) return failed(`onnxruntime refuses the result: ${refused}`);
  if (pass.section === 'quantizers') {
    const contradicted = await contradiction(before.model, result.model, result.skipped);
    if (contradicted !== undefined) return failed(contradicted);
  }
  let metrics: readonly MetricResult[] = [];
  if (measure) {
    const fails = await refusal(async () => void (metrics = await tools.measure(result.preview ?? result.model)));
    if (fails !== undefined) return failed(`the result does not run: ${fails}`);
  }
  const measurement: Measurement = {
    metrics,
    bytes: modelBytes(result.model),
    zeros: zeroShare(await withDecodedWeights(result.model)),
    latency: [],
  };
  const judged: GateResult =
    gate && measure
      ? judge(gate, measurement.metrics)
      : { passed: true, why: gate ? 'not measured' : 'no gate', excess: 0 };
  return { result, memory, attempt: { strength, measurement, passed: judged.passed }, why: judged.why };
}

/** What onnxruntime says against a model while it loads or runs; undefined where it does. */
export async function refusal(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof QtoolError && error.code === 'runtime') return error.message;
    throw error;
  }
}

/**
 * The least of `low … high` that holds, by halves: what holds at n is taken to hold at every number above it. The first number to be
 * looked at may be given; `holds` answers undefined to end the search. @returns undefined where nothing was seen to hold.
 */
export async function leastThatHolds(
  low: number,
  high: number,
  holds: (n: number) => Promise<boolean | undefined>,
  first = (low + high) >> 1,
): Promise<number | undefined> {
  let best: number | undefined;
  for (let n = first; low <= high; n = (low + high) >> 1) {
    const held = await holds(n);
    if (held === undefined) break;
    if (held) [best, high] = [n, n - 1];
    else low = n + 1;
  }
  return best;
}
