import type { Layer } from '../../graph/layer.ts';
import { errorSums } from '../../numerics/error.ts';
import { formatCodes } from '../../numerics/formats/apply.ts';
import type { BoundFormat } from '../../numerics/formats/format.ts';
import { must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { weightRows } from '../quantize/format_weights.ts';
import { formatBytes } from './format_bytes.ts';

/** Number formats that a layer may get, by the bits that one of its weights takes in each with all that is stored for it; rising. */
export type Choices = ReadonlyMap<number, BoundFormat>;

/** What one weight takes in a file, and loses, in a format. */
export interface FormatCost {
  readonly format: BoundFormat;
  readonly bytes: number;
  /** Σ(w − ŵ)². */
  readonly noise: number;
  readonly count: number;
}

/** The costs of every weight, by its tensor's name, in the order of the formats. */
export type FormatCosts = ReadonlyMap<string, readonly FormatCost[]>;

/** Holds every weight in every format, once. */
export async function formatCosts(
  layers: readonly Layer[],
  formats: readonly BoundFormat[],
  opset: number,
  ctx: PassContext,
): Promise<FormatCosts> {
  const weights = new Map(layers.map((layer) => [layer.weight.tensor.name, layer]));
  const costs = new Map<string, FormatCost[]>();
  for (const [at, layer] of weights) {
    const [rows, list]: [ReturnType<typeof weightRows>, FormatCost[]] = [weightRows(layer), []];
    for (const format of formats) {
      ctx.signal.throwIfAborted();
      ctx.progress(costs.size / weights.size, `${at} in ${format.label}`);
      const codes = formatCodes(format, rows, { at });
      const { noise } = errorSums(rows.data, codes.values);
      list.push({ format, bytes: await formatBytes(layer, codes, opset, ctx), noise, count: rows.data.length });
    }
    costs.set(at, list);
  }
  return costs;
}

/**
 * The formats for the weights of a layer.
 * @param all also those that another holds in no more bytes with less error of the weights: what that does to outputs may be the opposite.
 */
export function formatChoices(weights: readonly Layer[], costs: FormatCosts, all: boolean): Choices {
  const lists = weights.map(({ weight }) => must(costs, weight.tensor.name, 'the costs of'));
  const summed = (lists[0] ?? []).map(({ format }, i) => {
    const sum = (of: (cost: FormatCost) => number): number => lists.reduce((total, list) => total + of(list[i]!), 0);
    return { format, bits: (8 * sum(({ bytes }) => bytes)) / sum(({ count }) => count), noise: sum((c) => c.noise) };
  });
  const sorted = summed.sort((a, b) => a.bits - b.bits || a.noise - b.noise);
  const kept = sorted.filter((one, i) => all || sorted.slice(0, i).every((before) => before.noise > one.noise));
  const choices = new Map<number, BoundFormat>();
  for (const { bits, format } of kept) {
    // Two that take the same number of bytes are told apart by less than a byte.
    let key = bits;
    while (choices.has(key)) key += 1e-9;
    choices.set(key, format);
  }
  return choices;
}
