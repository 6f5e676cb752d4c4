import { floatData } from '../../../graph/tensor.ts';
import { initializers } from '../../../graph/query.ts';
import type { Model } from '../../../graph/model.ts';
import { invertPositive } from './inverse.ts';
import { given } from '../../../util/must.ts';
import { breathing, portion, type Steps } from '../../../util/steps.ts';
import { layerMoments, notFinite, type Moments } from '../../moments.ts';
import type { PassContext } from '../../pass.ts';
import type { Problem } from './eliminate.ts';
import { readRows } from '../../rows.ts';
import type { Site } from './sites.ts';

/** A layer's problems, one a group of it, and the means of its columns ([groups, K]). */
export interface SiteProblem {
  readonly site: Site;
  readonly problems: readonly Problem[];
  readonly means: Float64Array;
}

/** For each site the problem of dropping columns from it as it stands: nothing is lost before the first column goes. Or why there is none. */
export async function siteProblems(
  ctx: PassContext,
  model: Model,
  sites: readonly Site[],
  options: { readonly samples: number; readonly ridge: number },
): Promise<ReadonlyMap<Site, SiteProblem | string>> {
  const stored = initializers(model.graph);
  const requests = sites.map((site) => ({ node: site.node, dims: site.dims, input: site.x }));
  const found = await layerMoments(ctx, model, requests, { samples: options.samples });
  const result = new Map<Site, SiteProblem | string>();
  for (const [i, site] of sites.entries()) {
    const moments = given(found[i], site.layer);
    const tensor = stored.get(site.tensor);
    if (!tensor) continue;
    const own = readRows(site, floatData(tensor));
    const why = notFinite(moments);
    if (why !== undefined) {
      result.set(site, why);
      continue;
    }
    const problems: Problem[] = [];
    for (let g = 0; g < moments.groups; g++)
      problems.push(await breathing(ownProblem(moments, g, own, options.ridge, site.canBias), { signal: ctx.signal }));
    result.set(site, { site, problems, means: moments.sum.map((sum) => sum / moments.count) });
  }
  return result;
}

/** min ‖W₀X − WX‖² + λ‖W − W₀‖², whose solution is W₀ until columns go. */
function* ownProblem(
  moments: Moments,
  group: number,
  own: Float64Array,
  ridge: number,
  centred: boolean,
): Steps<Problem> {
  const { rows, size } = moments;
  const { gram, inverse } = yield* portion(centredGram(moments, group, ridge, centred), 0, 0.5);
  const weights = own.slice(group * rows * size, (group + 1) * rows * size);
  let power = 0;
  for (let r = 0; r < rows; r++) {
    yield 0.5 + (0.5 * r) / rows;
    for (let i = 0; i < size; i++) {
      const w = weights[r * size + i]!;
      if (w === 0) continue;
      let dot = 0;
      for (let j = 0; j < size; j++) dot += gram[i * size + j]! * weights[r * size + j]!;
      power += w * dot;
    }
  }
  return { rows, size, weights, inverse, power: Math.max(power, 1e-12), error: 0 };
}

/**
 * The Gram matrix G of one group's columns, means taken out where the layer may have a bias, with λ and (G + λI)⁻¹. `ridge` is in units
 * of the mean diagonal; λ is never 0, so that columns without data (dead channels) do not spoil the inverse.
 */
export function* centredGram(
  { gram: sums, sum, size, count }: Moments,
  group: number,
  ridge: number,
  centred: boolean,
): Steps<{ readonly gram: Float64Array; readonly lambda: number; readonly inverse: Float64Array }> {
  const gram = new Float64Array(size * size);
  const at = group * size;
  const mean = (i: number): number => (centred ? sum[at + i]! / count : 0);
  let trace = 0;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) gram[i * size + j] = sums[(at + i) * size + j]! - count * mean(i) * mean(j);
    trace += gram[i * size + i]!;
  }
  const lambda = Math.max((ridge * trace) / size, 1e-9 * Math.max(trace / size, 1e-6));
  const ridged = gram.map((v, e) => (e % (size + 1) === 0 ? v + lambda : v));
  return { gram, lambda, inverse: yield* invertPositive(ridged, size) };
}
