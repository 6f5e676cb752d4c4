import * as z from 'zod';
import { rateKind, rateOptions } from './rate.ts';

const options = rateOptions({
  milestones: z.array(z.int().min(0)).min(1).meta({ description: 'epochs at which the rate changes' }),
  gammas: z.array(z.number()).min(1).meta({ description: 'factor at each' }),
}).refine(({ milestones, gammas }) => milestones.length === gammas.length, {
  message: 'as many gammas as milestones are needed',
  path: ['gammas'],
});

/** lr · Π γᵢ of the milestones reached */
export const multiStepMultiGammaLr = rateKind<z.infer<typeof options>>({
  classes: ['MultiStepMultiGammaLR'],
  summary: 'the rate times a factor of its own at each milestone',
  source: "Distiller's distiller/learning_rate.py",
  options,
  at: (o, { base, epoch }) => o.gammas.reduce((rate, gamma, i) => (o.milestones[i]! <= epoch ? rate * gamma : rate), base), // prettier-ignore
});
