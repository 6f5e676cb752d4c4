import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { AffineFormat } from '../../numerics/affine.ts';
import { dequantize } from '../../numerics/quantize.ts';
import { breathing } from '../../util/steps.ts';
import type { Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';
import { worseHeldOut } from './held_out.ts';
import { weightCodes, type MethodOptions, type WeightCodes, type WeightMethod } from './weight_methods.ts';
import { siteMoments, type SiteMoments } from './weight_moments.ts';

/** The codes of a weight, and how they were found. */
export interface FoundCodes {
  readonly codes: WeightCodes;
  readonly method: WeightMethod;
  /** Why it is not the method that was asked for. */
  readonly why: string | undefined;
}

/** How weights are told apart, and in which format each is held. */
export interface Held {
  readonly keyOf: (site: Layer) => string;
  readonly formatFor: (site: Layer) => AffineFormat;
}

/**
 * The codes of every weight by key, rows being outputs. A weight that several nodes read alike is quantized once. GPTQ by few inputs is tried on others,
 * and left where it is worse than rounding to nearest.
 * @param byRows keys of those that GPTQ is not for.
 */
export async function allCodes(
  model: Model,
  sites: readonly Layer[],
  byRows: ReadonlySet<string>,
  { keyOf, formatFor }: Held,
  o: Omit<MethodOptions, 'format' | 'moments'> & { readonly samples: number },
  ctx: PassContext,
): Promise<Map<string, FoundCodes>> {
  const first = sites.filter((site, i) => sites.findIndex((other) => keyOf(other) === keyOf(site)) === i);
  const found = new Map<string, FoundCodes>();
  const solve = async ({ site, moments: all, most, why: unknown }: SiteMoments): Promise<void> => {
    ctx.signal.throwIfAborted();
    const at = site.weight.tensor.name;
    const progress = (done: number): void => ctx.progress((found.size + done) / first.length, `rounding ${at}`);
    progress(0);
    const own = { ...o, format: formatFor(site) };
    const codesBy = (moments: SiteMoments['moments']): Promise<WeightCodes> =>
      breathing(weightCodes(site.weight, { ...own, moments }), { signal: ctx.signal, progress });
    const why = unknown ?? (all && most && (await overfitted(site, all, most, codesBy)));
    const moments = why === undefined ? all : undefined;
    const codes = await codesBy(moments);
    const method = o.method === 'gptq' && moments === undefined ? 'mse' : o.method;
    found.set(keyOf(site), { codes, method, why });
  };
  // GPTQ of a layer depends on the float model's inputs and its own format: trials of a fallback share it.
  const cacheKey = (site: Layer): string => `gptq ${keyOf(site)}`;
  const open = first.filter((site) => {
    const known = o.method === 'gptq' ? ctx.cache?.get(cacheKey(site)) : undefined;
    if (known !== undefined) found.set(keyOf(site), known as FoundCodes);
    return known === undefined;
  });
  for (const site of first)
    if (o.method !== 'gptq') await solve({ site, moments: undefined });
    else if (byRows.has(keyOf(site))) await solve({ site, moments: undefined, why: 'its rows are looked up too' });
  if (o.method === 'gptq')
    for await (const one of siteMoments(
      ctx,
      model,
      open.filter((site) => !byRows.has(keyOf(site))),
      o.samples,
    )) {
      await solve(one);
      ctx.cache?.set(cacheKey(one.site), found.get(keyOf(one.site)));
    }
  return found;
}

/** Why GPTQ by so few inputs is no good for a weight. */
async function overfitted(
  { weight }: Layer,
  all: Moments,
  most: Moments,
  codesBy: (moments: Moments | undefined) => Promise<WeightCodes>,
): Promise<string | undefined> {
  const { rows, columns } = weight.view();
  const valuesBy = async (moments: Moments | undefined): Promise<Float32Array> => {
    const { codes, params } = await codesBy(moments);
    return dequantize(codes, [rows, columns], params);
  };
  const both = { trial: await valuesBy(most), nearest: await valuesBy(undefined) };
  return worseHeldOut(weight.rows(), both, all, most);
}
