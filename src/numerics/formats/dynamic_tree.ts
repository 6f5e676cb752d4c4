import * as z from 'zod';
import type { Format } from './format.ts';
import { mirrored } from './minifloat.ts';
import { groupOption } from './options.ts';
import { scaleToLargest } from './scale.ts';

const options = z.strictObject({ block: groupOption(256) });

/**
 * Dynamic tree quantization in 8 bits: seven decades, 10^−6 … 1, decade i cut into 2^i equal parts of [0.1, 1] (2^(i+1) without sign) whose midpoints are the
 * levels, both signs; and 0 and 1. Fine near 1, and still some levels six decades below. The scale is the block's largest magnitude.
 */
export const dynamicTree = {
  name: 'dynamic_tree',
  summary: '256 levels over seven decades, times the largest magnitude of each block of 256',
  source: 'Dettmers 2015 (arXiv 1511.04561); Dettmers et al. 2022 (2110.02861); the decimal map of bitsandbytes',
  options,
  sharing: ({ block }) => ({ group: block }),
  bits: () => 8,
  set: (_, signed) => ({ levels: dynamicMap(signed) }),
  fit: (values, _, __, set) => ({ set, scale: scaleToLargest(values, set) }),
} satisfies Format<z.infer<typeof options>>;

function dynamicMap(signed: boolean): Float32Array {
  const rising: number[] = [0];
  for (let i = 0; i < 7; i++) {
    const parts = 2 ** (signed ? i : i + 1);
    for (let p = 0; p < parts; p++) rising.push((0.1 + (0.9 * (p + 0.5)) / parts) * 10 ** (i - 6));
  }
  return Float32Array.of(...mirrored(rising, signed), 1);
}
