import type * as z from 'zod';
import type { Grid } from '../grid.ts';

/** Which values share parameters: all of a tensor, those of an output channel, `size` neighbours of one, or a row or pixel of all kernels. */
export type Sharing = 'tensor' | 'channel' | 'row' | 'pixel' | { readonly group: number };

/**
 * What a format may take before it is stretched by a scale: rising levels, and where they are not the midpoints the thresholds
 * between them. One object for all groups that share it; storage writes it once.
 */
export interface LevelSet {
  readonly levels: Float32Array;
  readonly thresholds?: Float32Array;
  /** The grid at scale 1, for searches; whoever needs it makes it where it is not given. */
  readonly unit?: Grid;
}

/** How one group of values is held: `scale · set`. */
export interface Fitted {
  readonly set: LevelSet;
  /** Positive, a normal float32 number. */
  readonly scale: number;
}

/** What `fit` may look at beside the values. */
export interface Look {
  /** What an error of each value counts; 1 where none is given. */
  readonly importance?: ArrayLike<number> | undefined;
  /** Whether values below 0 must be held. Weights have them always; of activations those behind a Relu have none. */
  readonly signed: boolean;
  /** The largest magnitude in the whole tensor, for formats with a second scale. */
  readonly largest: number;
}

/** Floating-point types of 8 bits that ONNX has. */
export type FloatType = 'float8e4m3fn' | 'float8e5m2';

/**
 * A number format: the set of values that a weight or an activation may take. One file each in this folder, and one line in `index.ts`.
 * Everything that simulates, quantizes, allocates, refits or stores asks the format and knows none by name.
 */
export interface Format<O = unknown> {
  /** As a schedule writes it; its file's name too. */
  readonly name: string;
  readonly summary: string;
  /** The paper or specification. */
  readonly source: string;
  /** What may be set. */
  readonly options: z.ZodType<O>;
  /** Which weights share parameters where a schedule does not say; activations always share one for the tensor. */
  readonly sharing: (options: O) => Sharing;
  /** Why it cannot hold weights, or activations; undefined where it can. */
  readonly notWeights?: string;
  readonly notActivations?: string | ((options: O) => string | undefined);
  /**
   * Neighbouring activations that share a scale, which `fit` finds from their largest magnitude alone, when the model runs; undefined where one
   * scale, found beforehand, holds the tensor.
   */
  readonly runTimeBlock?: (options: O) => number | undefined;
  /** Bits of a code. */
  readonly bits: (options: O) => number;
  /** ONNX's element type of its levels, where there is one that onnxruntime computes with: a byte is a sign and the number of a magnitude. */
  readonly type?: FloatType;
  /** The scales of weights are kept as they are; else they are rounded to float16, in which they are stored where that holds them. */
  readonly exactScale?: true;
  /** The set that is the same for all values, for formats that have one. @param signed false: nothing below 0 is needed. */
  readonly set?: (options: O, signed: boolean) => LevelSet;
  /**
   * The parameters for one group's values (one or more, all finite), those of least squared error unless its source has another rule.
   * Plain arithmetic, so that the same values give the same parameters. @param set what `set` gives; empty for a format without.
   */
  readonly fit: (values: Float32Array, options: O, look: Look, set: LevelSet) => Fitted;
  /** A shorter way to write it with these options, which is read too: `int4`. */
  readonly short?: (options: O) => string | undefined;
  /** Codes otherwise than by the grid's thresholds (stochastic rounding), or undefined. @param group number of the group in its tensor. */
  readonly codes?: (values: Float32Array, grid: () => Grid, options: O, group: number) => Uint16Array | undefined;
}

/** A format with its options: what a schedule's `format:` becomes. */
export interface BoundFormat {
  readonly name: string;
  /** As it can be written again: `minifloat:exponent=4,mantissa=3`. */
  readonly label: string;
  readonly bits: number;
  readonly sharing: Sharing;
  readonly notWeights: string | undefined;
  readonly notActivations: string | undefined;
  readonly runTimeBlock: number | undefined;
  readonly exactScale: boolean;
  readonly type: FloatType | undefined;
  fit(values: Float32Array, look: Look): Fitted;
  /** The same with one bit, mantissa bit, term or base more; undefined where it has no such option, or that is at its end. */
  finer(): BoundFormat | undefined;
  /** Its label: what reports and plans show of it. */
  toJSON(): string;
  codes(values: Float32Array, fitted: Fitted, group: number): Uint16Array;
}
