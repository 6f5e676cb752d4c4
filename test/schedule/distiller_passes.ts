import * as z from 'zod';
import type { Pass, Section } from '../../src/passes/pass.ts';

const share = z.number().min(0).max(1);
const weights = { weights: z.array(z.string()).min(1) };
const ramp = { initial_sparsity: share, final_sparsity: share };
const ranked = { group_type: z.enum(['Filters', 'Channels', 'Rows', '2D']), group_dependency: z.literal('Leader').optional(), ...weights }; // prettier-ignore

// Passes that take a Distiller class's arguments, as its documentation lists them, and do nothing: the files below stand for
// its language, whatever qtool's own passes make of it.
function fake(
  section: Section,
  name: string,
  shape: z.ZodRawShape,
  key?: string,
  over: 'weights' | 'layers' = 'weights',
): Pass {
  // prettier-ignore
  return {
    name,
    section,
    classes: [name],
    summary: name,
    source: 'test',
    options: z.strictObject(shape),
    selectors: (options) => {
      const value = (options as Record<string, unknown>)[key ?? ''] ?? {};
      const list = Array.isArray(value) ? (value as string[]) : Object.keys(value);
      return list.map((pattern, i) => ({ pattern, path: [key ?? '', Array.isArray(value) ? i : pattern], over }));
    },
    apply: (model) => Promise.resolve({ model, changed: [], skipped: [] }),
  };
}

export const distillerPasses: readonly Pass[] = [
  fake('pruners', 'AutomatedGradualPruner', { ...ramp, ...weights }, 'weights'),
  fake('pruners', 'SparsityLevelParameterPruner', { levels: z.record(z.string(), share) }, 'levels'),
  fake('pruners', 'MagnitudeParameterPruner', { thresholds: z.record(z.string(), z.number()) }, 'thresholds'),
  fake('pruners', 'SensitivityPruner', { sensitivities: z.record(z.string(), z.number()) }, 'sensitivities'),
  fake('pruners', 'L1RankedStructureParameterPruner', { desired_sparsity: share, ...ranked }, 'weights'),
  fake('pruners', 'L1RankedStructureParameterPruner_AGP', { ...ramp, ...ranked }, 'weights'),
  fake('extensions', 'FilterRemover', { thinning_func_str: z.string(), arch: z.string(), dataset: z.string() }),
  fake(
    'quantizers',
    'PostTrainLinearQuantizer',
    {
      bits_activations: z.int().nullable(),
      bits_parameters: z.int().nullable(),
      bits_accum: z.int(),
      mode: z.union([z.string(), z.record(z.string(), z.string())]),
      per_channel_wts: z.boolean(),
      clip_acts: z.enum(['NONE', 'AVG', 'N_STD', 'GAUSS', 'LAPLACE']),
      overrides: z.record(z.string(), z.record(z.string(), z.unknown())),
    },
    'overrides',
    'layers',
  ),
];
