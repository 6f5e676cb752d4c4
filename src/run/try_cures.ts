import { outputError } from '../analyze/layer_error.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { decibels } from '../numerics/error.ts';
import { passes } from '../passes/index.ts';
import type { PassContext, Plan } from '../passes/pass.ts';
import type { Stage } from '../schedule/types.ts';
import { given } from '../util/must.ts';
import type { Instruments } from './context.ts';
import type { Cure, Instance } from './cures.ts';
import { withRaised } from './fallback.ts';
import { refusal } from './trial.ts';

/** A cure that was tried, and the outputs' SQNR with it, dB. */
export interface TriedCure {
  readonly cure: Cure;
  readonly sqnr: number;
}

/** Samples that a trial usually calibrates, equalizes and rounds on: it has to be much cheaper than the run. */
export const trialSamples = 64;

/** A pass's options with no more samples than a trial may see. */
function cheaper(options: unknown, most: number): unknown {
  const own = options as { readonly samples?: number; readonly calibration?: { readonly samples: number } };
  const { samples, calibration } = own;
  return {
    ...own,
    ...(samples === undefined ? {} : { samples: Math.min(samples, most) }),
    ...(calibration === undefined ? {} : { calibration: { ...calibration, samples: Math.min(calibration.samples, most) } }), // prettier-ignore
  };
}

/** What a quantizer is tried in. */
export interface Ground {
  /** The float model that the stage quantized. */
  readonly float: Model;
  /** The quantizer, and the passes that follow it in the schedule. */
  readonly stage: Stage;
  readonly tail: readonly Stage[];
  readonly plan: Plan;
}

/** Quantizes the float model anew with a cure, and runs what follows the quantizer. */
async function applied(
  { float, stage, tail, plan }: Ground,
  cure: Cure,
  tools: Instruments,
  most: number,
): Promise<Model> {
  const context = (twin: Model | undefined, { clock }: Stage): PassContext =>
    tools.context({ plan, twin, memory: new Map(), clock });
  const run = async ({ class: name, options }: Instance, model: Model, twin: Model | undefined) => {
    const pass = given(
      passes.find(({ classes }) => classes.includes(name)),
      `the pass ${name}`,
    );
    return pass.apply(model, cheaper(pass.options.parse(options), most), context(twin, stage));
  };
  const before = cure.before ? (await run(cure.before, float, undefined)).model : float;
  const own = cure.raised ? withRaised(stage.options, cure.raised) : stage.options;
  const narrowed = cure.bits === undefined ? own : { ...(own as object), bits_weights: cure.bits };
  const options = cure.calibration
    ? { ...(narrowed as object), calibration: { ...(own as { calibration: object }).calibration, ...cure.calibration } }
    : narrowed;
  const first = await stage.pass.apply(before, cure.calibration?.samples === undefined ? cheaper(options, most) : options, context(undefined, stage)); // prettier-ignore
  let { model, twin } = first;
  if (cure.after) model = (await run(cure.after, model, twin)).model;
  for (const later of tail) {
    const result = await later.pass.apply(model, cheaper(later.options, most), context(twin, later));
    model = result.model;
    twin = result.twin ?? twin;
  }
  return model;
}

/** SQNR of a model's outputs against the float model's, dB. */
export async function outputSqnr(
  float: Model,
  model: Model,
  batches: () => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<number> {
  return decibels(1, await outputError(float, model, batches, signal));
}

/** Tries cures on the float model that the stage quantized, and measures each at the outputs. One that does not run is left out. */
export async function tryCures(
  place: Ground,
  cures: readonly Cure[],
  tools: Instruments,
  {
    batches,
    signal,
    progress,
    samples = trialSamples,
  }: {
    /** What the outputs are measured on. */
    readonly batches: () => AsyncIterable<Batch>;
    readonly signal: AbortSignal;
    readonly progress: (done: number, text: string) => void;
    /** How many samples each is made with at most. */
    readonly samples?: number;
  },
): Promise<TriedCure[]> {
  const tried: TriedCure[] = [];
  for (const [i, cure] of cures.entries()) {
    progress(i / cures.length, `diagnosis: trying ${cure.label}`);
    await refusal(async () => {
      const model = await applied(place, cure, tools, samples);
      tried.push({ cure, sqnr: await outputSqnr(place.float, model, batches, signal) });
    });
  }
  return tried;
}
