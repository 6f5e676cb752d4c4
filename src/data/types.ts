import type { Augment } from './augment.ts';
import type { DType, TypedArray } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import type { Modules } from '../util/module.ts';

/** A dense tensor as onnxruntime-node takes it. `float16` data is a Uint16Array of bit patterns, int64 a BigInt64Array. */
export interface Tensor {
  readonly type: DType;
  readonly dims: readonly number[];
  readonly data: TypedArray | readonly string[];
}

/** Input or output tensors by value name. */
export type Feeds = Readonly<Record<string, Tensor>>;

/**
 * What the right answer is. `label`: one class index a position (one position for plain classification; -1 = not counted, as
 * padding of a sequence is). `expected`: output tensors to compare with (ONNX test data, user modules).
 */
export interface Target {
  readonly label?: Int32Array;
  readonly expected?: Feeds;
  /** What was mixed into a training sample (mixup): its answer, and its share of the whole, 0 to 1. */
  readonly mixed?: { readonly label: Int32Array; readonly share: number };
}

/** One sample: tensors with a leading batch axis of 1, what the answer is, and a name to report it by. */
export interface Sample {
  readonly id: string;
  readonly feeds: Feeds;
  readonly target?: Target;
  readonly step?: Step | undefined;
}

/** An input that is fed with an output of the step before, and with `start` in the first. */
export interface Feedback {
  readonly input: string;
  readonly output: string;
  /** Zeros. */
  readonly start: Tensor;
}

/**
 * A step of a sequence. `back`: which output of the step before feeds which input (input → output); the feeds of a later step hold what the float model
 * gave.
 */
export interface Step {
  readonly first: boolean;
  readonly back: Readonly<Record<string, string>>;
}

/**
 * Samples joined along axis 0. `count` is the number of real samples: a model of fixed batch gets the last batch padded by
 * repeating its last sample, and outputs beyond `count` are to be ignored.
 */
export interface Batch {
  readonly ids: readonly string[];
  readonly feeds: Feeds;
  readonly targets: readonly (Target | undefined)[];
  readonly count: number;
  readonly size: number;
  /** Where the batch is one step of a sequence. */
  readonly step?: Step | undefined;
}

/** What a dataset is, for the report. */
export interface DatasetInfo {
  readonly kind:
    'image-folder' | 'manifest' | 'idx' | 'npy' | 'parquet' | 'onnx' | 'module' | 'memory' | 'random' | 'text' | 'wav';
  readonly source: string;
  readonly samples: number;
  readonly labelled: boolean;
  /** What the user should know: that one set was split, that the input is random … */
  readonly notes: readonly string[];
}

/**
 * A dataset streams its samples in a fixed order; `limit` takes the first ones only. Nothing is kept. With `reuse` a sample's tensors may
 * be written over once the next one is asked for.
 */
export interface Dataset {
  readonly info: DatasetInfo;
  samples(limit?: number, reuse?: boolean): AsyncIterable<Sample>;
  /** Equal only where the first `limit` samples are the same; undefined where that cannot be known (user modules). */
  fingerprint?(limit?: number): string | undefined;
}

/** Samples to train on: another order each epoch, changed by chance where augmentation is asked for. */
export interface TrainingSet {
  readonly info: DatasetInfo;
  /** The samples of an epoch, streamed. Equal for equal arguments. `augment` is as `augmentSchema` reads it. */
  epoch(epoch: number, options: { readonly seed: number; readonly augment?: Augment | undefined }): Dataset;
  /** Equal only where the samples are the same; undefined where that cannot be known. */
  fingerprint?(): string | undefined;
}

/** One metric asked for: its name (or the path of a module) and its options. */
export interface MetricConfig {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Where a key of it stands (`file:line:col`); undefined where no file asks for it. */
  readonly at: (key?: string) => string | undefined;
}

/** The two disjoint sets of a run, and what the config says about measuring on them. */
export interface RunData {
  readonly calibration: Dataset;
  readonly validation: Dataset;
  /** Absent where the config names none. Holds no validation sample. */
  readonly training?: TrainingSet | undefined;
  readonly notes: readonly string[];
  /** What is to be measured; empty = what the data allows. */
  readonly metrics: readonly MetricConfig[];
  /** The folder that paths in the config start from (module metrics). */
  readonly folder: string;
  /** What becomes of metrics that are modules. */
  readonly modules?: Modules;
  /** States that are fed back, with the inputs that samples are sequences for. */
  readonly sequences?: { readonly inputs: readonly ModelInput[]; readonly feedback: readonly Feedback[] } | undefined;
  /** Samples a run of the model takes, where the config says so. */
  readonly batchSize: number | undefined;
}
