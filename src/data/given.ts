import type { DType, TypedArray } from '../graph/dtype.ts';

/** A sample as programs give it; `type` follows from the typed array where it is left out, `dims` must have the batch axis 1. */
export interface SampleGiven {
  readonly id?: string;
  /** A tensor for each model input. */
  readonly feeds: Readonly<Record<string, TensorGiven>>;
  /** A class index, or one a position; -1 is not counted. Whole numbers, bigint too. */
  readonly label?: number | bigint | readonly (number | bigint)[] | Int32Array | BigInt64Array;
  /** What the model should give, by output. */
  readonly expected?: Readonly<Record<string, TensorGiven>>;
}

/** A tensor as programs give it; those of onnxruntime are such. */
export interface TensorGiven {
  readonly type?: DType;
  readonly dims: readonly number[];
  readonly data: TypedArray | readonly string[];
}

/**
 * Samples that a program holds or makes. A function is called for every pass over them, and nothing is kept; an array is read where it
 * is; any other iterable is read once, into memory.
 */
export type Samples =
  | Iterable<SampleGiven>
  | AsyncIterable<SampleGiven>
  | (() =>
      Iterable<SampleGiven> | AsyncIterable<SampleGiven> | Promise<Iterable<SampleGiven> | AsyncIterable<SampleGiven>>);

/** Calibration and validation samples apart, and those to train on. */
export interface SampleSets {
  readonly calibration: Samples;
  readonly validation: Samples;
  readonly training?: Samples | undefined;
}
