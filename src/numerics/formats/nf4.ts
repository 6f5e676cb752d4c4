import * as z from 'zod';
import { normalTail, rootOf } from '../special.ts';
import type { Format } from './format.ts';
import { groupOption } from './options.ts';
import { scaleToLargest } from './scale.ts';

const { fround } = Math;

const options = z.strictObject({ block: groupOption(64) });

/**
 * NormalFloat: the quantiles of a normal distribution at 8 probabilities from the outermost to ½ above 0 and 7 below, and 0, divided by the largest.
 * The scale is the largest magnitude of the block.
 */
export const nf4 = {
  name: 'nf4',
  summary: '16 quantiles of a normal distribution, times the largest magnitude of each block of 64',
  source: 'Dettmers et al. 2023, QLoRA (arXiv 2305.14314), appendix E',
  options,
  sharing: ({ block }) => ({ group: block }),
  notActivations: 'its levels are for weights, normally distributed about 0; hwgq is the like for activations',
  bits: () => 4,
  set: () => ({ levels: levels() }),
  fit: (values, _, __, set) => ({ set, scale: scaleToLargest(values, set) }),
} satisfies Format<z.infer<typeof options>>;

/** The outermost probability: the mean of 1 − 1/32 and 1 − 1/30, to the digits that the published table was made with. */
const outermost = 0.9677083;

function levels(): Float32Array {
  const positive = quantiles(8);
  const largest = fround(positive[0]!);
  const all = [...quantiles(7).map((q) => -q), 0, ...positive.reverse()];
  return Float32Array.from(all, (q) => fround(q) / largest);
}

/**
 * Normal quantiles at n probabilities, evenly from the outermost towards ½, which is not among them. In float32 and from the nearer end, as the published
 * table was made: its second level shows the difference.
 */
function quantiles(n: number): number[] {
  const start = fround(outermost);
  const step = fround((0.5 - start) / n);
  return Array.from({ length: n }, (_, i) => {
    const p = fround(i < (n + 1) / 2 ? start + fround(step * i) : 0.5 - fround(step * (n - i)));
    return rootOf((x) => 1 - p - normalTail(x), 0, 8);
  });
}
