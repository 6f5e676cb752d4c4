import * as z from 'zod';
import { anyPass } from '../../src/passes/pass.ts';
import type { Pass } from '../../src/passes/pass.ts';

const share = z.number().min(0).max(1);

// Passes that do nothing but take options: the schedule's language is tested without any algorithm.
const apply: Pass['apply'] = (model) => Promise.resolve({ model, changed: [], skipped: [] });

const level: Pass<{ levels: Record<string, number> }> = {
  name: 'prune/level',
  section: 'pruners',
  classes: ['LevelPruner', 'SparsityLevelParameterPruner'],
  summary: 'zero the smallest',
  source: 'test',
  options: z.strictObject({ levels: z.record(z.string(), share) }),
  selectors: ({ levels }) =>
    Object.keys(levels).map((pattern) => ({ pattern, path: ['levels', pattern], over: 'weights' })),
  apply,
};

const agp: Pass<{ initial_sparsity: number; final_sparsity: number; weights: string[] }> = {
  name: 'prune/agp',
  section: 'pruners',
  classes: ['GradualPruner', 'AutomatedGradualPruner'],
  summary: 'ramp',
  source: 'test',
  options: z.strictObject({ initial_sparsity: share, final_sparsity: share, weights: z.array(z.string()) }),
  selectors: ({ weights }) => weights.map((pattern, i) => ({ pattern, path: ['weights', i], over: 'weights' })),
  apply,
};

const ptq: Pass<{
  bits_weights: number;
  overrides?: Record<string, { bits_weights?: number | undefined }> | undefined;
}> = {
  name: 'quantize/static',
  section: 'quantizers',
  classes: ['StaticQuantizer', 'PostTrainLinearQuantizer'],
  summary: 'quantize',
  source: 'test',
  options: z.strictObject({
    bits_weights: z.int().min(2).max(16).default(8),
    overrides: z.record(z.string(), z.strictObject({ bits_weights: z.int().optional() })).optional(),
  }),
  selectors: ({ overrides = {} }) =>
    Object.keys(overrides).map((pattern) => ({ pattern, path: ['overrides', pattern], over: 'layers' })),
  apply,
};

const remover: Pass<{ thinning_func_str?: string | undefined }> = {
  name: 'prune/remove',
  section: 'extensions',
  classes: ['FilterRemover'],
  summary: 'remove',
  source: 'test',
  options: z.strictObject({
    thinning_func_str: z.string().optional(),
    arch: z.string().optional(),
    dataset: z.string().optional(),
  }),
  apply,
};

const allocator: Pass<{ budget: { weights: number } }> = {
  name: 'allocate/sqnr',
  section: 'allocators',
  classes: ['SqnrAllocator'],
  summary: 'bits',
  source: 'test',
  options: z.strictObject({ budget: z.strictObject({ weights: z.number() }) }),
  apply,
};

const packer: Pass<Record<string, never>> = {
  name: 'encode/encode',
  section: 'extensions',
  classes: ['WeightEncoder'],
  summary: 'pack',
  source: 'test',
  options: z.strictObject({}),
  closes: 'packs the weights',
  apply,
};

export const fakePasses: readonly Pass[] = [
  anyPass(level),
  anyPass(agp),
  anyPass(ptq),
  anyPass(remover),
  anyPass(allocator),
  anyPass(packer),
];
