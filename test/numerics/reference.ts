import { decibels, errorSums } from '../../src/numerics/error.ts';
import type { QuantParams } from '../../src/numerics/format.ts';
import { dequantize, quantize } from '../../src/numerics/quantize.ts';

// What tests compare with: the textbook forms, which the tool itself has no use for.

const { abs, floor, log10, pow } = Math;
type Floats = Float32Array | Float64Array;

/** Signal-to-quantization-noise ratio in dB: 10·log10(Σx² / Σ(x−y)²). */
export function sqnr(reference: Floats, approximation: Floats): number {
  const { signal, noise } = errorSums(reference, approximation);
  return decibels(signal, noise);
}

/** Mean squared error. 0 for empty tensors. */
export function mse(reference: Floats, approximation: Floats): number {
  const { count, noise } = errorSums(reference, approximation);
  return count === 0 ? 0 : noise / count;
}

/** Mean of |x − y|^p. 0 for empty tensors. */
export function lpError(reference: Floats, approximation: Floats, p: number): number {
  let sum = 0;
  for (let i = 0; i < reference.length; i++) {
    sum += pow(abs((reference[i] as number) - (approximation[i] as number)), p);
  }
  return reference.length === 0 ? 0 : sum / reference.length;
}

/**
 * Lin, Talathi and Annapureddy's closed form (ICML 2016): bits that reach the SQNR `target` (dB) at least Σ ρ·β, all layers having
 * the same κ and sensitivity 1. β_i = −(10/κ)·log10(ρ_i·10^(−target/10) / Σρ), hence β_i − β_j = (10/κ)·log10(ρ_j/ρ_i). Reals.
 */
export function closedFormBits(costs: readonly number[], target: number, slope: number): number[] {
  const total = costs.reduce((a, b) => a + b, 0);
  return costs.map((c) => (-10 / slope) * log10((c * pow(10, -target / 10)) / total));
}

/** `counts` merged into `levels` and spread back evenly over each level's non-empty bins: the Q of the method, unnormalized. */
export function expandLevels(counts: ArrayLike<number>, levels: number): number[] {
  const n = counts.length;
  const out = new Array<number>(n).fill(0);
  for (let l = 0; l < levels; l++) {
    const start = floor((l * n) / levels);
    const end = floor(((l + 1) * n) / levels);
    let mass = 0;
    let bins = 0;
    for (let b = start; b < end; b++) {
      mass += counts[b] as number;
      if (counts[b] !== 0) bins++;
    }
    for (let b = start; b < end; b++) if (counts[b] !== 0) out[b] = mass / bins;
  }
  return out;
}

/** The first `count` codes of `packed`; signed ones are sign-extended. @throws QtoolError `model` if there are too few bytes. */
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: false): Uint8Array;
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: true): Int8Array;
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: boolean): Int8Array | Uint8Array;
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: boolean): Int8Array | Uint8Array {
  const codes = signed ? new Int8Array(count) : new Uint8Array(count);
  const high = signed ? 32 - bits : 0;
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  for (let i = 0; i < count; i++) {
    const byte = packed[(i / perByte) | 0] as number;
    const code = (byte >> ((i % perByte) * bits)) & mask;
    codes[i] = (code << high) >> high;
  }
  return codes;
}

/** The numbers that the codes stand for. */
export const fakeQuantize = (data: Float32Array, dims: readonly number[], params: QuantParams): Float32Array =>
  dequantize(quantize(data, dims, params), dims, params);
