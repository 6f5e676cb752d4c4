import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { ownErrors, type OwnError } from '../analyze/own_error.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import { channelStats, type ChannelStats } from '../numerics/channel_stats.ts';
import { sealed } from '../numerics/fold.ts';
import { saturates } from '../runtime/processor.ts';
import type { Schedule, Stage } from '../schedule/types.ts';
import { noStage, type Instruments } from './context.ts';
import { clippedBy, cutsMore, type Range } from './clipping.ts';
import { clippingText, culprit, culpritOf, dB, fine, fewSamplesText, good, moreSamplesText, rareText, soundText, unforeseen, whereText, whyText, worseBy, type Culprit } from './culprit.ts'; // prettier-ignore
import { asItIs, curesOf, sevenBits, together, type Cure } from './cures.ts';
import { curedSchedule, cureLines } from './cured_schedule.ts';
import { heldRange } from './layer_facts.ts';
import type { Diagnosis } from './report.ts';
import type { State } from './stage.ts';
import { magnified } from './magnified.ts';
import { farthestOf, isWide } from './rare.ts';
import { remembered } from './remembered.ts';
import { outputSqnr, trialSamples, tryCures, type TriedCure } from './try_cures.ts';

/** Samples that errors are measured and cures are tried on. */
const samples = 16;

interface Asked {
  readonly schedule: Schedule;
  readonly scheduleText: string;
  /** The command line that runs the mended schedule. */
  readonly mendedCommand?: string | undefined;
  readonly metrics: readonly Metric[];
  readonly signal: AbortSignal;
  readonly progress: (done: number, text: string) => void;
  /** Whether sums saturate in its kernels, where that is known: its outputs are far worse than those of the same graph unoptimized. */
  readonly saturated?: boolean | undefined;
}

/**
 * Where a quantized model's error enters, why, and what mends it. Own errors apart from inherited ones; the first layer, in graph
 * order, whose own error stands out; what its value looks like; then the schedule's quantizer once more with each likely cure, on a
 * few samples.
 */
export async function diagnose(
  { model, twin, measurement, stages, plan }: Pick<State, 'model' | 'twin' | 'measurement' | 'stages' | 'plan'>,
  tools: Instruments,
  { schedule, scheduleText, mendedCommand, metrics, signal, progress, saturated }: Asked,
): Promise<{ readonly diagnosis: Diagnosis; readonly errors: readonly OwnError[] } | undefined> {
  if (twin === undefined) return undefined;
  progress(0, 'diagnosis: own errors');
  const kept = schedule.stages.filter(({ index }) => stages.includes(index));
  const calibration = kept.map(calibrationOf).findLast((one) => one !== undefined);
  const measured = measurement?.metrics ?? [];
  const place = await located(twin, model, tools, { measured, metrics, signal, calibration });
  if (!place) return undefined;
  const { errors, found } = place;
  const sentences = [...place.sentences];
  const plain = { errors, diagnosis: { sentences } };
  const at = kept.findLastIndex(({ pass }) => pass.section === 'quantizers');
  const stage = kept[at];
  const tail = kept.slice(at + 1);
  const bits = (stage?.options as { readonly bits_weights?: unknown } | undefined)?.bits_weights;
  const may = stage?.pass.name === 'quantize/static' && bits === 8 && (await saturates());
  const saturating = may && (saturated ?? found?.part === 'weights');
  if (!found && !saturating) return plain;
  if (saturating) {
    // What looks like rounding of the weights is these sums.
    if (found?.part === 'weights' && found.cause === undefined) sentences.pop();
    sentences.push('this processor has no VNNI, where sums of products of 8-bit weights saturate');
  }
  const few = found?.cause === 'few samples';
  if (few) sentences.push(moreSamplesText(tools.calibrationSamples, calibration?.samples ?? Infinity));
  if (!stage || stage.pass.name === 'quantize/float16') return plain;
  if (tail.some(({ pass }) => pass.follows !== 'quantizers')) {
    sentences.push('passes that change the model follow the quantizer, so no cure was tried');
    return plain;
  }
  // Where another error hides it no one knows whether sums saturate, but they may once that error is mended.
  const hidden = may && place.sqnr < good;
  const ran = new Set(kept.map((one) => one.class));
  const cures = found ? curesOf(stage, found, saturating || hidden, tools.calibrationSamples, ran) : [sevenBits];
  if (few && cures.length === 0) return plain;
  const { batches, on } = place;
  const cheap = cures.filter(({ dear }) => dear !== true);
  // What a trial does on fewer samples than the run had is compared with the schedule as it is on as few; where that alone makes it another
  // result, few samples tell nothing, and all are taken.
  const trial = (asked: readonly Cure[], most: number) =>
    tryCures({ float: twin, stage, tail, plan }, asked, tools, { batches, signal, progress, samples: most });
  const used = tools.calibrationSamples;
  const same = cheap.length > 0 && used > trialSamples ? (await trial([asItIs], trialSamples))[0]?.sqnr : undefined;
  const tells = tail.length > 0 || (same !== undefined && Math.abs(same - place.sqnr) <= 1);
  const most = tells ? trialSamples : Infinity;
  const base = tells && same !== undefined ? same : place.sqnr;
  const tried = await trial(cheap, most);
  const best = chosen(tried, base);
  const how = used > trialSamples && tells ? `${on}, calibrated on ${trialSamples}` : on;
  if (cheap.length > 0) sentences.push(triedText(tried, best, base, how));
  const cure = proposal(cures, best, base);
  if (cure?.dear) sentences.push(`the outputs stay below ${good} dB: proposed is ${cure.label}, which takes about as long as a run and was not tried`); // prettier-ignore
  if (!cure) return plain;
  if (cure.bits !== undefined && !saturating) sentences.push('7 bits because this processor has no VNNI: sums of products of 8-bit weights may saturate on it, and those of 7 bits cannot'); // prettier-ignore
  const yaml = cureLines(scheduleText, stage, cure);
  return { errors, diagnosis: { sentences, yaml, schedule: curedSchedule(scheduleText, stage, cure, mendedCommand) } };
}

