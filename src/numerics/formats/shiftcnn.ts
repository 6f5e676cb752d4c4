import * as z from 'zod';
import type { Format } from './format.ts';
import { scaleToLargest } from './scale.ts';

const options = z.strictObject({
  terms: z.int().min(1).max(4).default(2).meta({ description: 'powers of two that are added: N in the paper' }),
  bits: z.int().min(2).max(4).default(4).meta({ description: 'bits of a term’s code: B in the paper' }),
});

/**
 * Σ of N terms, the n-th from {0, ±2^(1−n), ±2^−n, … } of 2^B − 1 entries, times the largest magnitude; what is above 1 is left out, since nothing becomes it.
 * To the nearest sum: the paper's search takes the nearest power of each rest in turn, which is the same or a little worse.
 */
export const shiftcnn = {
  name: 'shiftcnn',
  summary: 'sums of N powers of two',
  source: 'Gudovskiy and Rigazio 2017, ShiftCNN (arXiv 1706.02393)',
  options,
  sharing: () => 'tensor',
  notActivations: 'it is a format of weights; log2 is the like for activations',
  bits: ({ terms, bits }) => terms * bits,
  set: ({ terms, bits }) => ({ levels: sums(terms, 2 ** (bits - 1) - 1) }),
  fit: (values, _, __, set) => ({ set, scale: scaleToLargest(values, set) }),
} satisfies Format<z.infer<typeof options>>;

function sums(terms: number, magnitudes: number): Float32Array {
  let all = new Set([0]);
  for (let n = 1; n <= terms; n++) {
    const powers = Array.from({ length: magnitudes }, (_, i) => 2 ** (1 - n - i));
    const next = new Set(all);
    for (const sum of all) for (const p of powers) next.add(sum + p).add(sum - p);
    all = next;
  }
  return Float32Array.from([...all].filter((sum) => Math.abs(sum) <= 1)).sort();
}
