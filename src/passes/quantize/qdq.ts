import { makeNode } from '../../graph/build.ts';
import type { Draft } from '../../graph/edit.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { dimsOf, floatData, makeTensor } from '../../graph/tensor.ts';
import type { Codes } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { quantizeBias } from '../../numerics/quantize.ts';
import { paramTensors, storageType } from './weights.ts';

/**
 * The names a quantized model gives: later stages (bias correction, AdaRound, encoding) and the reports find their way by
 * them. A value `v` becomes `v_quantized` and `v_dequantized`, with `v_scale` and `v_zero_point`; weights and biases alike.
 */
export const quantizedName = (value: string): string => `${value}_quantized`;
export const dequantizedName = (value: string): string => `${value}_dequantized`;
export const scaleName = (value: string): string => `${value}_scale`;
export const zeroPointName = (value: string): string => `${value}_zero_point`;

const paramNames = (value: string) => ({ scale: scaleName(value), zeroPoint: zeroPointName(value) });

/** Where a value goes through QuantizeLinear and DequantizeLinear. */
export interface ValueEdit {
  readonly value: string;
  /** The value whose scale and zero point it uses; they are written once. */
  readonly root: string;
  readonly params: QuantParams;
  /** Readers of the dequantized value; the others go on reading the float one. */
  readonly reads: (node: NodeProto) => boolean;
  /** The value is a graph output: its name moves behind DequantizeLinear. */
  readonly isOutput: boolean;
}

/** Inserts QuantizeLinear and DequantizeLinear behind a value. Per tensor, as onnxruntime's integer kernels want activations. */
export function quantizeValue(draft: Draft, { value, root, params, reads, isOutput }: ValueEdit): void {
  const { scale, zeroPoint } = paramTensors(paramNames(root), [], params);
  draft.setInitializer(scale);
  draft.setInitializer(zeroPoint);
  let source = value;
  let restored = dequantizedName(value);
  if (isOutput) {
    // The producer gets another name, so that the output keeps its own.
    source = draft.freshName(`${value}_float`);
    restored = value;
    const producer = draft.nodes().find((node) => node.output.includes(value)) as NodeProto;
    draft.update(producer, { output: producer.output.map((name) => (name === value ? source : name)) });
  } else {
    draft.rewire(value, restored, (node, input) => input >= 0 && reads(node));
  }
  draft.addNode(makeNode('QuantizeLinear', [source, scale.name, zeroPoint.name], [quantizedName(value)]));
  draft.addNode(makeNode('DequantizeLinear', [quantizedName(value), scale.name, zeroPoint.name], [restored]));
}

/** Stores a weight as codes behind DequantizeLinear and makes input `input` of the node read it. */
export function quantizeWeight(
  draft: Draft,
  node: NodeProto,
  input: number,
  tensor: TensorProto,
  codes: Codes,
  params: QuantParams,
): void {
  const value = node.input[input] as string;
  const dims = dimsOf(tensor);
  const stored = makeTensor(quantizedName(value), storageType(params.format), dims, codes);
  const { scale, zeroPoint } = paramTensors(paramNames(value), dims, params);
  const granularity = params.granularity;
  const attributes = {
    ...(granularity.per === 'tensor' ? {} : { axis: granularity.axis }),
    ...(granularity.per === 'group' ? { block_size: granularity.size } : {}),
  };
  for (const part of [stored, scale, zeroPoint]) draft.setInitializer(part);
  if (!draft.nodes().some((n) => n.output[0] === dequantizedName(value)))
    draft.addNode(
      makeNode('DequantizeLinear', [stored.name, scale.name, zeroPoint.name], [dequantizedName(value)], attributes),
    );
  replaceInput(draft, node, input, dequantizedName(value));
}

/**
 * Stores a bias as int32 with scale input scale · weight scale: what integer kernels add to their accumulator. Its name
 * carries the node's, for a bias that two nodes share has another scale at each.
 */
export function quantizeBiasOf(
  draft: Draft,
  node: NodeProto,
  input: number,
  tensor: TensorProto,
  inputScale: number,
  weight: QuantParams,
): void {
  const name = draft.freshName(quantizedName(tensor.name));
  const base = name.slice(0, -'_quantized'.length);
  const { codes, scale } = quantizeBias(floatData(tensor), inputScale, weight.scale);
  const dims = [codes.length];
  draft.setInitializer(makeTensor(name, 'int32', dims, codes));
  const perChannel = scale.length > 1;
  draft.setInitializer(makeTensor(scaleName(base), 'float32', perChannel ? dims : [], scale));
  draft.setInitializer(makeTensor(zeroPointName(base), 'int32', perChannel ? dims : [], new Int32Array(scale.length)));
  draft.addNode(
    makeNode(
      'DequantizeLinear',
      [name, scaleName(base), zeroPointName(base)],
      [dequantizedName(base)],
      perChannel ? { axis: 0 } : {},
    ),
  );
  replaceInput(draft, node, input, dequantizedName(base));
}

function replaceInput(draft: Draft, node: NodeProto, index: number, name: string): void {
  const current = draft.current(node);
  draft.update(node, { input: current.input.map((old, i) => (i === index ? name : old)) });
}
