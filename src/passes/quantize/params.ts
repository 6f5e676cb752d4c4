import type { Layer, Weight } from '../../graph/layer.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { dimsOf, floatData } from '../../graph/tensor.ts';
import { affineFormat, chooseParams, type AffineFormat, type Codes } from '../../numerics/affine.ts';
import { codedParams } from '../../numerics/coded.ts';
import type { Granularity, NumberFormat, QuantParams } from '../../numerics/format.ts';
import { leastWeightScale, minMaxParams, quantize } from '../../numerics/quantize.ts';
import type { Range } from '../../numerics/range.ts';
import { searchParams } from '../../numerics/weight_scale.ts';
import { must } from '../../util/must.ts';
import type { LayerFormats } from './formats.ts';
import type { Region } from './region.ts';

/** The format of each root value: unsigned, asymmetric, as wide as the widest that a quantized layer reading it asks for. */
export function activationFormats(
  region: Region,
  formats: ReadonlyMap<NodeProto, LayerFormats>,
  otherwise: number,
): Map<string, AffineFormat> {
  const asked = new Map<string, number>();
  for (const [node, role] of region.nodes) {
    const format = formats.get(node)?.activations;
    if (role.kind !== 'kernel' || format?.kind !== 'int') continue;
    const root = region.values.get(node.input[0] ?? '')?.root ?? '';
    asked.set(root, Math.max(asked.get(root) ?? 0, format.bits));
  }
  const roots = new Set([...region.values.values()].map((v) => v.root));
  return new Map(
    [...roots].map((root) => [
      root,
      { kind: 'int', bits: asked.get(root) ?? otherwise, signed: false, symmetric: false },
    ]),
  );
}

/** Scale and zero point of each root value, per tensor. */
export function activationParams(
  region: Region,
  ranges: ReadonlyMap<string, Range>,
  formats: ReadonlyMap<string, AffineFormat>,
): Map<string, QuantParams> {
  const params = new Map<string, QuantParams>();
  for (const [value, format] of formats) {
    const range = must(ranges, value, 'the range of');
    const clip = region.values.get(value)?.clip;
    const high = Math.min(range.max, clip?.max ?? Infinity);
    const low = Math.min(high, Math.max(range.min, clip?.min ?? -Infinity));
    const { scale, zeroPoint } = chooseParams(low, high, format, value);
    const inside = belowClip(scale, 2 ** format.bits - 1 - zeroPoint, clip?.max ?? Infinity);
    params.set(value, {
      format,
      granularity: { per: 'tensor' },
      scale: Float32Array.of(inside),
      zeroPoint: Int32Array.of(zeroPoint),
    });
  }
  return params;
}

/** onnxruntime drops a Clip only where the quantized range lies inside it; the scale's rounding must not carry it beyond. */
function belowClip(scale: number, steps: number, max: number): number {
  let inside = Math.fround(scale);
  while (Math.fround(inside * steps) > max) inside = Math.fround(inside * (1 - 2 ** -23));
  return inside;
}

/** What is known of a layer's input: its range, by the value its scale comes from. */
export function inputParams(
  { node, product }: Layer,
  region: Region,
  params: ReadonlyMap<string, QuantParams>,
): QuantParams {
  const value = node.input[product.data] ?? '';
  return must(params, must(region.values, value, 'the scale of').root, 'the range of');
}

/** How weight scales are chosen. */
export type WeightScales = 'minmax' | 'mse';

/** A bias that is stored at input scale · weight scale. */
export interface BiasUse {
  readonly bias: TensorProto;
  readonly inputScale: number;
}

/**
 * Scale and zero point of a weight, from its extremes or searched for the least squared error. A channel of zeros takes the finest
 * scale of the others, and a channel of which a bias would not fit int32 at scale input·weight takes a coarser one: both for the
 * sake of the biases, which are those of all layers that share the weight.
 */
