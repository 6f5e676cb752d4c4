import type { Model } from '../../graph/model.ts';
import { edit } from '../../graph/edit.ts';
import { productOf } from '../../graph/ops.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, initializers } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { solveSpd } from '../../numerics/linalg.ts';
import { refitMasked, type RefitProblem } from '../../numerics/masked_refit.ts';
import { portion, type Steps } from '../../util/steps.ts';
import type { Mask } from '../../numerics/sparsity.ts';
import { layerMoments, type Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';
import { eachMatrix, summed, type GramSite } from './columns.ts';

/** A layer of a model that is being pruned front to back: what it gets now, and what it should go on giving. */
export interface RefitLayer {
  readonly usage: GramSite;
  readonly moments: Moments;
  /** The name of its bias, which then takes what the means of its inputs lose; undefined where it has none of its own. */
  readonly bias: string | undefined;
}

/**
 * Moments of a layer's inputs in the model as pruned so far, and what it should reproduce: its output on the inputs of the unpruned
 * model. Summed over the layers that share the weight.
 */
export async function refitLayer(
  ctx: PassContext,
  { current, float }: { readonly current: Model; readonly float: Model },
  usage: GramSite,
  samples: number,
): Promise<RefitLayer> {
  const { dims, data: weights } = usage.site;
  const requests = usage.nodes.map((node) => ({ node, dims, weights, input: node.input[0] as string }));
  // While nothing before it has changed both are the same, and one run is enough.
  const pair = current === float ? { samples } : { samples, reference: float };
  const moments = summed(await layerMoments(ctx, current, requests, pair));
  return { usage, moments, bias: biasOf(current, usage.nodes, moments.groups * moments.rows) };
}

/** A stored float bias that nobody else reads. */
function biasOf(model: Model, nodes: readonly NodeProto[], outputs: number): string | undefined {
  const [node, ...others] = nodes;
  const product = node && productOf(node);
  const name = node?.input[product?.bias ?? -1] ?? '';
  if (!node || others.length > 0 || name === '' || product?.quirk(node) !== undefined) return undefined;
  const tensor = initializers(model.graph).get(name);
  const alone = (consumers(model.graph).get(name) ?? []).length === 1;
  const whole = tensor && typeOf(tensor) === 'float32' && elementCount(dimsOf(tensor)) === outputs;
  return whole && alone ? name : undefined;
}

/**
 * One group's problem: reproduce `own` · x (float) from x̂ (pruned), means taken out where a bias makes up for them. The ridge
 * pulls towards the layer's own weights; `damping` is in units of the mean power of an input.
 */
function problemOf(
  { moments, bias }: RefitLayer,
  own: Float32Array,
  [rows, cols]: readonly [number, number],
  group: number,
  damping: number,
): RefitProblem {
  const { count } = moments;
  const at = group * cols;
  const free = bias !== undefined && count > 0;
  const mean = (sum: number | undefined): number => (free ? (sum as number) / count : 0);
  const hessian = new Float64Array(cols * cols);
  for (let i = 0; i < cols; i++)
    for (let j = 0; j < cols; j++)
      hessian[i * cols + j] = moments.gram[(at + i) * cols + j]! - mean(moments.sum[at + i]) * moments.sum[at + j]!;
  let [power, whole] = [0, 0];
  for (let i = 0; i < cols; i++) {
    power += hessian[i * cols + i]!;
    whole += moments.gram[(at + i) * cols + i]!;
  }
  // Where inputs never vary, the share of the whole power keeps their weights.
  const ridge = Math.max((damping * power) / cols, (1e-9 * whole) / cols, 1e-12 * Math.max(1, count));
  const goal = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++)
    for (let k = 0, out = group * rows + r; k < cols; k++)
      goal[r * cols + k] =
        moments.target[out * cols + k]! -
        mean(moments.targetSum[out]) * moments.sum[at + k]! +
        ridge * own[r * cols + k]!;
  for (let i = 0; i < cols; i++) hessian[i * cols + i] = hessian[i * cols + i]! + ridge;
  return { rows, cols, hessian, goal };
}

/** The weights that solve the problem with no mask at all: what a mask is chosen from. */
function* denseSolution({ rows, cols, hessian, goal }: RefitProblem): Steps<Float32Array> {
  // H is symmetric: W = G H⁻¹ is the transpose of H⁻¹ Gᵀ.
  const turned = Float64Array.from(goal, (_, e) => goal[(e % rows) * cols + Math.floor(e / rows)]!);
  const solved = yield* solveSpd(hessian, cols, turned, rows);
  return Float32Array.from(solved, (_, e) => solved[(e % cols) * rows + Math.floor(e / cols)]!);
}

/** Chooses a mask for weights [rows, cols] that fit what the layer gets now, with the Hessian of their error. */
export type ChooseMask = (
  weights: Float32Array,
  shape: readonly [number, number],
  hessian: Float64Array,
  group: number,
) => Steps<Mask>;

/** The model with one layer pruned by `choose` and everything that is left of it, bias included, refitted by least squares. */
export function* pruneAndRefit(
  model: Model,
  layer: RefitLayer,
  damping: number,
  choose: ChooseMask,
): Steps<{ readonly model: Model; readonly weights: Float32Array }> {
  const { usage, moments, bias } = layer;
  const tensors = initializers(model.graph);
  const old = bias === undefined ? undefined : floatData(tensors.get(bias)!);
  const shifted = old?.slice();
  const weights = yield* eachMatrix(usage, function* (own, shape, group) {
    const [rows, cols] = shape;
    const problem = problemOf(layer, own, shape, group, damping);
    const dense = yield* portion(denseSolution(problem), 0, 0.2);
    const mask = yield* portion(choose(dense, shape, problem.hessian, group), 0.2, 0.4);
    const fitted = Float32Array.from(yield* portion(refitMasked(problem, mask, usage.site.name), 0.4, 1));
    if (shifted && moments.count > 0)
      for (let r = 0; r < rows; r++) {
        const out = group * rows + r;
        let shift = moments.targetSum[out]!;
        for (let k = 0; k < cols; k++) shift -= fitted[r * cols + k]! * moments.sum[group * cols + k]!;
        shifted[out] = shifted[out]! + shift / moments.count;
      }
    return fitted;
  });
  const next = edit(model, (draft) => {
    draft.replace(usage.site.name, makeTensor(usage.site.name, 'float32', usage.site.dims, weights));
    if (shifted && bias !== undefined)
      draft.replace(bias, makeTensor(bias, 'float32', dimsOf(tensors.get(bias)!), shifted));
  });
  return { model: next, weights };
}
