import * as z from 'zod';
import type { OptimizerKind } from '../kinds.ts';
import { sgd } from './sgd.ts';
const options = z.strictObject({ lr: z.number().default(0.01), momentum: z.number().default(0.9), nesterov: z.boolean().default(false), weight_decay: z.number().default(1e-4) });
export const optimizerKinds: readonly OptimizerKind[] = [{ name: 'sgd', summary: '', source: '', options, make: (o) => sgd(o as never), scalars: (_o, lr) => ({ lr }) }];