export function weightParams(
  weight: Weight,
  wanted: NumberFormat,
  perChannel: boolean,
  biases: readonly BiasUse[],
  scales: WeightScales,
): QuantParams {
  const params = formatParams(weight.tensor, wanted, perChannel ? scaleAxis(weight) : undefined, scales);
  if (biases.length === 0) return params;
  const zero = zeroChannels(floatData(weight.tensor), weight.dims, params.granularity);
  const finest = params.scale.reduce((low, s, c) => (zero[c] ? low : Math.min(low, s)), Infinity);
  const uses = biases.map(({ bias, inputScale }) => ({ values: floatData(bias), inputScale }));
  const scale = params.scale.map((own, c) => {
    const s = zero[c] ? (Number.isFinite(finest) ? finest : 1 / 128) : own;
    const least = uses.map(({ values, inputScale }) => {
      const held = params.scale.length === 1 ? values : values.subarray(c, c + 1);
      return leastWeightScale(
        held.reduce((most, b) => Math.max(most, Math.abs(b)), 0),
        inputScale,
      );
    });
    return Math.max(s, ...least);
  });
  return { ...params, scale };
}

/** Axis of the scales: that of the output channels, but none for batches of matrices, whose kernel takes one scale for all. */
export function scaleAxis({ axes }: Pick<Weight, 'axes'>): number | undefined {
  return axes?.out.length === 1 ? axes.out[0] : undefined;
}

/**
 * Scale and zero point that a format has for a weight by itself: one a channel of `axis` (undefined = one for all), or the step
 * of a coded format.
 */
export function formatParams(
  weight: TensorProto,
  wanted: NumberFormat,
  axis: number | undefined,
  scales: WeightScales,
): QuantParams {
  if (wanted.kind === 'coded') return codedParams(floatData(weight), wanted.step);
  return affineParams(floatData(weight), dimsOf(weight), affineFormat(wanted), axis, scales, weight.name);
}

/** The same of plain numbers. `at` names them in errors. */
export function affineParams(
  data: Float32Array,
  dims: readonly number[],
  format: AffineFormat,
  axis: number | undefined,
  scales: WeightScales,
  at: string,
): QuantParams {
  const granularity: Granularity = axis === undefined ? { per: 'tensor' } : { per: 'channel', axis };
  return scales === 'mse'
    ? searchParams(data, dims, format, granularity, at)
    : minMaxParams(data, dims, format, granularity, at);
}

/** A constant in uint8, with one scale for all: what integer kernels and lookups read. */
export function wholeCodes(tensor: TensorProto): {
  readonly dims: readonly number[];
  readonly codes: Codes;
  readonly params: QuantParams;
} {
  const [data, dims] = [floatData(tensor), dimsOf(tensor)];
  const format = { kind: 'int', bits: 8, signed: false, symmetric: false } as const;
  const params = minMaxParams(data, dims, format, { per: 'tensor' }, tensor.name);
  return { dims, codes: quantize(data, dims, params), params };
}

/** Which channels hold nothing but zeros. */
function zeroChannels(data: Float32Array, dims: readonly number[], granularity: Granularity): boolean[] {
  if (granularity.per !== 'channel') return [data.every((w) => w === 0)];
  const channels = dims[granularity.axis]!;
  const inner = dims.slice(granularity.axis + 1).reduce((a, b) => a * b, 1);
  const zero = new Array<boolean>(channels).fill(true);
  for (let i = 0; i < data.length; i++) if (data[i] !== 0) zero[Math.floor(i / inner) % channels] = false;
  return zero;
}

/** `int8 per channel (16 scales)`, `uint8 0 … 5.12`: for the report. */
export function describeParams(params: QuantParams): string {
  const { format, granularity, scale, zeroPoint } = params;
  const type = `${'signed' in format && format.signed ? 'int' : 'uint'}${format.bits}`;
  if (granularity.per !== 'tensor') return `${type} per ${granularity.per} (${scale.length} scales)`;
  if (format.signed) return `${type} per tensor`;
  const [s, z] = [scale[0]!, zeroPoint[0]!];
  const text = (v: number): string => Number(v.toPrecision(4)).toString();
  return `${type} ${text(-z * s)} … ${text((2 ** format.bits - 1 - z) * s)}`;
}
