import * as z from 'zod';
import { perStep, rateKind, rateOptions } from './rate.ts';

const options = rateOptions({
  T_max: z.int().min(1).meta({ description: 'epochs in which the rate falls to 0' }),
  power: z.number().meta({ description: 'degree of the polynomial' }),
  ...perStep,
});

/** lr · (1 − e / T_max)^power, and 0 from T_max on, where Distiller's would rise again or be no number. */
export const polynomialLr = rateKind<z.infer<typeof options>>({
  classes: ['PolynomialLR'],
  summary: 'the rate falls to 0 along a polynomial',
  source: "Distiller's distiller/learning_rate.py",
  options,
  at: (o, { base, epoch }) => (epoch >= o.T_max ? 0 : base * (1 - epoch / o.T_max) ** o.power),
});
