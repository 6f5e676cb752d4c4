import type { Masked } from '../../autodiff/training_graph.ts';
import { nonZeros } from './step.ts';

/** Distiller's arguments of a pruner's policy: how its masks act between steps of training. Absent: as Distiller's defaults. */
export interface MaskArgs {
  readonly mask_on_forward_only?: boolean | undefined;
  readonly use_double_copies?: boolean | undefined;
  readonly mask_gradients?: boolean | undefined;
  /** Masks are found anew every so many steps, too; 0: at the beginning of an epoch alone. */
  readonly mini_batch_pruning_frequency?: number | undefined;
  /** At the end of the policy, masks that acted on the forward graph alone are put on the weights for good. */
  readonly keep_mask?: boolean | undefined;
  readonly discard_masks_at_minibatch_end?: boolean | undefined;
  readonly skip_first_minibatch?: boolean | undefined;
  /** Weights of convolutions are ranked with the BatchNormalization behind them folded in. */
  readonly fold_batchnorm?: boolean | undefined;
}

/** The mask of one weight: 1 where a weight stays. */
export interface WeightMask {
  readonly data: Float32Array;
  readonly how: Masked;
  /** Which policy made it. */
  readonly instance: string;
}

export const howMasked = (args: MaskArgs): Masked => ({
  forwardOnly: args.mask_on_forward_only === true,
  maskGradients: args.mask_gradients === true,
  doubleCopies: args.use_double_copies === true,
});

/**
 * What a pruner zeroed, as masks: of the weights that it changed, and of those that have zeros and that its instance masked before.
 * @param told the masks that the pruner gives itself.
 */
export function masksOf(
  before: ReadonlyMap<string, Float32Array>,
  after: ReadonlyMap<string, Float32Array>,
  instance: string,
  how: Masked,
  old: ReadonlyMap<string, WeightMask>,
  told: ReadonlyMap<string, Float32Array> = new Map(),
): Map<string, WeightMask> {
  const found = new Map([...told].map(([name, data]): [string, WeightMask] => [name, { data, how, instance }]));
  for (const [name, data] of after) {
    const was = before.get(name);
    if (was?.length !== data.length || found.has(name)) continue;
    const touched = data.some((v, i) => v === 0 && was[i] !== 0) || old.get(name)?.instance === instance;
    if (touched) found.set(name, { data: nonZeros(data), how, instance });
  }
  return found;
}
