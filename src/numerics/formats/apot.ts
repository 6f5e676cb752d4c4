import * as z from 'zod';
import type { Format } from './format.ts';
import { mirrored } from './minifloat.ts';
import { bitsOption, scaleOption } from './options.ts';
import { fitScale } from './scale.ts';

const options = z.strictObject({ bits: bitsOption(2, 6, 4), scale: scaleOption('mse') });

/** Exponents of each set that one power is taken from, by the bits of a magnitude. */
const sets: readonly (readonly (readonly number[])[])[] = [
  [],
  [[0]],
  [[1, 2, 3]],
  [[1, 2, 4], [3]],
  [
    [1, 3, 5],
    [2, 4, 6],
  ],
  [[1, 3, 6], [2, 4, 7], [5]],
  [
    [1, 4, 7],
    [2, 5, 8],
    [3, 6, 9],
  ],
];

/**
 * Additive powers of two: sums of one element of each of a few sets of powers (each with 0 too), divided by the largest, times a scale. 2^B magnitudes from B
 * bits: evenly spread near the ends, close together near 0. Two bits with sign are −1, 0, 1.
 */
export const apot = {
  name: 'apot',
  summary: 'sums of a few powers of two, 2^b levels times a scale',
  source: 'Li, Dong and Wang 2020, APoT (arXiv 1909.13144); sets as in yhhhli/APoT_Quantization',
  options,
  sharing: () => 'channel',
  bits: ({ bits }) => bits,
  set: ({ bits }, signed) => ({ levels: levels(signed ? bits - 1 : bits, signed) }),
  fit: (values, { scale }, look, set) => fitScale(values, set, scale, look),
} satisfies Format<z.infer<typeof options>>;

function levels(bits: number, signed: boolean): Float32Array {
  let all = [0];
  for (const exponents of sets[bits] ?? []) all = all.flatMap((sum) => [sum, ...exponents.map((e) => sum + 2 ** -e)]);
  const rising = [...new Set(all)].sort((a, b) => a - b);
  return mirrored(
    rising.map((sum) => sum / rising.at(-1)!),
    signed,
  );
}
