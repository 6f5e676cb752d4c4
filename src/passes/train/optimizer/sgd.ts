import type { Optimizer } from '../../../autodiff/training_graph.ts';
import { add, mul, scaled, sub } from '../../../autodiff/writer.ts';

export interface SgdOptions {
  readonly momentum?: number;
  readonly nesterov?: boolean;
  /** Pulls every parameter of two and more dimensions towards 0: λ p is added to its gradient. */
  readonly weight_decay?: number;
}

/**
 * g ← g + λ p; v ← μ v + g; p ← p − lr v, or p − lr (g + μ v) with Nesterov's momentum: as PyTorch's SGD.
 * Source: Sutskever et al., On the importance of initialization and momentum in deep learning (2013).
 */
export function sgd({ momentum = 0, nesterov = false, weight_decay = 0 }: SgdOptions = {}): Optimizer {
  return {
    slots: momentum > 0 ? ['momentum'] : [],
    scalars: ['lr'],
    update(w, { parameter, gradient, slots: [velocity], scalar }) {
      const decays = weight_decay > 0 && parameter.dims.length > 1;
      const g = decays ? add(w, gradient, scaled(w, parameter, weight_decay)) : gradient;
      const v = velocity ? add(w, scaled(w, velocity, momentum), g) : g;
      const step = velocity && nesterov ? add(w, g, scaled(w, v, momentum)) : v;
      return { parameter: sub(w, parameter, mul(w, step, scalar('lr'))), slots: velocity ? [v] : [] };
    },
  };
}
