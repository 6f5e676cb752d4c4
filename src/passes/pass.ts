import type * as z from 'zod';
import type { Target } from '../autodiff/rule.ts';
import type { Augment } from '../data/augment.ts';
import type { Batch, Feeds, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { Shapes } from '../graph/shapes.ts';
import type { MetricResult } from '../metrics/metric.ts';
import type { AnyFold } from '../numerics/fold.ts';
import type { NumberFormat } from '../numerics/format.ts';

/** The sections of a schedule file; the policy key of a section is its singular (`pruners` → `pruner`). */
export type Section = 'pruners' | 'quantizers' | 'allocators' | 'extensions';

/** One sentence about one layer: what was done, or why it was left alone. */
export interface Note {
  /** Node name (or weight / value name where no node is meant). */
  readonly layer: string;
  readonly text: string;
}

/** A note as a line of its own. */
export const noteLine = ({ layer, text }: Note): string => `${layer}: ${text}`;

/** How `allocate/` hands bit-widths to `quantize/`: node name → formats. Precedence: schedule overrides > plan > pass default. */
export type Plan = ReadonlyMap<string, { readonly weights?: NumberFormat; readonly activations?: NumberFormat }>;

/** Where in its policy a stage stands: epochs `start` (inclusive) to `end` (exclusive), this one being `epoch`. */
export interface Clock {
  readonly epoch: number;
  readonly start: number;
  readonly end: number;
  readonly frequency: number;
}

/** What measuring a model on the validation data gave. */
export interface MetricMeasure {
  readonly metrics: readonly MetricResult[];
}

/**
 * Lets the runner keep the results of a collection in the run folder and give them to a later run of the same model, data and
 * options, which then need not collect.
 */
export interface Keeping<R> {
  /** What the folds were made with, as plain data. Model, data, values and bounds are known without it. */
  readonly options: unknown;
  /** A result as JSON holds it, and back: exactly. */
  plain(result: R): unknown;
  readonly schema: z.ZodType<R>;
}

/** Bounds of one collection. */
export interface CollectBounds<R = unknown> {
  /** Bytes that one run may return; values beyond that are taken in further passes over the data. */
  readonly memoryLimit?: number | undefined;
  /** Called before the first run: passes over the data, and the most bytes that a run returns. */
  readonly planned?: (passes: number, bytes: number) => void;
  /** Absent: the results are not kept. */
  readonly keeping?: Keeping<R>;
}

/** Looks at models: shapes, statistics and values on calibration data, arithmetic in onnxruntime. */
export interface Look {
  /** Shapes and types of all values of the model, from one run in onnxruntime on one calibration sample, or on what is given. */
  shapes(model: Model, feeds?: Feeds): Promise<Shapes>;
  /**
   * Runs the calibration data once through the model and folds every wanted value: value name → folds. The result has, for
   * each value, the folds' results in the same order. Folds that read `elements` are given about so many of a value over all
   * samples, evenly spread over samples and places, where more are not needed; by default all.
   */
  collect<R>(
    model: Model,
    wanted: ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>,
    samples?: number,
    elements?: number,
    bounds?: CollectBounds<R>,
  ): Promise<Map<string, R[]>>;
  /** Streams the named values batch by batch, for at most `samples` calibration samples. */
  capture(model: Model, values: readonly string[], samples?: number): AsyncIterable<Feeds>;
  /** Runs a graph that a pass made for its arithmetic, on the CPU unless said otherwise. Sessions of the same Model value are reused. */
  compute(graph: Model, feeds: Feeds, on?: Target): Promise<Feeds>;
}

/** What a model is trained on. */
export interface TrainingSamples {
  readonly samples: number;
  readonly labelled: boolean;
  /** Where they come from, for messages. */
  readonly source: string;
  /** An epoch's samples in its own order, all batches of one size: the last is filled up. */
  batches(options: {
    readonly epoch: number;
    readonly seed: number;
    readonly batchSize: number;
    readonly augment?: Augment | undefined;
  }): AsyncIterable<Batch>;
}

/** What an epoch of training gives the policies that run in it. */
export interface Lesson {
  /** Steps of training taken so far. */
  readonly step: number;
  /** What is zeroed now is masked for a while and comes back: draws are made anew each time. */
  readonly passing: boolean;
  /** Gradients of the training loss by weights, one batch after the other, the model standing still. */
  gradients(model: Model, names: readonly string[], samples: number): AsyncIterable<ReadonlyMap<string, Float32Array>>;
}

/** Says how good a model is. */
export interface Judge {
  /** Measures a candidate on the validation data against the float model. */
  measure(model: Model): Promise<MetricMeasure>;
}

/** Where in the run a pass is applied, and what is known and kept there. */
export interface StageContext {
  readonly plan: Plan;
  readonly clock: Clock;
  /** The float model the run began with, for passes that compare (bias correction, reconstruction). */
  readonly reference: Model;
  /**
   * The float model that the current quantized model was made from, its values under the same names; undefined while nothing
   * is quantized. Recovery passes (bias correction, AdaRound) compare with it.
   */
  readonly twin: Model | undefined;
  /** Memory of a pass instance between its epochs (masks, thresholds); plain data, keyed by what the pass likes. */
  readonly memory: Map<string, unknown>;
  /**
   * Kept while the same pass is tried on the same model and data at other strengths, or with other widths for single layers: for
   * what those do not change.
   */
  readonly cache?: Map<string, unknown>;
  /** What steps of training run on; absent: the CPU. */
  readonly device?: Target | undefined;
  /** Absent where the data config has no set to train on. */
  readonly training?: TrainingSamples | undefined;
  /** Within an epoch of training. */
  readonly lesson?: Lesson | undefined;
  readonly signal: AbortSignal;
  /** Progress of this pass, 0 to 1, with what is being done. */
  progress(done: number, doing?: string): void;
}

/** What a pass may ask of the runtime and the run, handed in by the runner: passes import no runtime. */
export interface PassContext extends Look, Judge, StageContext {}

/** The number formats of a layer, as a schedule writes them. */
export interface HeldLayer {
  readonly weights?: { readonly label: string; readonly bits: number };
  readonly activations?: string;
}

/** What a pass did. The report shows every entry of `changed` and `skipped`. */
export interface PassResult {
  readonly model: Model;
  readonly plan?: Plan;
  /** Set by quantizers: the float model they quantized. */
  readonly twin?: Model;
  /**
   * Set by allocators, which change no weight: the model with weights rounded as planned. It is what is measured and what the
   * gate judges; `model` goes on.
   */
  readonly preview?: Model;
  readonly changed: readonly Note[];
  readonly skipped: readonly Note[];
  /** Remarks that belong to no layer. */
  readonly notes?: readonly string[];
  /** Set by quantizers whose codes the types in the file do not tell: layer name → how it is held. */
  readonly held?: ReadonlyMap<string, HeldLayer>;
  /** Set by pruners whose masks zeros do not tell: weight → what each element is multiplied by while training. */
  readonly masks?: ReadonlyMap<string, Float32Array>;
  /** Set by passes that measured layers alone. */
  readonly sensitivity?: SensitivityMap;
  /** Set by an epoch of training. */
  readonly trained?: TrainedEpoch;
  /** Why the result is not to be used: the stage counts as failed, and the run ends with what it had. */
  readonly failed?: string;
}

/** What an epoch of training came to. */
export interface TrainedEpoch {
  readonly epoch: number;
  /** Mean training loss, with penalties. */
  readonly loss: number;
  /** % of the training samples' positions that were right, as they were met. */
  readonly accuracy?: number;
  /** The last learning rate. */
  readonly lr: number;
  readonly steps: number;
  readonly samples: number;
}

/** What single layers cost the model when they alone are changed: `values[i]` is the drop at `columns[i]`. */
export interface SensitivityMap {
  readonly metric: string;
  readonly unit: MetricResult['unit'];
  readonly columns: readonly string[];
  readonly rows: readonly { readonly layer: string; readonly values: readonly (number | undefined)[] }[];
}

/**
 * How `on_fail: retry` weakens a pass. `at(options, t)` gives the options at strength t (1 = as asked, towards 0 = weaker);
 * `describe` prints them (`sparsity 0.74`). The runner bisects t until the gate holds. `levels` lists the strengths of a
 * discrete scale (bits), strongest first, instead of a continuous one.
 */
export interface Strength<O> {
  at(options: O, t: number): O;
  describe(options: O): string;
  levels?(options: O): readonly number[];
}

/**
 * Another tool's form of a class's options: read where a file uses one of `keys`, which only that form has. Notes say what of it
 * changes nothing here, each with its argument.
 */
export interface OtherForm {
  readonly keys: readonly string[];
  readonly options: z.ZodType;
  toOptions(given: unknown): { readonly options: Readonly<Record<string, unknown>>; readonly notes: readonly string[] };
}

/** How a pass works in bodies. */
export interface InBodies<O> {
  /** Its options there, where they are others. */
  options?(options: O): O;
  /** What is done in a body of which no calibration sample shows what goes in, and a sentence of it; absent: the same. */
  unseen?(options: O): {
    readonly apply: (body: Model, ctx: PassContext) => Promise<PassResult>;
    readonly text: string;
  };
}

/** One algorithm, one file; its path below src/passes is its name. */
export interface Pass<O = unknown> {
  /** The path below src/passes: `prune/level`. */
  readonly name: string;
  /** The path below src/passes where another pass's file holds this one too. */
  readonly file?: string;
  readonly section: Section;
  /** The class names a schedule may write; the first is the one qtool prints, the others are Distiller's. */
  readonly classes: readonly string[];
  readonly summary: string;
  /** Paper, specification or system the method is from. */
  readonly source: string;
  readonly options: z.ZodType<O>;
  readonly otherForm?: OtherForm;
  readonly strength?: Strength<O>;
  /** A stage of which section must run before it: without one there is nothing for it to do. */
  readonly follows?: Section;
  /** A stage of which section must run behind it: without one nothing comes of it. */
  readonly precedes?: Section;
  /** Set where it looks at samples to train on: a schedule with it opens them. */
  readonly trains?: boolean;
  /** Set where it acts in the epochs of training from within the graph, and never by itself. */
  readonly learns?: boolean;
  /** Set where what it adds has to be trained: it acts at the beginning of an epoch of training, and only there. */
  readonly grows?: boolean;
  /** Set where the pass works in the bodies of If, Loop and Scan too, each as a model of its own (`bodies.ts`). */
  readonly inBodies?: InBodies<O> | undefined;
  /** Set where no stage may follow: what it does to the model, as the end of "it ..."; other passes would find nothing. */
  readonly closes?: string;
  /** Patterns in the options that must match something: selector → where it stands below the instance (`['weights', 0]`). */
  selectors?(options: O): readonly {
    readonly pattern: string;
    readonly path: readonly (string | number)[];
    readonly over: 'weights' | 'layers';
  }[];
  apply(model: Model, options: O, ctx: PassContext): Promise<PassResult>;
}

/** What passes that go by calibration data alone do in a body that none reaches (`InBodies.unseen`). */
export const leftAlone: NonNullable<InBodies<unknown>['unseen']> = () => ({
  apply: async (body) => ({ model: body, changed: [], skipped: [] }),
  text: 'what lies in it is left as it is',
});

/** Hides a pass's option type, so that passes of different options can stand in one list. */
export function anyPass<O>(pass: Pass<O>): Pass {
  return pass;
}
