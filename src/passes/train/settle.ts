import type { TrainingGraph } from '../../autodiff/training_graph.ts';
import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { given, must } from '../../util/must.ts';
import { withWeights as withTensors } from '../prune/masks.ts';
import { floatsOf } from './carry.ts';
import type { WeightMask } from './masks.ts';
import type { EpochPlan } from './plan.ts';
import { nonZeros } from './step.ts';

/** Parameters and running statistics of a state, by their name in the model. */
const heldOf = (graph: TrainingGraph, state: Feeds): Map<string, Float32Array> =>
  new Map([...graph.held].flatMap(([name, input]) => { const data = state[input]?.data as Float32Array | undefined; return data ? [[name, data]] : []; })); // prettier-ignore

/** The optimizer's slots of each parameter. */
export const slotsOf = (graph: TrainingGraph, state: Feeds): Map<string, readonly Float32Array[]> =>
  new Map([...graph.slots].map(([name, slots]) => [name, slots.map((slot) => given(state[slot], slot).data as Float32Array)])); // prettier-ignore

/** The model with the weights and running statistics of a state. */
export const withState = (model: Model, graph: TrainingGraph, state: Feeds): Model =>
  withTensors(model, heldOf(graph, state));

/**
 * The end of an epoch: masks of policies that end go, or are put on the weights for good.
 * @param average place of the running average among the optimizer's slots; −1: there is none.
 * @returns the weights as training goes on from them, and those of the epoch's model: their averages, with zeros where they are.
 */
export function settled(
  model: Model,
  plan: EpochPlan,
  masks: ReadonlyMap<string, WeightMask>,
  { graph, state, average }: { readonly graph: TrainingGraph; readonly state: Feeds; readonly average: number },
) {
  const own = heldOf(graph, state);
  const shown = new Map(own);
  if (average >= 0)
    for (const [name, slots] of slotsOf(graph, state)) shown.set(name, given(slots[average], 'the average'));
  const stored = floatsOf(model);
  const kept = new Map<string, WeightMask>();
  for (const [name, mask] of masks) {
    if (mask.how.forwardOnly === true) {
      const policy = plan.policies.find(({ instance }) => instance === mask.instance);
      const ends = policy !== undefined && plan.epoch + policy.clock.frequency >= policy.clock.end;
      if (!ends) kept.set(name, mask);
      if (policy?.args.keep_mask !== true || !ends) continue;
    }
    // A masked weight that is not trained is in the model alone, and mostly has its zeros already.
    const frozen = own.has(name) ? undefined : must(stored, name, 'the masked weight').data;
    const done = frozen?.every((v, i) => v === 0 || mask.data[i] !== 0) === true;
    for (const weights of done ? [] : [own, shown]) {
      const data = frozen ?? given(weights.get(name), name);
      weights.set(name, data.map((v, i) => (mask.data[i] === 0 ? 0 : v))); // prettier-ignore
    }
    kept.set(name, mask.how.forwardOnly === true ? { ...mask, data: nonZeros(mask.data), how: {} } : mask);
  }
  return { masks: kept, own, shown, model: withTensors(model, shown) };
}
