import { ownOutputs } from '../graph/exits.ts';
import type { Model } from '../graph/model.ts';
import { quantizedLayers } from '../graph/quantized.ts';
import { describeValue } from '../graph/query.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import { wilsonHalfWidth } from '../metrics/share.ts';
import type { Stage } from '../schedule/types.ts';
import { brokenText, firstOf } from './broken.ts';
import type { Measurement, StageReport } from './report.ts';

/** What a run reached, and how it was judged. */
export interface Judged {
  readonly float: Model;
  readonly metrics: readonly Pick<Metric, 'name' | 'perfect'>[];
  readonly baseline: Measurement;
  readonly result: Measurement;
  readonly stages: readonly StageReport[];
  /** The stages whose effect the result carries. */
  readonly kept: readonly number[];
}

/** Whether a stage has a gate that was really asked: without measuring (`--no-measure`) none is. */
export const wasJudged = ({ gate, attempts }: StageReport): boolean =>
  gate !== undefined && attempts.some(({ measurement }) => (measurement?.metrics.length ?? 0) > 0);

/** Whether any gate judged a stage that the result carries, or any at all where it carries none. */
export const wasGated = (stages: readonly StageReport[], kept: readonly number[]): boolean =>
  stages.some((stage) => (kept.length === 0 || kept.includes(stage.index)) && wasJudged(stage));

/** What gates ask for that was not judged, a few words each. */
export function unjudged(stages: readonly StageReport[]): string[] {
  const told = stages.flatMap((stage) => {
    const { gate, index, instance } = stage;
    if (gate === undefined) return [];
    if (!wasJudged(stage)) return [`${gate.insteadOf ?? gate.metric} of ${index} ${instance}`];
    return gate.insteadOf === undefined ? [] : [`${gate.insteadOf} (${gate.metric} was, in its place)`];
  });
  return [...new Set(told)];
}

/** That what is to be quantized is no float model: what it lost no one can see any more, and its figures are those beside it. */
export function alreadyQuantized(model: Model, stages: readonly Pick<Stage, 'pass'>[]): string[] {
  const layers = stages.some(({ pass }) => pass.section === 'quantizers') ? quantizedLayers(model) : [];
  if (layers.length === 0) return [];
  return [`the model is quantized already (${firstOf(layers)}): begin from the float model that it was made from; "float model" and "of float" mean the model as given here`]; // prettier-ignore
}

/** That the float model computes what nothing can be compared with; undefined where its outputs are numbers. */
export function brokenOutputs(float: Model, baseline: Measurement, metrics: Judged['metrics']): string | undefined {
  // The distance of a model to itself is no number for no other reason.
  const distances = baseline.metrics.filter(({ name }) => metrics.some((one) => one.name === name && one.perfect !== undefined)); // prettier-ignore
  if (!distances.some(({ value }) => Number.isNaN(value))) return undefined;
  const outputs = distances.flatMap(({ perOutput = {} }) => Object.keys(perOutput).filter((name) => Number.isNaN(perOutput[name]))); // prettier-ignore
  return brokenText(float, "the float model's", outputs);
}

/** Outputs below so many dB have little of the float model's left, whatever they mean. */
const lost = 10;

/** Those of the results that measure a model by itself, not how far it is from the float model. */
export const accuraciesAmong = (results: readonly MetricResult[], metrics: Judged['metrics']): MetricResult[] =>
  results.filter(({ name }) => metrics.some((metric) => metric.name === name && metric.perfect === undefined));

/** What must be known of a result before it is used, as far as its figures say it, worst first. */
export function figureWarnings({ float, metrics, baseline, result, stages, kept }: Judged): string[] {
  const accuracies = accuraciesAmong(result.metrics, metrics).filter(({ unit }) => unit === '%');
  const top = accuracies.find(({ name }) => name === 'top1');
  const before = baseline.metrics.find(({ name }) => name === 'top1');
  const guessed = chanceWarning(float, {
    'the float model itself is at chance: ': top && before,
    'the result is at chance: ': top,
  });
  if (guessed !== undefined) return [guessed];
  const warned = stages
    .filter(({ verdict, gate }) => verdict === 'warned' && gate !== undefined)
    .map(({ index, instance, why }) => `the gate of ${index} ${instance} failed, and only warns: ${why}`);
  if (wasGated(stages, kept) || stages.length === 0) return warned;
  const far = result.metrics.find(({ name, unit, value }) => name === 'sqnr' && unit === 'dB' && value < lost);
  if (far && accuracies.length === 0)
    return [...warned, `the outputs are at ${far.value.toFixed(1)} dB: little of the float model's is left, and no gate was asked whether that may be`]; // prettier-ignore
  const fell = accuracies
    .filter(({ drop, dropInterval }) => drop > (dropInterval ?? Infinity))
    .map(
      ({ name, drop, dropInterval }) =>
        `${name} fell by ${drop.toFixed(2)} points (±${(dropInterval ?? 0).toFixed(2)}), and no gate was asked whether that may be`,
    );
  return [...warned, ...fell];
}

/** A share as far as it may be one of guesses. */
type Share = Pick<MetricResult, 'value' | 'interval'>;

/**
 * Says that a model guesses, the first that does of those whose sentences are begun; of the first of several nothing was done to it, so its data
 * is wrong.
 */
function chanceWarning(model: Model, top1: Readonly<Record<string, Share | undefined>>): string | undefined {
  const chance = chanceOf(model);
  if (chance === undefined) return undefined;
  const names = Object.keys(top1);
  const name = names.find((one) => {
    const share = top1[one];
    return share && share.value - (share.interval ?? 0) <= chance;
  });
  const share = name === undefined ? undefined : top1[name];
  if (name === undefined || !share) return undefined;
  const facts = `${name}${share.value.toFixed(2)} % top1, where guessing gives ${chance.toFixed(2)} %`;
  const data = 'preprocessing or its labels are not what it was trained with';
  if (names.length === 1) return `${facts}; its ${data}, or nothing is left of what it had learned`;
  return name === names[0] ? `${facts}; its ${data}` : facts;
}

/** The same of a measurement beside a reference, or of a model alone. */
export function measuredAtChance(
  model: Model,
  metrics: readonly (Share & { readonly name: string; readonly samples: number; readonly reference?: number })[],
  [reference, own]: readonly [string, string],
): string[] {
  const top = metrics.find(({ name }) => name === 'top1');
  if (!top) return [];
  const { reference: value, samples } = top;
  const first = value === undefined ? {} : { [`${reference} itself is at chance: `]: { value, interval: 100 * wilsonHalfWidth((value / 100) * samples, samples) } }; // prettier-ignore
  const warning = chanceWarning(model, { ...first, [`${own} is at chance: `]: top });
  return warning === undefined ? [] : [warning];
}

/** What guessing gives of top1, in %: one of the classes of the only output, where their number is known. */
function chanceOf(model: Model): number | undefined {
  const [output, ...others] = ownOutputs(model).map(describeValue);
  const classes = output?.dims?.at(-1);
  return others.length === 0 && typeof classes === 'number' && classes > 1 ? 100 / classes : undefined;
}
