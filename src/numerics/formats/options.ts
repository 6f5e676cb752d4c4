import * as z from 'zod';
import { scaleRules, type ScaleRule } from './scale.ts';

/** Options that several formats share, each once. */
export const described = (table: Readonly<Record<string, string>>): string =>
  Object.entries(table)
    .map(([name, text]) => `${name}: ${text}`)
    .join('; ');

export const scaleOption = (usual: ScaleRule) =>
  z
    .enum(Object.keys(scaleRules) as [ScaleRule, ...ScaleRule[]])
    .default(usual)
    .meta({ description: `how the scale is chosen; ${described(scaleRules)}` });

export const bitsOption = (least: number, most: number, usual: number) =>
  z.int().min(least).max(most).default(usual).meta({ description: 'bits of a code' });

export const groupOption = (usual: number) =>
  z
    .int()
    .min(1)
    .max(65536)
    .default(usual)
    .meta({ description: 'neighbouring weights of an output that share a scale' });

export const roundingOption = z.enum(['nearest', 'floor', 'stochastic']).default('nearest').meta({
  description:
    'nearest: ties to even; floor: down; stochastic: up with the probability of what is cut off (weights only)',
});
export type Rounding = z.infer<typeof roundingOption>;

export const seedOption = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)
  .default(0)
  .meta({ description: 'of what is drawn by chance' });

export const basesOption = (usual: number) =>
  z.int().min(1).max(8).default(usual).meta({ description: 'signs that are added, M in the paper' });

export const clipOption = (usual: 'max' | 'mse') =>
  z
    .union([z.enum(['max', 'mse']), z.number().positive().max(1e6)])
    .default(usual)
    .meta({
      description: 'where values are clipped; max: at the largest; mse: where the squared error is least; or a number',
    });
export type Clip = 'max' | 'mse' | number;
