import type * as z from 'zod';
import { sum, unary } from '../../../autodiff/writer.ts';
import type { RegularizerKind } from '../kinds.ts';
import { elementMask, plainRegimes, strengths } from './groups.ts';

/** Σ |w|; its gradient is the sign, 0 at 0. */
export const l1Regularizer: RegularizerKind<z.infer<typeof strengths>> = {
  classes: ['L1Regularizer'],
  summary: 'pulls weights towards 0 by their sum of magnitudes',
  source: 'Tibshirani 1996, Regression shrinkage and selection via the lasso; Distiller',
  options: strengths,
  regimes: plainRegimes,
  penalty: (w, weight) => ({
    penalty: sum(w, unary(w, 'Abs', weight), [...weight.dims.keys()]),
    gradient: unary(w, 'Sign', weight),
  }),
  mask: (o, weight, _, { strength }) => (o.threshold_criteria ? elementMask(weight, strength) : undefined),
};
