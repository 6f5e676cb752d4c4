import type { Model } from '../graph/model.ts';
import { ownErrors, type OwnError } from '../analyze/own_error.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import { channelStats, type ChannelStats } from '../numerics/channel_stats.ts';
import { sealed } from '../numerics/fold.ts';
import { saturates } from '../runtime/processor.ts';
import type { Schedule } from '../schedule/types.ts';
import { noStage, type Instruments } from './context.ts';
import { culprit, dB, soundText, whereText, whyText, type Culprit } from './culprit.ts';
import { curedSchedule, cureLines, curesOf, outputSqnr, tryCures, type TriedCure } from './cures.ts';
import type { Diagnosis } from './report.ts';
import type { State } from './stage.ts';

/** Samples of calibration data that errors are measured and cures are tried on. */
const samples = 32;

interface Asked {
  readonly schedule: Schedule;
  readonly scheduleText: string;
  readonly metrics: readonly Metric[];
  readonly signal: AbortSignal;
  readonly progress: (done: number, text: string) => void;
}

/**
 * Where a quantized model's error enters, why, and what mends it. Own errors apart from inherited ones; the first layer, in graph
 * order, whose own error stands out; what its value looks like; then the schedule's quantizer once more with each likely cure, on a
 * few calibration samples.
 */
export async function diagnose(
  { model, twin, measurement, stages }: State,
  tools: Instruments,
  { schedule, scheduleText, metrics, signal, progress }: Asked,
): Promise<{ readonly diagnosis: Diagnosis; readonly errors: readonly OwnError[] } | undefined> {
  if (twin === undefined) return undefined;
  progress(0, 'diagnosis: own errors');
  const place = await located(twin, model, tools, { measured: measurement?.metrics ?? [], metrics, signal });
  if (!place) return undefined;
  const { errors, sqnr, found } = place;
  const sentences = [...place.sentences];
  const plain = { errors, diagnosis: { sentences } };
  if (!found) return plain;
  const stage = schedule.stages.find(({ index }) => index === stages.at(-1));
  const bits = (stage?.options as { readonly bits_weights?: unknown } | undefined)?.bits_weights;
  const saturating =
    stage?.pass.name === 'quantize/static' && bits === 8 && found.part === 'weights' && (await saturates());
  if (saturating) sentences.push('this processor has no VNNI, where sums of products of 8-bit weights saturate');
  if (stage?.pass.section !== 'quantizers' || stage.pass.name === 'quantize/float16') return plain;
  const options = { samples, signal, progress };
  const tried = await tryCures(twin, stage, curesOf(stage, found, saturating), tools, options);
  const best = chosen(tried, sqnr);
  sentences.push(triedText(tried, best, sqnr));
  if (!best) return plain;
  const whole = scheduleText.includes('\n') ? curedSchedule(scheduleText, stage, best.cure) : undefined;
  return { errors, diagnosis: { sentences, yaml: cureLines(stage, best.cure), ...(whole && { schedule: whole }) } };
}

export interface Place {
  readonly errors: readonly OwnError[];
  /** Of the outputs, dB. */
  readonly sqnr: number;
  /** Undefined where all is well. */
  readonly found: Culprit | undefined;
  /** Where the error enters, and why. */
  readonly sentences: readonly string[];
}

/** Where the error of a model enters beside its float twin, in words; undefined where they have no layer that can be compared. */
export async function located(
  twin: Model,
  model: Model,
  tools: Instruments,
  asked: Pick<Asked, 'metrics' | 'signal'> & { readonly measured: readonly MetricResult[] },
): Promise<Place | undefined> {
  const errors = await ownErrors(twin, model, () => tools.calibration(samples), { signal: asked.signal });
  if (errors.length === 0) return undefined;
  const sqnr = await outputSqnr(twin, model, tools, samples, asked.signal);
  const found = culprit(twin, errors, sqnr, asked.measured, asked.metrics);
  if (!found) return { errors, sqnr, found, sentences: [soundText(errors, sqnr)] };
  const stats = await valueStats(twin, found, tools);
  return { errors, sqnr, found, sentences: [whereText(found, errors), whyText(found, stats)] };
}

/** Ranges of the channels of what a culprit reads; undefined where it has none. */
async function valueStats(
  twin: Model,
  { part, error }: Culprit,
  tools: Instruments,
): Promise<ChannelStats | undefined> {
  if (part !== 'input' || twin.graph.initializer.some(({ name }) => name === error.value)) return undefined;
  const context = tools.context(noStage());
  const rank = (await context.shapes(twin)).get(error.value)?.dims.length ?? 0;
  if (rank < 2) return undefined;
  const fold = sealed(channelStats({ axis: rank > 3 ? 1 : -1 }, error.value));
  const collected = await context.collect(twin, new Map([[error.value, [fold]]]), samples);
  return collected.get(error.value)?.[0];
}

/** The mildest cure that comes near the best, where that is worth it: 1 dB and more. */
export function chosen(tried: readonly TriedCure[], sqnr: number): TriedCure | undefined {
  const best = Math.max(...tried.map((one) => one.sqnr));
  return best > sqnr + 1 ? tried.find((one) => one.sqnr > best - 1.5) : undefined;
}

/** What was tried, and what came of it. */
export function triedText(tried: readonly TriedCure[], best: TriedCure | undefined, sqnr: number): string {
  const all = tried.map((one) => `${one.cure.label}: ${dB(one.sqnr)}`).join('; ');
  const base = `tried on ${samples} calibration samples, outputs at ${dB(sqnr)} before`;
  return best
    ? `${base}: ${best.cure.label} brings ${dB(best.sqnr)}${tried.length > 1 ? ` (${all})` : ''}`
    : `${base}, nothing helped${all && `: ${all}`}`;
}
