import type { Penalty, TrainingGraph } from '../../autodiff/training_graph.ts';
import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { layerFacts, resolveNames } from '../../graph/names.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import { seedOf, uniform } from '../../util/uniform.ts';
import { floatsOf } from './carry.ts';
import type { Regime } from './kinds.ts';
import type { WeightMask } from './masks.ts';
import { nonZeros } from './step.ts';
import type { EpochRegularizer } from './plan.ts';

/** A weight that a regularizer pulls at. */
export interface RegimeSite {
  readonly weight: string;
  readonly regime: Regime;
  /** The scalar that its strength is fed as. */
  readonly scalar: string;
  readonly instance: string;
  readonly write: Penalty['write'];
  /** Present where the regularizer multiplies the weight by something drawn for a step. */
  readonly drops?: (data: Float32Array, step: number) => Float32Array;
  /** Present where the regularizer zeroes what falls below a threshold. */
  readonly masks?: (data: Float32Array) => Float32Array | undefined;
  /** Whether what is 0 at the end of this epoch stays 0. */
  readonly keeps: boolean;
}

/** The weights of a model that regularizers reach. @throws QtoolError('schedule') for a weight that its groups do not fit. */
export function regimeSites(model: Model, regularizers: readonly EpochRegularizer[]): RegimeSite[] {
  const layers = layerFacts(model);
  const tensors = floatsOf(model);
  return regularizers.flatMap(({ instance, kind, options, keepMask, last }) =>
    kind.regimes(options).flatMap((regime) => {
      const found = resolveNames([regime.weights], layers, 'weights').matches.get(regime.weights) ?? [];
      const names = [...new Set(found.flatMap(({ weights }) => weights))].filter((name) => tensors.has(name));
      return names.map((weight): RegimeSite => {
        const place = [...tensors.keys()].indexOf(weight);
        const { dims, data } = given(tensors.get(weight), weight);
        const problem = kind.refuse?.(dims, regime);
        if (problem !== undefined) throw new QtoolError('schedule', problem, { at: `${instance}, ${weight}` });
        const masks = kind.mask?.(options, data, dims, regime) && ((now: Float32Array) => kind.mask?.(options, now, dims, regime)); // prettier-ignore
        const drops = kind.drop && ((now: Float32Array, step: number) => {
          if (step % (kind.every?.(options) ?? 1) !== 0) return now.map(() => 1);
          return given(kind.drop?.(now, dims, regime, uniform(seedOf(kind.seed?.(options) ?? 0, step, place))), 'what is dropped'); // prettier-ignore
        }); // prettier-ignore
        const write: Penalty['write'] = (w, parameter) => kind.penalty(w, parameter, regime);
        return {
          weight,
          regime,
          scalar: `${instance}_${weight}`,
          instance,
          write,
          keeps: keepMask && last,
          ...(masks && { masks }),
          ...(drops && { drops }),
        };
      });
    }),
  );
}

/** What weights are multiplied by in a step of training, by the graph's inputs. */
export function regimeFactors(sites: readonly RegimeSite[], graph: TrainingGraph, state: Feeds, step: number): Feeds {
  const factors: Record<string, Feeds[string]> = {};
  for (const { weight, drops } of sites) {
    const input = drops && graph.factors.get(weight);
    if (input === undefined) continue;
    const tensor = given(state[must(graph.held, weight, 'the parameter')], weight);
    const drawn = given(drops?.(tensor.data as Float32Array, step), 'what is dropped');
    const before = factors[input]?.data as Float32Array | undefined;
    factors[input] = { ...tensor, data: before ? drawn.map((v, i) => v * before[i]!) : drawn };
  }
  return factors;
}

/** A state with what has fallen below a threshold zeroed: it acts once, and what the next step's gradient brings back may stay, as in Distiller. */
export function thresholded(sites: readonly RegimeSite[], graph: TrainingGraph, state: Feeds): Feeds {
  const next: Record<string, Feeds[string]> = { ...state };
  for (const { weight, masks } of sites) {
    const input = graph.held.get(weight) ?? '';
    const tensor = next[input];
    const mask = tensor && masks?.(tensor.data as Float32Array);
    if (mask) next[input] = { ...tensor, data: (tensor.data as Float32Array).map((v, i) => v * mask[i]!) };
  }
  return next;
}

/** The masks that regularizers with `keep_mask` leave at the end of their last epoch. */
export function keptMasks(sites: readonly RegimeSite[], graph: TrainingGraph, state: Feeds): Map<string, WeightMask> {
  const found = new Map<string, WeightMask>();
  for (const { weight, masks, keeps, instance } of sites) {
    const data = state[graph.held.get(weight) ?? '']?.data as Float32Array | undefined;
    if (data && masks && keeps) found.set(weight, { data: nonZeros(data), how: {}, instance });
  }
  return found;
}