type Calibration = { readonly method: string; readonly samples: number };

const calibrationOf = ({ options }: Stage): Calibration | undefined =>
  (options as { readonly calibration?: Calibration }).calibration;

export interface Place {
  readonly errors: readonly OwnError[];
  /** Of the outputs, dB, on the samples that the fall shows on. */
  readonly sqnr: number;
  readonly batches: () => AsyncIterable<Batch>;
  /** These samples in words: `32 calibration samples`. */
  readonly on: string;
  /** Undefined where all is well. */
  readonly found: Culprit | undefined;
  /** Where the error enters, and why. */
  readonly sentences: readonly string[];
}

/** Where the error of a model enters beside its float twin, in words; undefined where they have no layer that can be compared. */
export async function located(
  twin: Model,
  model: Model,
  tools: Pick<Instruments, 'calibration' | 'calibrationSamples' | 'unseen' | 'context'>,
  asked: Pick<Asked, 'metrics' | 'signal'> & {
    readonly measured: readonly MetricResult[];
    /** How ranges were chosen, where that is known. */
    readonly calibration?: Calibration | undefined;
  },
): Promise<Place | undefined> {
  const { signal, measured, metrics, calibration } = asked;
  const { unseen, calibrationSamples } = tools;
  const used = Math.min(calibrationSamples, calibration?.samples ?? Infinity);
  const calibrated = { batches: remembered(() => tools.calibration(samples)), on: `${Math.min(samples, calibrationSamples)} calibration samples` }; // prettier-ignore
  const errors = await ownErrors(twin, model, calibrated.batches, { signal });
  if (errors.length === 0) return undefined;
  const sqnr = await outputSqnr(twin, model, calibrated.batches, signal);
  const found = culprit(twin, errors, sqnr, measured, metrics);
  const range = (error: OwnError): Range | undefined =>
    error.rounded === undefined ? undefined : heldRange(model)(error.rounded);
  // A value's range, and what lies within and beyond it on some samples.
  const look = async ({ error }: Culprit, of: () => AsyncIterable<Batch>) => {
    const held = range(error);
    const clipped = held && (await clippedBy(held, twin, error.value, of, signal));
    return clipped && ([error.value, held, clipped] as const);
  };
  // The same where what is cut off is worse than the rounding within.
  const cut = async (of: Culprit, from: () => AsyncIterable<Batch>) => {
    const seen = await look(of, from);
    return seen && cutsMore(seen[1], seen[2]) ? seen : undefined;
  };
  const basis = { errors, sqnr, found, ...calibrated };
  if (found?.part === 'input') {
    const known = await cut(found, used < samples ? () => tools.calibration(used) : calibrated.batches);
    const where = whereText(found, errors);
    if (known) {
      const why = clippingText(...known, calibration?.method);
      return { ...basis, found: { ...found, cause: 'clipping' }, sentences: [where, why] };
    }
    const later = used < samples ? await cut(found, calibrated.batches) : undefined;
    if (later) {
      const why = fewSamplesText(...later, used, calibrated.on);
      return { ...basis, found: { ...found, cause: 'few samples' }, sentences: [where, why] };
    }
    const seen = await look(found, calibrated.batches);
    if (seen && isWide(seen[1], seen[2].reach)) {
      const far = await farthestOf(twin, seen[0], { batches: () => tools.calibration(used), samples: used }, signal);
      return { ...basis, found: { ...found, cause: 'rare' }, sentences: [where, rareText(seen, far, calibrated.on)] };
    }
  }
  const grown = magnified(twin, errors);
  if (grown?.quiet && !(found?.alone && found.error.own < found.error.inherited)) {
    const found: Culprit = { ...culpritOf(twin, grown.from, true), part: 'input' };
    return { ...basis, found, sentences: [grown.text, whyText(found, await valueStats(twin, found, tools))] };
  }
  if (grown && !grown.quiet && !found?.alone) return { ...basis, found: { ...culpritOf(twin, grown.from, true), cause: 'magnified' }, sentences: [grown.text] }; // prettier-ignore
  if (!found?.alone && unseen) {
    const judged = { batches: remembered(() => unseen.batches(samples)), on: `${Math.min(samples, unseen.samples)} validation samples` }; // prettier-ignore
    const other = await outputSqnr(twin, model, judged.batches, signal);
    const others = worseBy(sqnr, other) ? await ownErrors(twin, model, judged.batches, { signal }) : [];
    const late = unforeseen(twin, errors, others);
    const missed = late && (await cut(late, judged.batches));
    if (missed) {
      const there = `${whereText(late, others)}; this on validation samples, with outputs at ${dB(other)} there and at ${dB(sqnr)} on calibration samples`;
      return { errors, sqnr: other, found: late, ...judged, sentences: [there, fewSamplesText(...missed, used, judged.on)] }; // prettier-ignore
    }
  }
  if (!found) return { ...basis, sentences: [soundText(errors, sqnr)] };
  const stats = await valueStats(twin, found, tools);
  return { ...basis, sentences: [whereText(found, errors), whyText(found, stats)] };
}

