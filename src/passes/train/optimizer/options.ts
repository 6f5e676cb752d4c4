import * as z from 'zod';
import type { Optimizer } from '../../../autodiff/training_graph.ts';
import type { Value } from '../../../autodiff/writer.ts';
import { eightBit } from './eight_bit.ts';

export interface Decay {
  /** Pulls parameters towards 0. */
  readonly weight_decay?: number;
  /** Biases and the factors of normalizations too, as PyTorch does; else only parameters of two and more dimensions. */
  readonly decay_all?: boolean;
}

/** How strongly a parameter decays. */
export const decays = ({ weight_decay = 0, decay_all = false }: Decay, { dims }: Value): number =>
  decay_all || dims.length > 1 ? weight_decay : 0;

/** Options of every optimizer. */
export const common = (lr: number, weightDecay: number) => ({
  lr: z.number().positive().default(lr).meta({ description: 'the learning rate, before any schedule' }),
  weight_decay: z.number().min(0).default(weightDecay).meta({ description: 'pull of the parameters towards 0' }),
  decay_all: z
    .boolean()
    .default(false)
    .meta({ description: 'biases and normalizations decay too, as in PyTorch; else only weights' }),
  states: z.enum(['float32', '8-bit']).default('float32').meta({
    description: 'what is kept for each parameter; 8-bit: rounded to the block-wise dynamic map of bitsandbytes',
  }),
});

export const withStates = ({ states }: { readonly states: 'float32' | '8-bit' }, optimizer: Optimizer): Optimizer =>
  states === '8-bit' ? eightBit(optimizer) : optimizer;
