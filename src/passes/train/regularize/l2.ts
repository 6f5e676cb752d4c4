import type * as z from 'zod';
import { mul, scaled, sum } from '../../../autodiff/writer.ts';
import type { RegularizerKind } from '../kinds.ts';
import { elementMask, plainRegimes, strengths } from './groups.ts';

/** Σ w²; its gradient is 2w: twice what an optimizer's weight decay of the same strength adds. */
export const l2Regularizer: RegularizerKind<z.infer<typeof strengths>> = {
  classes: ['L2Regularizer'],
  summary: 'pulls weights towards 0 by their sum of squares',
  source: "Hoerl and Kennard 1970, Ridge regression; Distiller's page on regularization",
  options: strengths,
  regimes: plainRegimes,
  penalty: (w, weight) => ({
    penalty: sum(w, mul(w, weight, weight), [...weight.dims.keys()]),
    gradient: scaled(w, weight, 2),
  }),
  mask: (o, weight, _, { strength }) => (o.threshold_criteria ? elementMask(weight, strength) : undefined),
};