/** Ranges of the channels of what a culprit reads; undefined where it has none. */
async function valueStats(
  twin: Model,
  { part, error }: Culprit,
  tools: Pick<Instruments, 'context'>,
): Promise<ChannelStats | undefined> {
  if (part !== 'input' || twin.graph.initializer.some(({ name }) => name === error.value)) return undefined;
  const context = tools.context(noStage());
  const rank = (await context.shapes(twin)).get(error.value)?.dims.length ?? 0;
  if (rank < 2) return undefined;
  const fold = sealed(channelStats({ axis: rank > 3 ? 1 : -1 }, error.value));
  const collected = await context.collect(twin, new Map([[error.value, [fold]]]), samples);
  return collected.get(error.value)?.[0];
}

/** The mildest cure that comes near the best, or is good enough, where that is worth it: 1 dB and more. */
export function chosen(tried: readonly TriedCure[], sqnr: number): TriedCure | undefined {
  const best = Math.max(...tried.map((one) => one.sqnr));
  return best > sqnr + 1 ? tried.find((one) => one.sqnr > Math.max(sqnr + 1, Math.min(best - 1.5, fine))) : undefined;
}

/**
 * What is proposed: the best that was tried, and where that leaves the outputs bad what takes as long as the run, untried. A layer that had to
 * be in float has to be so beside whatever else is done.
 */
export function proposal(cures: readonly Cure[], best: TriedCure | undefined, sqnr: number): Cure | undefined {
  const dear = (best?.sqnr ?? sqnr) < good ? cures.find((one) => one.dear) : undefined;
  if (!dear || !best?.cure.raised) return dear ?? best?.cure;
  return together({ label: best.cure.label, raised: best.cure.raised }, dear);
}

/** What was tried, and what came of it. */
export function triedText(tried: readonly TriedCure[], best: TriedCure | undefined, sqnr: number, on: string): string {
  const told = (some: readonly TriedCure[]): string =>
    some.map((one) => `${one.cure.label}: ${dB(one.sqnr)}`).join('; ');
  const base = `tried on ${on}, outputs at ${dB(sqnr)} before`;
  if (!best) return `${base}, nothing helped${tried.length > 0 ? `: ${told(tried)}` : ''}`;
  const others = tried.filter((one) => one !== best);
  return `${base}: ${best.cure.label} brings ${dB(best.sqnr)}${others.length > 0 ? ` (others: ${told(others)})` : ''}`;
}
