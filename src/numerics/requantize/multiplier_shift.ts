import { shiftedMuls } from './fixed_point.ts';
import { eachRun, inDouble, toInt32, type Factor, type Rescale, type Scheme } from './scheme.ts';
import { shiftedAdd } from './shifted_add.ts';

/**
 * A factor Q as A / 2^n with A of at most m bits: n = ⌊log2((2^m − 1) / Q)⌋, A = ⌊2^n Q⌋ (Distiller's `scale_approx_mult_bits`). The shift
 * is held to −30..62: below that the factor is nothing.
 */
export function approximated(real: number, bits: number): { readonly multiplier: number; readonly shift: number } {
  if (!(real > 0) || !Number.isFinite(real)) return { multiplier: 0, shift: 1 };
  let shift = Math.floor(Math.log2((2 ** bits - 1) / real));
  // log2 may be off by an ulp: A has m bits, and would not have with one more.
  if (real * 2 ** shift > 2 ** bits - 1) shift--;
  if (real * 2 ** (shift + 1) <= 2 ** bits - 1) shift++;
  shift = Math.min(62, Math.max(-30, shift));
  return { multiplier: Math.floor(real * 2 ** shift), shift };
}

/** What Distiller calls scale approximation, in integers: multiply by A, add half, shift by n: halves up. */
export function multiplierShift(bits: number): Scheme {
  const rescaler = (factors: readonly Factor[]): Rescale => {
    const all = factors.map((factor) => approximated(inDouble(factor), bits));
    return (values, inner, into) =>
      eachRun(values.length, inner, all.length, (start, end, channel) => {
        const { multiplier, shift } = all[channel]!;
        if (shift > 0) shiftedMuls(values, [start, end], [multiplier, shift], into);
        else for (let i = start; i < end; i++) into[i] = toInt32(values[i]! * multiplier * 2 ** -shift);
      });
  };
  return {
    name: `shift-${bits}`,
    summary: `multiplier of ${bits} bits rounded down, one rounding shift, halves up`,
    source: 'IntelLabs/distiller docs-src/docs/algo_quantization.md, scale approximation (scale_approx_mult_bits)',
    rescaler,
    adder: (scales) => shiftedAdd(scales, rescaler),
  };
}
