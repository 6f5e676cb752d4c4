import * as z from 'zod';
import type { Model } from '../../../graph/model.ts';
import { blockMask } from '../../../numerics/sparsity.ts';
import { QtoolError } from '../../../util/error.ts';
import type { PassResult } from '../../pass.ts';
import { pruneEach, type PruneSite } from '../masks.ts';

/** Distiller's block_shape: filters × channels × 1 × 1. Its pruner takes no others either. */
export const blockShape = z.tuple([z.int().min(1), z.int().min(1), z.literal(1), z.literal(1)]);

interface BlockOptions {
  readonly weights: readonly string[];
  readonly kwargs?: { readonly block_shape: z.infer<typeof blockShape> } | null | undefined;
}

/**
 * Zeros the blocks of least norm in each convolution's weight [filters, channels, kh, kw]: `channels` of them in a row at one
 * place of the kernel, of so many filters. The layer's outputs stay, so nothing can be cut afterwards.
 */
export function zeroBlocks(model: Model, o: BlockOptions, sparsity: number, norm: 'l1' | 'l2'): PassResult {
  const [repetitions, depth] = o.kwargs?.block_shape ?? [1, 1];
  const maskOf = ({ data, dims, name, layer }: PruneSite) => {
    const [filters = 0, channels = 0] = dims;
    // As Distiller: filters and channels count as one axis, unless a block is one channel deep.
    const rows = depth > 1 ? filters * channels : filters;
    const height = repetitions * depth;
    if (dims.length !== 4 || rows % height !== 0)
      throw new QtoolError(
        'schedule',
        `${name} [${dims.join(', ')}] is not made of blocks of ${repetitions} × ${depth}`,
        {
          at: layer.node,
          hint: 'blocks are of weights of 2-D convolutions, whose filters times channels they must divide',
        },
      );
    const columns = data.length / rows;
    const blocks = (rows / height) * columns;
    const share = Math.floor(Number((sparsity * blocks).toFixed(9))) / blocks;
    return blockMask(data, [rows, columns], [height, 1], share, norm);
  };
  const result = pruneEach(model, o.weights, maskOf);
  const text = `sparsity ${sparsity.toFixed(4)} of each weight's blocks of ${repetitions} × ${depth}`;
  return { ...result, notes: [...(result.notes ?? []), text] };
}
