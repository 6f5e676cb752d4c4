import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { decibels } from '../../numerics/error.ts';
import { layerMoments, type MomentRequest, type Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';

/**
 * Moments of few inputs fit a rounding to what they happen to be. Where inputs go together it helps all the same, by 10 dB from a tenth as
 * many inputs as an output has weights; where they do not it loses up to 5 dB against rounding to nearest. Which of both it is only
 * inputs can say that the rounding has not seen.
 */

/** How many inputs for each weight of an output are enough: with independent ones less than 1.5 dB is lost from here on. */
const enough = 2;
/** One sample of so many is held out. */
const period = 4;

/** Whether a layer's moments are of so few inputs that roundings by them should be tried on others. */
export const tooFew = ({ count, size }: Moments): boolean => count < enough * size;

/** The same moments without one sample of four, of layers in one pass; undefined where none was left or none was left out. */
export async function withoutHeldOut(
  ctx: PassContext,
  model: Model,
  requests: readonly MomentRequest[],
  all: readonly Moments[],
  samples: number,
): Promise<(Moments | undefined)[]> {
  if (requests.length === 0) return [];
  const some = { capture: leavingOut(ctx), compute: (graph: Model, feeds: Feeds) => ctx.compute(graph, feeds) };
  const most = await layerMoments(some, model, requests, { samples });
  return most.map((one, i) => (one.count === 0 || one.count === all[i]?.count ? undefined : one));
}

/** A capture that leaves out every fourth row of each value, the second first, whatever the batches are. */
function leavingOut(ctx: PassContext): PassContext['capture'] {
  return async function* (model, values, samples) {
    const seen = new Map<string, number>();
    for await (const feeds of ctx.capture(model, values, samples)) {
      const rest: Record<string, Feeds[string]> = {};
      for (const name of values) {
        const { type, dims, data } = feeds[name]!;
        const [rows = 1, ...inner] = dims;
        const before = seen.get(name) ?? 0;
        seen.set(name, before + rows);
        const size = data.length / rows;
        const floats = data as Float32Array;
        const kept = Array.from({ length: rows }, (_, r) => r).filter((r) => (before + r) % period !== 1);
        const some = new Float32Array(kept.length * size);
        for (const [at, r] of kept.entries()) some.set(floats.subarray(r * size, (r + 1) * size), at * size);
        rest[name] = { type, dims: [kept.length, ...inner], data: some };
      }
      yield rest;
    }
  };
}

/** Σ‖(W − W̃)x‖² over the inputs that were held out of `most`: those of `all` less those. */
function heldOutError(errors: Float64Array, all: Moments, most: Moments): number {
  const { groups, size } = all;
  const rows = errors.length / size / groups;
  let sum = 0;
  for (let r = 0; r < rows * groups; r++) {
    const gram = Math.floor(r / rows) * size * size;
    for (let i = 0; i < size; i++) {
      const from = gram + i * size;
      let product = 0;
      for (let j = 0; j < size; j++) product += (all.gram[from + j]! - most.gram[from + j]!) * errors[r * size + j]!;
      sum += product * errors[r * size + i]!;
    }
  }
  return sum;
}

/**
 * Why a rounding by moments is not to be trusted with a layer: made by those of `most` of the inputs it has more error on the n others than
 * rounding to nearest, or less by no more than chance may give, a share of 2/n. Undefined where it is better.
 *
 * @param trial weights as they come out of the rounding by `most`. @param nearest as they come out of rounding to nearest.
 */
export function worseHeldOut(
  weights: Float32Array,
  { trial, nearest }: { readonly trial: ArrayLike<number>; readonly nearest: ArrayLike<number> },
  all: Moments,
  most: Moments,
): string | undefined {
  const errorOf = (values: ArrayLike<number>): number => heldOutError(Float64Array.from(weights, (w, i) => w - values[i]!), all, most); // prettier-ignore
  const [own, other] = [errorOf(trial), errorOf(nearest)];
  const others = all.count - most.count;
  if (own === other || own * (1 + 2 / others) <= other) return undefined;
  const worse = decibels(own, other);
  const found =
    worse > 0
      ? `it had ${worse.toFixed(1)} dB more error on the others`
      : `the ${others} others tell of ${(-worse).toFixed(1)} dB less error, which may be chance`;
  return `it saw ${all.count} inputs, an output has ${all.size} weights, and fitted to most of these inputs ${found}`;
}
