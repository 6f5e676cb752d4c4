import type { LrKind } from '../kinds.ts';
import { cosineAnnealingLr } from './cosine.ts';
import { cyclicLr } from './cyclic.ts';
import { exponentialLr } from './exponential.ts';
import { multiStepMultiGammaLr } from './multi_gamma.ts';
import { multiStepLr } from './multi_step.ts';
import { oneCycleLr } from './one_cycle.ts';
import { reduceLrOnPlateau } from './plateau.ts';
import { polynomialLr } from './polynomial.ts';
import { cosineAnnealingWarmRestarts } from './restarts.ts';
import { stepLr } from './step.ts';

/** The classes of `lr_schedulers:`. */
export const lrKinds: readonly LrKind[] = [
  stepLr,
  multiStepLr,
  multiStepMultiGammaLr,
  exponentialLr,
  cosineAnnealingLr,
  cosineAnnealingWarmRestarts,
  cyclicLr,
  oneCycleLr,
  polynomialLr,
  reduceLrOnPlateau,
];
