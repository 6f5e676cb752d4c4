import { roundingMagic } from '../rounding.ts';

/**
 * How a device brings an int32 accumulator to the scale of a layer's output. A scheme is one file beside this one, and one line in
 * `index.ts`. All are pure functions on typed arrays; zero points and the ends of the output's codes are the caller's, since all do them alike.
 */
export interface Scheme {
  readonly name: string;
  /** Its arithmetic in a few words. */
  readonly summary: string;
  /** Where it is defined. */
  readonly source: string;
  /** Readies multiplication by factors, one for all values or one a channel; a sentence where the scheme cannot hold one of them. */
  rescaler(factors: readonly Factor[]): Rescale | string;
  /** Readies an addition of two quantized tensors; a sentence where it cannot hold their scales. */
  adder(scales: AddScales): Add | string;
}

/** A real factor as scales come to it, float32 each: schemes compute it in different precision. */
export interface Factor {
  readonly product: readonly number[];
  readonly over: readonly number[];
}

/**
 * Multiplies by the factors and rounds to integers, before any zero point: element i of `values` belongs to channel
 * floor(i / inner) modulo the number of factors. `into` may be `values`.
 */
export type Rescale = (values: Int32Array, inner: number, into: Int32Array) => void;

/** Scales and zero points of both terms and of the sum. */
export interface AddScales {
  readonly a: AffineCode;
  readonly b: AffineCode;
  readonly sum: AffineCode;
  /** Whether one of the codes has 16 bits. */
  readonly wide?: boolean;
}

export interface AffineCode {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Codes of equal length to the codes of their sum, its zero point added; not yet cut to the ends of the codes. */
export type Add = (a: Integers, b: Integers, into: Int32Array) => void;

/** Codes of 8 or 16 bits. */
export type Integers = Uint8Array | Int8Array | Uint16Array | Int16Array;

/** A factor in float64, from left to right. */
export function inDouble({ product, over }: Factor): number {
  return product.reduce((x, y) => x * y, 1) / over.reduce((x, y) => x * y, 1);
}

/** A factor in float32, each step rounded: (x · w) / y, or x / (y · n). */
export function inSingle({ product, over }: Factor): number {
  const single = (values: readonly number[]): number => values.reduce((x, y) => Math.fround(x * y), 1);
  return Math.fround(single(product) / single(over));
}

/** Calls `run` for every stretch of values of one channel. */
export function eachRun(
  length: number,
  inner: number,
  channels: number,
  run: (start: number, end: number, channel: number) => void,
): void {
  if (channels === 1) return run(0, length, 0);
  for (let start = 0, channel = 0; start < length; start += inner) {
    run(start, Math.min(length, start + inner), channel);
    channel = channel + 1 === channels ? 0 : channel + 1;
  }
}

export const int32Max = 2147483647;
export const int32Min = -2147483648;

/** The nearest int32 to a number. */
export function toInt32(value: number): number {
  return value > int32Max ? int32Max : value < int32Min ? int32Min : value;
}

/** float32(value) · scale in float32, halves to even, cut to int32, for a stretch of values. */
export function floatMuls(
  values: Int32Array,
  [start, end]: readonly [number, number],
  scale: number,
  into: Int32Array,
): void {
  // Within int32 the sum with 1.5 · 2^52 rounds to the nearest even integer.
  for (let i = start; i < end; i++)
    into[i] = toInt32(Math.fround(Math.fround(values[i]!) * scale)) + roundingMagic - roundingMagic;
}
