import * as z from 'zod';
import { add, mul } from '../../../autodiff/writer.ts';
import { bind } from '../../../numerics/formats/bind.ts';
import { inq as format } from '../../../numerics/formats/inq.ts';
import { formatCodes } from '../../../numerics/formats/apply.ts';
import { learningKind, binaryOptions } from './kind.ts';
import { lsq } from './lsq.ts';
import { commonSteps, type Method, type WeightRounder } from './surrogate.ts';

/**
 * y = w where a weight is free, else the power of two that it was given; dw = dy where it is free. When an epoch begins, the largest of the free weights are given
 * theirs until the portion of the epoch has one; all have it in the file.
 * @param portions shares of the weights that are powers of two, rising to 1, at evenly spaced epochs; the last one when training is over.
 */
function powersOfTwo(bits: number, portions: readonly number[]): WeightRounder {
  const bound = bind(format, { bits });
  const rounded = (data: Float32Array): Float32Array => formatCodes(bound, { data, rows: 1, columns: data.length, kernel: [] }, {}).values; // prettier-ignore
  return {
    label: bound.label,
    keeps: ({ data, dims }) => [
      { name: 'free', dims, first: data.map(() => 1) },
      { name: 'given', dims, first: data.map(() => 0) },
    ],
    found: {
      names: ['free', 'given'],
      each: 'epoch',
      find({ data }, kept, done) {
        const [free, given] = [kept('free').slice(), kept('given').slice()];
        const now = data.map((w, i) => (free[i] === 1 ? w : given[i]!));
        const place = done >= 1 ? portions.length - 1 : Math.floor(done * (portions.length - 1));
        const wanted = Math.round(portions[place]! * data.length);
        const open = [...data.keys()].filter((i) => free[i] === 1).sort((a, b) => Math.abs(now[b]!) - Math.abs(now[a]!) || a - b); // prettier-ignore
        const values = rounded(now);
        for (const i of open.slice(0, Math.max(0, wanted - (data.length - open.length)))) {
          free[i] = 0;
          given[i] = values[i]!;
        }
        return new Map([
          ['free', free],
          ['given', given],
        ]);
      },
    },
    step: (facts, kept) => commonSteps(facts, kept('given')),
    write(w, x, kept) {
      const free = kept('free');
      return {
        y: add(w, mul(w, x, free), kept('given')),
        surrogate: { inputs: [x.name], gradient: (w, dy) => [mul(w, dy, free)] },
      };
    },
  };
}

/** Zhou et al. 2017, INQ (arXiv 1702.03044). */
const inq = ({ portions }: { readonly portions: readonly number[] }): Method => ({
  refuse: (bits) => (bits < 2 || bits > 7 ? 'INQ has 2 to 7 bits' : undefined),
  weights: (bits) => powersOfTwo(bits, portions),
  activations: (bits, facts) => lsq.activations(bits, facts),
});

const rising = (list: readonly number[]): boolean => list.every((v, i) => v > (list[i - 1] ?? 0)) && list.at(-1) === 1;

export const inqQuantizer = learningKind({
  name: 'train/surrogate/inq',
  classes: ['INQQuantizer'],
  summary: 'weights become powers of two by portions, the largest first, while the others learn to make up for them',
  source: 'Zhou et al. 2017, Incremental Network Quantization (arXiv 1702.03044)',
  options: z.strictObject({
    ...binaryOptions,
    bits_weights: binaryOptions.bits_weights.default(5),
    portions: z.array(z.number().gt(0).max(1)).min(2).refine(rising, { message: 'shares that rise, the last of them 1' }).default([0.5, 0.75, 0.875, 1]).meta({ description: 'shares of the weights that are powers of two, at evenly spaced epochs; the last when training ends' }), // prettier-ignore
  }),
  method: (o) => inq(o),
});
