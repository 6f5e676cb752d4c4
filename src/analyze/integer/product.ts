import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { layerName } from '../../graph/query.ts';
import { quantizeBias } from '../../numerics/quantize.ts';
import type { StoredCodes } from './constants.ts';
import { codeEnds, largestOf, type CodeType, type Operand, type Planner, type ProductStep, type RawWeights } from './steps.ts'; // prettier-ignore

/** A Conv, Gemm or MatMul as an integer step, or why it is none. */
export async function productStep(node: NodeProto, planner: Planner): Promise<ProductStep | string> {
  const [dataName = '', weightName = '', biasName = ''] = node.input;
  const as = node.op_type as ProductStep['as'];
  const data = await planner.operand(dataName);
  if (data === undefined) return 'its input is not quantized';
  if (data.stored !== undefined) return 'it multiplies a constant from the left';
  const alpha = as === 'Gemm' ? floatAttribute(node, 'alpha', 1) : 1;
  if (as === 'Gemm' && biasName !== '' && floatAttribute(node, 'beta', 1) !== 1) return 'its beta is not 1';
  const stored = await planner.constants.codes(weightName);
  const other = stored === undefined ? await planner.operand(weightName) : undefined;
  if (stored === undefined && other === undefined)
    return planner.constants.has(weightName) ? 'its weights are float' : 'its second input is not quantized';
  if (other !== undefined && as !== 'MatMul') return 'its weights are computed';
  if (other?.code.type.endsWith('16') === true || (other !== undefined && data.code.type.endsWith('16')))
    return 'both factors are computed, and of 16 bits';
  const weights = stored && weightsOf(node, as, stored);
  if (typeof weights === 'string') return weights;
  const scales = weights === undefined ? [given(other).code.scale] : weights.scales.map((scale) => alpha === 1 ? scale : Math.fround(alpha * scale)); // prettier-ignore
  const bias = biasName === '' ? undefined : await biasOf(planner, biasName, data, scales, weights?.channels ?? 1);
  if (typeof bias === 'string') return bias;
  const largest = largestOf(data.code);
  const sums = weights === undefined ? [0] : weights.sums;
  const out = await planner.followed(node);
  return {
    ...{ kind: 'product', layer: layerName(node), op: node.op_type, node, as, data, other, scales, bias, out },
    weights: weights && { dims: weights.dims, data: weights.data, raw: weights.raw },
    terms: weights?.terms ?? 0,
    worst: Math.max(...sums.map((sum, c) => sum * largest + Math.abs(bias?.[c] ?? 0))),
    float: out === undefined ? node.output[0] : undefined,
  };
}

const given = (operand: Operand | undefined): Operand => {
  if (operand === undefined) throw new Error('a product without a second factor');
  return operand;
};

interface StoredWeights {
  readonly dims: readonly number[];
  readonly data: Int32Array;
  readonly raw: RawWeights;
  readonly scales: readonly number[];
  readonly channels: number;
  readonly terms: number;
  /** Σ|w| of each output channel. */
  readonly sums: readonly number[];
}

/** Weights with their zero points taken off, or why an integer kernel cannot have them so. */
function weightsOf(node: NodeProto, as: ProductStep['as'], stored: StoredCodes): StoredWeights | string {
  const { dims, data: codes, scale, zeroPoint, axis, block } = stored;
  const channelAxis = as === 'Conv' ? 0 : as === 'Gemm' && intAttribute(node, 'transB', 0) === 1 ? 0 : dims.length - 1;
  if (dims.length < 2) return 'its weight is a vector';
  if (block > 0 || (scale.length > 1 && (axis !== channelAxis || scale.length !== dims[channelAxis])))
    return 'the scales of its weights change within one sum';
  const channels = dims[channelAxis]!;
  const inner = dims.slice(channelAxis + 1).reduce((a, b) => a * b, 1);
  const data = new Int32Array(codes.length);
  const sums = new Array<number>(channels).fill(0);
  for (let i = 0; i < codes.length; i++) {
    const channel = Math.floor(i / inner) % channels;
    const value = codes[i]! - zeroPoint[zeroPoint.length > 1 ? channel : 0]!;
    data[i] = value;
    sums[channel]! += Math.abs(value);
  }
  // A stack of matrices is one sum each.
  const stack = as === 'MatMul' ? dims.slice(0, -2).reduce((a, b) => a * b, 1) : 1;
  const terms = codes.length / channels / stack;
  const type: CodeType =
    stored.type in codeEnds ? (stored.type as CodeType) : stored.type.startsWith('u') ? 'uint8' : 'int8';
  return { dims, data, raw: { type, zeroPoint }, scales: scale, channels, terms, sums };
}

/** A bias at the scale of the accumulator. */
async function biasOf(
  { constants }: Planner,
  name: string,
  data: Operand,
  scales: readonly number[],
  channels: number,
): Promise<Int32Array | string> {
  if (!constants.has(name)) return 'its bias is computed';
  const own = scales.map((scale) => Math.fround(data.code.scale * scale));
  const scaleAt = (list: readonly number[], c: number): number => list[list.length === 1 ? 0 : c]!;
  const stored = await constants.codes(name);
  const { data: values, dims } = stored ?? (await constants.get(name));
  if (values.length !== channels || dims.some((dim, i) => dim !== 1 && i < dims.length - 1))
    return 'its bias is not one number an output channel';
  if (stored?.type === 'int32' && stored.zeroPoint.every((zero) => zero === 0)) {
    // Scales that differ in the last bit are the same scale, computed in another order.
    const same = Array.from({ length: channels }, (_, c) => Math.abs(scaleAt(stored.scale, c) / scaleAt(own, c) - 1) < 1e-6); // prettier-ignore
    if (same.every(Boolean)) return Int32Array.from(values);
  }
  const reals = Array.from(values, (value, c) =>
    stored === undefined ? value : Math.fround((value - scaleAt(stored.zeroPoint, c)) * scaleAt(stored.scale, c)),
  );
  return quantizeBias(reals, data.code.scale, Float32Array.from(scales)).codes;
}
