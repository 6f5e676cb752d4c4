import type { Optimizer } from '../../../autodiff/training_graph.ts';
import { add, div, mul, scaled, sub, unary } from '../../../autodiff/writer.ts';

export interface AdamOptions {
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weight_decay?: number;
  /** Whether the decay is AdamW's, which is not part of the gradient. */
  readonly decoupled?: boolean;
}

/**
 * m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − lr m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ likewise: as PyTorch's Adam and
 * AdamW. The corrections follow the step t, so they are fed: `step_size` = lr / (1 − β₁ᵗ) and `root` = √(1 − β₂ᵗ).
 * Sources: Kingma and Ba, Adam (2015), algorithm 1; Loshchilov and Hutter, Decoupled weight decay regularization (2019), algorithm 2.
 */
export function adam({
  betas = [0.9, 0.999],
  eps = 1e-8,
  weight_decay = 0,
  decoupled = false,
}: AdamOptions = {}): Optimizer {
  const [b1, b2] = betas;
  return {
    slots: ['mean', 'square'],
    scalars: ['lr', 'step_size', 'root'],
    update(w, { parameter, gradient, slots, scalar }) {
      const [mean, square] = slots as [(typeof slots)[0], (typeof slots)[0]];
      const decays = weight_decay > 0 && parameter.dims.length > 1;
      const g = decays && !decoupled ? add(w, gradient, scaled(w, parameter, weight_decay)) : gradient;
      const m = add(w, scaled(w, mean, b1), scaled(w, g, 1 - b1));
      const v = add(w, scaled(w, square, b2), scaled(w, mul(w, g, g), 1 - b2));
      const deviation = add(w, div(w, unary(w, 'Sqrt', v), scalar('root')), w.scalar(eps));
      const moved = sub(w, parameter, mul(w, div(w, m, deviation), scalar('step_size')));
      const shrink = decays && decoupled ? mul(w, scaled(w, parameter, weight_decay), scalar('lr')) : undefined;
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
