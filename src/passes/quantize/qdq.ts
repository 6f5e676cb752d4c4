import { makeNode } from '../../graph/build.ts';
import type { DType } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Codes } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { layoutOf } from '../../numerics/layout.ts';
import { quantizeBias } from '../../numerics/quantize.ts';
import { given } from '../../util/must.ts';
import { storageType, zeroPoints } from './weights.ts';

/**
 * QuantizeLinear and DequantizeLinear around values and tensors. A value `v` is given `v_quantized`, `v_dequantized`, `v_scale` and
 * `v_zero_point`, weights and biases alike, or other names where the model has these: nobody may find anything by its name.
 */

/** The names of a stored scale and zero point. */
export interface ParamNames {
  readonly scale: string;
  readonly zeroPoint: string;
}

/** Stores scale and zero point of a tensor of these dims. Zero points are always written: QGemm does not fuse without them. */
export function addParams(
  draft: Draft,
  hint: string,
  dims: readonly number[],
  params: QuantParams,
  type: DType = storageType(params.format),
): ParamNames {
  const { paramDims } = layoutOf(dims, params.granularity);
  return {
    scale: draft.add(`${hint}_scale`, makeTensor('scale', 'float32', paramDims, params.scale)),
    zeroPoint: draft.add(`${hint}_zero_point`, makeTensor('zero', type, paramDims, zeroPoints(type, params.zeroPoint))),
  };
}

/** Where a value goes through QuantizeLinear and DequantizeLinear. */
export interface ValueEdit {
  readonly value: string;
  /** Scale and zero point, one for the tensor, as onnxruntime's integer kernels want activations. */
  readonly params: ParamNames;
  /** The codes that there are, where not all that its bytes hold. */
  readonly codes?: { readonly low?: number; readonly high: number } | undefined;
  /** The scale of QuantizeLinear, where it is not that of DequantizeLinear. */
  readonly step?: string | undefined;
  /** Readers of the dequantized value; the others go on reading the float one. */
  readonly reads: (node: NodeProto) => boolean;
  /** The value is a graph output: its name moves behind DequantizeLinear. */
  readonly isOutput: boolean;
}

/** Inserts QuantizeLinear and DequantizeLinear behind a value; gives the value before and the node that restores it. */
export function quantizeValue(
  draft: Draft,
  { value, params, codes: range, step, reads, isOutput }: ValueEdit,
): { readonly source: string; readonly restore: NodeProto } {
  let source = value;
  let restored = value;
  if (isOutput) {
    // The producer gets another name, so that the output keeps its own.
    source = renamedOutput(draft, value);
  } else {
    restored = draft.freshName(`${value}_dequantized`);
    draft.rewire(value, restored, (node, input) => input >= 0 && reads(node));
  }
  const codes = draft.freshName(`${value}_quantized`);
  const { scale, zeroPoint } = params;
  draft.addNode(makeNode('QuantizeLinear', [source, step ?? scale, zeroPoint], [codes]));
  const held = range === undefined ? codes : clippedCodes(draft, value, codes, range);
  const restore = makeNode('DequantizeLinear', [held, scale, zeroPoint], [restored]);
  draft.addNode(restore);
  return { source, restore };
}

/** Clips the uint8 codes of a value; gives the name of what comes out. On the codes, not before them: a layer fuses with the QuantizeLinear that reads it. */
export function clippedCodes(
  draft: Draft,
  value: string,
  codes: string,
  { low, high }: { readonly low?: number; readonly high: number },
): string {
  const held = draft.freshName(`${value}_held`);
  const bound = (name: string, code: number): string => draft.add(`${value}_${name}_code`, makeTensor(name, 'uint8', [], Uint8Array.of(code))); // prettier-ignore
  draft.addNode(makeNode('Clip', [codes, low === undefined ? '' : bound('least', low), bound('largest', high)], [held])); // prettier-ignore
  return held;
}

/** Gives what makes a value another name for it, so that the value's own may be taken by what is made of it. */
export function renamedOutput(draft: Draft, value: string): string {
  const source = draft.freshName(`${value}_float`);
  const producer = given(
    draft.nodes().find((node) => node.output.includes(value)),
    `what makes "${value}"`,
  );
  draft.update(producer, { output: producer.output.map((name) => (name === value ? source : name)) });
  return source;
}

/** Stores codes behind DequantizeLinear; gives the name of the dequantized value. */
export function addDequantized(
  draft: Draft,
  hint: string,
  dims: readonly number[],
  codes: Codes,
  params: QuantParams,
  type: DType = storageType(params.format),
): string {
  const stored = draft.add(`${hint}_quantized`, makeTensor('codes', type, dims, codes));
  const { scale, zeroPoint } = addParams(draft, hint, dims, params, type);
  const { granularity } = params;
  const attributes = {
    ...(granularity.per === 'tensor' ? {} : { axis: granularity.axis }),
    ...(granularity.per === 'group' ? { block_size: granularity.size } : {}),
  };
  const value = draft.freshName(`${hint}_dequantized`);
  draft.addNode(makeNode('DequantizeLinear', [stored, scale, zeroPoint], [value], attributes));
  return value;
}

/**
 * Stores a bias as int32 with scale input scale · weight scale, what integer kernels add to their accumulator, behind
 * DequantizeLinear. Two nodes that share a bias store it twice: it has another scale at each.
 */
export function addBias(
  draft: Draft,
  hint: string,
  bias: Float32Array,
  inputScale: number,
  weightScale: Float32Array,
): string {
  const { codes, scale } = quantizeBias(bias, inputScale, weightScale);
  const stored = draft.add(`${hint}_quantized`, makeTensor('codes', 'int32', [codes.length], codes));
  const perChannel = scale.length > 1;
  const dims = perChannel ? [codes.length] : [];
  const inputs = [
    stored,
    draft.add(`${hint}_scale`, makeTensor('scale', 'float32', dims, scale)),
    draft.add(`${hint}_zero_point`, makeTensor('zero', 'int32', dims, new Int32Array(scale.length))),
  ];
  const value = draft.freshName(`${hint}_dequantized`);
  draft.addNode(makeNode('DequantizeLinear', inputs, [value], perChannel ? { axis: 0 } : {}));
  return value;
}

/** Makes one input of a node read another value. */
export function replaceInput(draft: Draft, node: NodeProto, index: number, name: string): void {
  const current = draft.current(node);
  draft.update(node, { input: current.input.map((old, i) => (i === index ? name : old)) });
}
