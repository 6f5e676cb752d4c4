import * as z from 'zod';
import type { Optimizer } from '../../../autodiff/training_graph.ts';
import { add, mul, scaled, sub } from '../../../autodiff/writer.ts';
import type { OptimizerKind } from '../kinds.ts';
import { common, decays, withStates, type Decay } from './options.ts';

export interface SgdOptions extends Decay {
  readonly momentum?: number;
  readonly nesterov?: boolean;
}

/**
 * g ← g + λ p; v ← μ v + g; p ← p − lr v, or p − lr (g + μ v) with Nesterov's momentum: as PyTorch's SGD.
 * Source: Sutskever et al., On the importance of initialization and momentum in deep learning (2013).
 */
export function sgd({ momentum = 0, nesterov = false, ...decay }: SgdOptions = {}): Optimizer {
  return {
    slots: momentum > 0 ? ['momentum'] : [],
    scalars: ['lr'],
    update(w, { parameter, gradient, slots: [velocity], scalar }) {
      const by = decays(decay, parameter);
      const g = by > 0 ? add(w, gradient, scaled(w, parameter, by)) : gradient;
      const v = velocity ? add(w, scaled(w, velocity, momentum), g) : g;
      const step = velocity && nesterov ? add(w, g, scaled(w, v, momentum)) : v;
      return { parameter: sub(w, parameter, mul(w, step, scalar('lr'))), slots: velocity ? [v] : [] };
    },
  };
}

const options = z
  .strictObject({
    ...common(0.01, 0),
    momentum: z.number().min(0).lt(1).default(0).meta({ description: 'share of the last step that is taken again' }),
    nesterov: z.boolean().default(false).meta({ description: "Nesterov's momentum" }),
  })
  .refine(({ momentum, nesterov }) => !nesterov || momentum > 0, {
    message: "Nesterov's momentum needs a momentum above 0",
    path: ['nesterov'],
  });

export const sgdKind: OptimizerKind<z.infer<typeof options>> = {
  name: 'sgd',
  summary: 'stochastic gradient descent, with momentum where it is given',
  source: 'Sutskever et al. 2013, On the importance of initialization and momentum in deep learning; torch.optim.SGD',
  options,
  make: (o) => withStates(o, sgd(o)),
  scalars: (_, lr) => ({ lr }),
};
