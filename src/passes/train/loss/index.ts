import type { LossKind } from '../kinds.ts';
import { bceKind } from './bce.ts';
import { crossEntropyKind } from './cross_entropy.ts';
import { mseKind } from './mse.ts';

/** What `training: { loss: … }` may name. */
export const lossKinds: readonly LossKind[] = [crossEntropyKind, mseKind, bceKind];
