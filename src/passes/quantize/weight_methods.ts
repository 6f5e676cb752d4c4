import type { Weight } from '../../graph/layer.ts';
import { floatData } from '../../graph/tensor.ts';
import type { AffineFormat, Codes } from '../../numerics/affine.ts';
import type { Granularity, QuantParams } from '../../numerics/format.ts';
import { gptq } from '../../numerics/gptq.ts';
import { hqq } from '../../numerics/hqq.ts';
import { quantize, roundToNearest } from '../../numerics/quantize.ts';
import { portion, type Steps } from '../../util/steps.ts';
import { bestParams, searchParams } from '../../numerics/weight_scale.ts';

/** How the codes of weights are found; `gptq` needs calibration data, the others none. */
export const weightMethods = {
  rtn: 'round to nearest, scales from the extremes',
  mse: 'round to nearest, scales searched for the least squared error of the weights',
  hqq: 'half-quadratic: scales and zero points for the least p-norm of the error, outliers set apart',
  gptq: "column by column, each rounding error made up for by the columns that follow: least error of the layer's output",
} as const;

export type WeightMethod = keyof typeof weightMethods;

export interface WeightCodes {
  /** [rows, columns] */
  readonly codes: Codes;
  /** Per row (channel of axis 0), or per block along axis 1. */
  readonly params: QuantParams;
  /** Zero points that are no integers, one each scale; `params` then says nothing of them. */
  readonly zeros?: Float32Array;
}

export interface MethodOptions {
  readonly method: WeightMethod;
  readonly format: AffineFormat;
  /** Weights of a row that share a scale; null = the whole row. */
  readonly block: number | null;
  readonly damping: number;
  readonly order: 'natural' | 'activation';
  /** Whether HQQ's zero points are kept as they come out; the other methods have integers. */
  readonly zero_points: 'integer' | 'float';
  /** Exponent of HQQ's error. */
  readonly lp_norm: number;
  /** Second moments of what the rows are multiplied with, [groups, columns, columns]; rows fall into groups in order. */
  readonly moments: { readonly groups: number; readonly gram: Float64Array } | undefined;
}

/** The codes of a weight by the chosen method; GPTQ without second moments searches scales instead. */
export function* weightCodes(weight: Weight, o: MethodOptions): Steps<WeightCodes> {
  const view = weight.view();
  const { rows, columns } = view;
  const { method, format, moments } = o;
  const at = weight.tensor.name;
  const dims = [rows, columns];
  const granularity = blockwise(o.block, columns);
  if (method === 'rtn') return roundToNearest(floatData(weight.tensor), view, format, granularity, at);
  const data = weight.rows();
  if (method === 'gptq' && moments !== undefined) return yield* gptqRows(data, rows, columns, { ...o, at }, moments);
  if (method === 'hqq') {
    const { codes, scale, zero } = hqq(data, dims, format, granularity, {
      zero_point: o.zero_points,
      lp_norm: o.lp_norm,
      at,
    });
    const params = { format, granularity, scale, zeroPoint: Int32Array.from(zero) };
    return { codes, params, ...(o.zero_points === 'float' ? { zeros: zero } : {}) };
  }
  const params = searchParams(data, dims, format, granularity, at);
  return { codes: quantize(data, dims, params), params };
}

function blockwise(block: number | null, columns: number): Exclude<Granularity, { per: 'tensor' }> {
  return block === null
    ? { per: 'channel', axis: 0 }
    : { per: 'group', axis: 1, size: Math.min(block, Math.max(1, columns)) };
}

/** A grouped Conv is as many layers as it has groups, each with its own second moments. */
function* gptqRows(
  data: Float32Array,
  rows: number,
  columns: number,
  { format, block, damping, order, at }: MethodOptions & { readonly at: string },
  { groups, gram }: NonNullable<MethodOptions['moments']>,
): Steps<WeightCodes> {
  const granularity = blockwise(block, columns);
  const each = rows / groups;
  const parts: WeightCodes[] = [];
  for (let g = 0; g < groups; g++) {
    const rows = data.subarray(g * each * columns, (g + 1) * each * columns);
    const steps = gptq(rows, [each, columns], gram.subarray(g * columns * columns, (g + 1) * columns * columns), {
      format,
      group: granularity.per === 'group' ? granularity.size : undefined,
      damping,
      order,
      choose: (values) => bestParams(values, format, at),
      at,
    });
    parts.push(yield* portion(steps, g / groups, (g + 1) / groups));
  }
  if (groups === 1) return parts[0] as WeightCodes;
  const codes = (parts[0] as WeightCodes).codes;
  const all = new (codes.constructor as new (length: number) => Codes)(rows * columns);
  const scales = (parts[0] as WeightCodes).params.scale.length;
  const scale = new Float32Array(scales * groups);
  const zeroPoint = new Int32Array(scales * groups);
  for (const [g, part] of parts.entries()) {
    all.set(part.codes, g * each * columns);
    scale.set(part.params.scale, g * scales);
    zeroPoint.set(part.params.zeroPoint, g * scales);
  }
  return { codes: all, params: { format, granularity, scale, zeroPoint } };
}
