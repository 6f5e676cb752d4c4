import type { Optimizer } from '../../../autodiff/training_graph.ts';
import { add, mul, type Value } from '../../../autodiff/writer.ts';
import { given } from '../../../util/must.ts';

/** Holds every element of a gradient between −bound and bound before the optimizer sees it. */
export const clippedByValue = (inner: Optimizer, bound: number): Optimizer => ({
  ...inner,
  update: (w, a) =>
    inner.update(w, { ...a, gradient: w.op('Clip', [a.gradient, w.scalar(-bound), w.scalar(bound)], a.gradient.dims) }),
});

/**
 * Keeps the running average of each parameter in a slot of its own, `average`, which begins at 0: the fed scalar `average_decay` of
 * `averageDecay()` makes it the average without that 0 after every step.
 */
export const averaged = (inner: Optimizer): Optimizer => ({
  slots: [...inner.slots, 'average'],
  scalars: [...inner.scalars, 'average_decay'],
  update(w, a) {
    const { parameter, slots } = inner.update(w, { ...a, slots: a.slots.slice(0, -1) });
    const decay = a.scalar('average_decay');
    const before = mul(w, given(a.slots.at(-1), 'the slot of the average'), decay);
    return { parameter, slots: [...slots, add(w, before, mul(w, parameter, w.op('Sub', [w.scalar(1), decay], [])))] };
  },
});

/**
 * What `average_decay` is at a step, counted from 1: d (1 − dᵗ⁻¹) / (1 − dᵗ), with which the average is Σ dᵗ⁻ⁱ pᵢ / Σ dᵗ⁻ⁱ, the one that Adam's
 * correction gives (Kingma and Ba 2015, section 3); 0 at the first step.
 */
export const averageDecay = (decay: number, step: number): number =>
  (decay * (1 - decay ** (step - 1))) / (1 - decay ** step);

/**
 * Sums gradients up over several steps and updates by their mean: the fed scalar `apply` is 1 where the step updates, 0 where it only adds;
 * `portion` is one over the number of steps that are summed. Everything inside, its slots and averages, stands still until then. Adam's
 * scalars then count updates, not steps.
 */
export const accumulated = (inner: Optimizer): Optimizer => ({
  slots: [...inner.slots, 'gradients'],
  scalars: [...inner.scalars, 'apply', 'portion'],
  followed: (w, a) =>
    mul(w, add(w, given(a.slots.at(-1), 'the slot of the gradients'), a.gradient), a.scalar('portion')),
  update(w, a) {
    const held = given(a.slots.at(-1), 'the slot of the gradients');
    const gradients = add(w, held, a.gradient);
    const own = a.slots.slice(0, -1);
    const mean = mul(w, gradients, a.scalar('portion'));
    const next = inner.update(w, { ...a, slots: own, gradient: a.shrink ? mul(w, mean, a.shrink) : mean });
    const now = w.op('Greater', [a.scalar('apply'), w.scalar(0.5)], []);
    const choose = (then: Value, otherwise: Value): Value => w.op('Where', [now, then, otherwise], then.dims);
    return {
      parameter: choose(next.parameter, a.parameter),
      slots: [
        ...next.slots.map((slot, i) => choose(slot, given(own[i], 'a slot'))),
        choose(w.filled(held.dims), gradients),
      ],
    };
  },
});

/**
 * What `accumulated` is fed at a step, counted from 1 in its epoch, and the number of the step's update. The last step of an epoch updates by what
 * there is.
 */
export function accumulation(step: number, every: number, steps: number) {
  const apply = step % every === 0 || step === steps;
  return { apply: apply ? 1 : 0, portion: apply && step % every !== 0 ? 1 / (step % every) : 1 / every };
}
