import { modelBytes } from '../../graph/file.ts';
import type { Model } from '../../graph/model.ts';
import { elementCount, tensorBytes } from '../../graph/tensor.ts';
import { QtoolError } from '../../util/error.ts';
import { scaleAxis } from '../quantize/params.ts';
import type { PlannedLayer } from './layers.ts';
import { shareOf, type AllocatorOptions, type Budget } from './options.ts';

/** What widths cost, in the unit of the constraint. */
export interface Spending {
  /** Cost of a layer at a width. */
  of(layer: PlannedLayer, bits: number): number;
  /** What all layers together may cost; undefined where the constraint is an SQNR. */
  readonly limit: number | undefined;
  /** A cost in words: `4.02 bits a weight`. */
  describe(total: number): string;
}

/** Bits of the activations that bit operations are counted with. */
const activationBits = 8;

/** Packed bytes of a layer's weights. */
export function packedBytes(layer: PlannedLayer, bits: number): number {
  return layer.weights.reduce((sum, { weight }) => sum + Math.ceil((elementCount(weight.dims) * bits) / 8), 0);
}

/**
 * Bytes of a quantized file that are not packed weights: what the float file holds beside these weights, and a scale (4), a
 * zero point (1) and a bias's scale and zero point (8) for each output channel, and names and nodes of each layer.
 */
function otherBytes(float: Model, layers: readonly PlannedLayer[]): number {
  const weights = layers.flatMap((layer) => layer.weights);
  const stored = weights.reduce((sum, { weight }) => sum + tensorBytes(weight.tensor), 0);
  const channels = weights.reduce((sum, { weight }) => sum + (weight.dims[scaleAxis(weight) ?? -1] ?? 1), 0);
  return modelBytes(float) - stored + 13 * channels + 1400 * weights.length;
}

/**
 * The unit of the options' constraint for these layers.
 * @param other bytes of the file beside these layers' weights, where they are known.
 * @throws QtoolError `schedule` for a budget below what is possible.
 */
export function spending(
  {
    float,
    layers,
    other,
  }: { readonly float: Model; readonly layers: readonly PlannedLayer[]; readonly other?: number | undefined },
  o: Pick<AllocatorOptions, 'budget' | 'cost' | 'quantizer'>,
): Spending {
  const found = unitOf(float, layers, o, other);
  const { limit } = found;
  const least = layers.reduce((sum, layer) => sum + found.of(layer, layer.widths[0]!), 0);
  if (limit !== undefined && least > limit)
    throw new QtoolError('schedule', `the budget cannot be met: it is ${found.describe(limit)}`, {
      hint: `the least that these layers can get takes ${found.describe(least)}`,
    });
  return found;
}

function unitOf(
  float: Model,
  layers: readonly PlannedLayer[],
  { budget, cost }: Pick<AllocatorOptions, 'budget' | 'cost'>,
  other: number | undefined,
): Spending {
  const parameters = layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const macs = layers.reduce((sum, layer) => sum + layer.macs, 0);
  const mean = (bits: number): string => `${(bits / Math.max(1, parameters)).toFixed(2)} bits a weight`;
  if (budget === undefined)
    return cost === 'macs'
      ? operations(undefined, macs)
      : { of: (layer, bits) => layer.parameters * bits, limit: undefined, describe: mean };
  if ('weights' in budget)
    return { of: (layer, bits) => layer.parameters * bits, limit: budget.weights * parameters, describe: mean };
  if ('bytes' in budget) return bytes(budget, float, other ?? otherBytes(float, layers));
  const part = shareOf(budget.bit_operations);
  return operations(part === undefined ? (budget.bit_operations as number) : part * 8 * activationBits * macs, macs);
}

function bytes(budget: Extract<Budget, { bytes: unknown }>, float: Model, other: number): Spending {
  const part = shareOf(budget.bytes);
  const whole = part === undefined ? (budget.bytes as number) : part * modelBytes(float);
  if (whole <= other)
    throw new QtoolError('schedule', `a file of ${Math.round(whole)} bytes cannot be had`, {
      hint: `everything but the packed weights takes about ${other} bytes already`,
    });
  return {
    of: packedBytes,
    limit: whole - other,
    describe: (total) => `about ${Math.round(total + other)} bytes, ${Math.round(total)} of them packed weights`,
  };
}

function operations(limit: number | undefined, macs: number): Spending {
  return {
    of: (layer, bits) => layer.macs * bits * activationBits,
    limit,
    describe: (total) =>
      `${((100 * total) / Math.max(1, macs * 8 * activationBits)).toFixed(1)} % of the bit operations at 8 by 8 bits`,
  };
}
