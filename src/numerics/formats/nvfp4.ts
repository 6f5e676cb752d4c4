import * as z from 'zod';
import { codeOf, nearestGrid } from '../grid.ts';
import type { Format } from './format.ts';
import { magnitudes, mirrored } from './minifloat.ts';
import { groupOption } from './options.ts';
import { largestOf, normalScale } from './scale.ts';

const { fround, max } = Math;

const options = z.strictObject({ block: groupOption(16) });
const e2m1 = magnitudes(2, 1, 1, 'finite');
/** Block scales: E4M3 without 0. */
const scales = nearestGrid(Float32Array.from(magnitudes(4, 3, 7, 'nan').slice(1)));

/**
 * FP4 E2M1 elements; each block of 16 has an E4M3 scale, nearest(largest / 6 / S), and the tensor one scale S = largest of all / (6 · 448). S is
 * kept to 16 significant bits, so that element · block scale · S is exact whatever is multiplied first.
 */
export const nvfp4 = {
  name: 'nvfp4',
  summary: 'blocks of 16 4-bit floating-point numbers with an 8-bit floating-point scale, and one scale for the tensor',
  source: 'NVIDIA, NVFP4 (Transformer Engine and TensorRT documentation, 2025); pytorch/ao, nvfp4_tensor.py',
  options,
  sharing: ({ block }) => ({ group: block }),
  exactScale: true,
  runTimeBlock: ({ block }) => block,
  bits: () => 4,
  set: (_, signed) => ({ levels: mirrored(e2m1, signed) }),
  fit: (values, _, { largest }, set) => {
    const tensor = tensorScale(largest);
    const block = scales.levels[codeOf(scales, largestOf(values) / 6 / tensor)]!;
    return { set, scale: normalScale(block * tensor) };
  },
} satisfies Format<z.infer<typeof options>>;

/** The scale of the whole tensor; never so small that a block's would not be a normal number. */
export function tensorScale(largest: number): number {
  if (largest === 0) return 1;
  const scale = max(largest / (6 * 448), 2 ** -117);
  // Adding and taking away 2^8 + 1 times the number leaves its 16 leading bits (Veltkamp, in float32).
  const wide = fround(fround(scale) * 257);
  return fround(wide - fround(wide - fround(scale)));
}
