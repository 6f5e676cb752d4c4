import * as z from 'zod';
import type { Optimizer } from '../../../autodiff/training_graph.ts';
import { add, div, mul, scaled, sub, unary } from '../../../autodiff/writer.ts';
import type { OptimizerKind } from '../kinds.ts';
import { common, decays, withStates, type Decay } from './options.ts';

export interface AdamOptions extends Decay {
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  /** Whether the decay is AdamW's, which is not part of the gradient. */
  readonly decoupled?: boolean;
}

/**
 * m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − lr m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ likewise: as PyTorch's Adam and
 * AdamW. The corrections follow the step t, so they are fed: `step_size` = lr / (1 − β₁ᵗ) and `root` = √(1 − β₂ᵗ).
 * Sources: Kingma and Ba, Adam (2015), algorithm 1; Loshchilov and Hutter, Decoupled weight decay regularization (2019), algorithm 2.
 */
export function adam({ betas = [0.9, 0.999], eps = 1e-8, decoupled = false, ...decay }: AdamOptions = {}): Optimizer {
  const [b1, b2] = betas;
  return {
    slots: ['mean', 'square'],
    scalars: ['lr', 'step_size', 'root'],
    update(w, { parameter, gradient, slots, scalar }) {
      const [mean, square] = slots as [(typeof slots)[0], (typeof slots)[0]];
      const by = decays(decay, parameter);
      const g = by > 0 && !decoupled ? add(w, gradient, scaled(w, parameter, by)) : gradient;
      const m = add(w, scaled(w, mean, b1), scaled(w, g, 1 - b1));
      const v = add(w, scaled(w, square, b2), scaled(w, mul(w, g, g), 1 - b2));
      const deviation = add(w, div(w, unary(w, 'Sqrt', v), scalar('root')), w.scalar(eps));
      const moved = sub(w, parameter, mul(w, div(w, m, deviation), scalar('step_size')));
      const shrink = by > 0 && decoupled ? mul(w, scaled(w, parameter, by), scalar('lr')) : undefined;
      return { parameter: shrink ? sub(w, moved, shrink) : moved, slots: [m, v] };
    },
  };
}

/** What Adam's graph is fed at step t, counted from 1. */
export const adamScalars = (lr: number, t: number, [b1, b2]: readonly [number, number] = [0.9, 0.999]) => ({
  lr,
  step_size: lr / (1 - b1 ** t),
  root: Math.sqrt(1 - b2 ** t),
});

const adamOptions = (weightDecay: number) =>
  z.strictObject({
    ...common(1e-3, weightDecay),
    betas: z
      .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
      .default([0.9, 0.999])
      .meta({ description: 'what is kept of the mean gradient and of its mean square' }),
    eps: z.number().positive().default(1e-8).meta({ description: 'added to the root of the mean square' }),
  });

const kind = (
  name: string,
  decoupled: boolean,
  about: { summary: string; source: string },
): OptimizerKind<z.infer<ReturnType<typeof adamOptions>>> => ({
  name,
  ...about,
  options: adamOptions(decoupled ? 0.01 : 0),
  make: (o) => withStates(o, adam({ ...o, decoupled })),
  scalars: ({ betas }, lr, step) => adamScalars(lr, step, betas),
});

export const adamKind = kind('adam', false, {
  summary: 'steps by the mean of the gradient over the root of its mean square',
  source: 'Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1; torch.optim.Adam',
});
export const adamwKind = kind('adamw', true, {
  summary: 'Adam whose weight decay is no part of the gradient',
  source: 'Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2; torch.optim.AdamW',
});
