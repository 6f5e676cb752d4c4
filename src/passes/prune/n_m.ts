import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { productOf } from '../../graph/ops.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp } from '../../graph/query.ts';
import { applyMask, nmMask } from '../../numerics/sparsity.ts';
import type { Note, Pass, PassResult } from '../pass.ts';
import { perWeight, prunedResult, pruneSites, weightSelectors, type PruneSite } from './masks.ts';

const pattern = z
  .string()
  .regex(/^\d+:[1-9]\d*$/, { message: 'must be n:m, such as 2:4, which keeps 2 of every 4' })
  .refine((text) => kept(text)[0] <= kept(text)[1], { message: 'cannot keep more than there are' });
const options = z.strictObject({ patterns: perWeight(pattern, "'n:m': n of every m inputs in a row stay") });

export type NmOptions = z.infer<typeof options>;

/**
 * Keeps the n largest magnitudes of every m inputs in a row of each output: along the channels of a Conv at each place of its
 * kernel, along the summed axis of Gemm and MatMul, as hardware with 2:4 kernels wants it.
 */
export const nmPruner: Pass<NmOptions> = {
  name: 'prune/n_m',
  section: 'pruners',
  classes: ['NmPruner'],
  summary: 'keep n of every m consecutive inputs (2:4)',
  source: 'Mishra et al. 2021, Accelerating Sparse Deep Neural Networks (arXiv 2104.08378)',
  options,
  selectors: (o) => weightSelectors('patterns', o.patterns),
  apply,
};

async function apply(model: Model, o: NmOptions): Promise<PassResult> {
  const { sites, skipped, notes } = pruneSites(model, Object.keys(o.patterns));
  const readers = consumers(model.graph);
  const left: Note[] = [];
  const pruned = sites.flatMap((site) => {
    const axes = (readers.get(site.name) ?? []).map((node) => inputAxis(node, site));
    const [axis] = axes;
    if (axis === undefined || axes.some((other) => other !== axis)) {
      const text = `${site.name}: only Conv, Gemm and MatMul, where all readers agree on the axis, say what its inputs are`;
      left.push({ layer: site.layer.node, text });
      return [];
    }
    const [n, m] = kept(o.patterns[site.selector] ?? '1:1');
    return [{ site, data: applyMask(site.data, nmMask(site.data, site.dims, axis, n, m)) }];
  });
  return prunedResult(model, pruned, { skipped: [...skipped, ...left], notes });
}

function kept(text: string): [number, number] {
  return text.split(':').map(Number) as [number, number];
}

/** The axis of a weight that its layer sums over; of a Conv the one of its channels. */
function inputAxis(node: NodeProto, { name, dims }: PruneSite): number | undefined {
  const place = node.input.indexOf(name);
  const product = isOp(node, 'Conv', 'Gemm', 'MatMul') ? productOf(node) : undefined;
  return product?.weights.includes(place) ? product.axes(node, place, dims.length)?.in[0] : undefined;
}
