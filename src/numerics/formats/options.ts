import * as z from 'zod';
import { scaleRules, type ScaleRule } from './scale.ts';

/** Options that several formats share, each once. */
const described = (table: Readonly<Record<string, string>>): string =>
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
