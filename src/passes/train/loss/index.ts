import * as z from 'zod';
import type { LossKind } from '../kinds.ts';
import { crossEntropy, rowsInput, sharesInput } from './cross_entropy.ts';
export const lossKinds: readonly LossKind[] = [{ name: 'cross_entropy', summary: '', source: '', options: z.strictObject({ logits: z.boolean().default(true) }), make: (o) => crossEntropy(o as never),
  feeds(_o, batch, outputs) {
    const classes = [...outputs.values()][0]!.at(-1)!;
    const shares = new Float32Array(batch.size * classes); const rows = new Float32Array(batch.size);
    batch.targets.forEach((t, i) => { shares[i * classes + t!.label![0]!] = 1; rows[i] = 1; });
    return { [sharesInput]: { type: 'float32', dims: [batch.size, classes], data: shares }, [rowsInput]: { type: 'float32', dims: [batch.size, 1], data: rows } };
  } }];
