import type { OptimizerKind } from '../kinds.ts';
import { adamKind, adamwKind } from './adam.ts';
import { sgdKind } from './sgd.ts';

/** What `training: { optimizer: … }` may name. */
export const optimizerKinds: readonly OptimizerKind[] = [sgdKind, adamKind, adamwKind];
