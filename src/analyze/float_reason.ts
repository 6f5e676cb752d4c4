import { intAttribute } from '../graph/attribute.ts';
import { dtypeOf, dtypes, type DType } from '../graph/dtype.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import type { NodeProto } from '../graph/proto.ts';
import { consumers, initializers, isOp, producers } from '../graph/query.ts';
import { tensorNumbers, typeOf } from '../graph/tensor.ts';

interface Quantized {
  readonly type: DType | undefined;
  readonly zeroPoint: string;
  readonly node: NodeProto;
}

/**
 * Why onnxruntime runs a layer of a QDQ model in float, from the fusion rules of 1.30: what stands around the node decides.
 * The first rule that is broken is named.
 */
export function floatReason(model: Model, node: NodeProto): string {
  const around = neighbourhood(model);
  const layer = productOf(node);
  const plain = layer?.as ?? node.op_type;
  const inputs = (layer === undefined ? node.input.map((_, i) => i) : [layer.data]).map((i) => around.before(node, i));
  const weights = layer?.weights.slice(0, 1).map((i) => around.before(node, i))[0];
  const input = inputs[0];

  if (plain === 'Gather') return 'looks rows up in a float table';
  const stored =
    weights === undefined && layer !== undefined ? around.storedType(node, layer.weights[0] ?? -1) : undefined;
  if (stored !== undefined && stored !== 'float32')
    return `its weights are stored as ${stored} and become float32 when the model is loaded`;
  if (inputs.some((q) => q === undefined) && weights === undefined) return 'is not quantized';
  if (layer?.noKernel !== undefined) return layer.noKernel;
  if (layer !== undefined && weights === undefined) return 'its weights are not quantized';
  if (inputs.some((q) => q === undefined)) {
    if (layer === undefined) return 'not all of its inputs are quantized';
    return `its input is not quantized: the weights are only stored as ${weights?.type}, ${
      plain === 'Conv' || plain === 'Gemm' ? 'and dequantized on every run' : 'in a layout onnxruntime does not fuse'
    }`;
  }
  const wide = [...inputs, weights].find((q) => q?.type === 'uint16' || q?.type === 'int16');
  if (wide !== undefined) return `there are no integer kernels for ${wide.type}`;
  if (weights?.type !== undefined && weights.type !== 'int8' && weights.type !== 'uint8')
    return `there is no integer kernel for ${weights.type} weights with quantized activations`;
  if (plain === 'Gemm' && weights?.zeroPoint === '') return 'its weights have no zero-point tensor, which QGemm needs';

  const output = around.after(node);
  if (output.through !== undefined && output.quantized !== undefined)
    return `the ${output.through} after it cannot go away: the zero point of its output is not the lowest code`;
  if (output.quantized === undefined && plain !== 'MatMul' && plain !== 'Gemm')
    return output.readers === 0 ? 'its output is the model output and is not quantized' : 'its output is not quantized';
  if (
    output.quantized === undefined &&
    plain === 'Gemm' &&
    around.before(node, 2) === undefined &&
    (node.input[2] ?? '') !== ''
  )
    return 'its bias is float while its output is not quantized';
  if (input?.type === 'int8' && around.shared(node)) return 'its int8 input is read by several nodes; uint8 would fuse';
  return 'onnxruntime did not fuse it';
}

/** Operators that decode stored weights where nothing is to run on integers; they are gone once the model is loaded. */
const decoding = ['Cast', 'Sub', 'Mul', 'Reshape', 'Slice', 'Transpose'];

function neighbourhood(model: Model) {
  const made = producers(model.graph);
  const readers = consumers(model.graph);
  const constants = initializers(model.graph);

  /** The DequantizeLinear that feeds an input. */
  const before = (node: NodeProto, index: number): Quantized | undefined => {
    const maker = made.get(node.input[index] ?? '');
    if (maker === undefined || !isOp(maker, 'DequantizeLinear')) return undefined;
    return { type: codeType(maker), zeroPoint: maker.input[2] ?? '', node: maker };
  };

  /** The element type of what a DequantizeLinear reads: that of the constant, of its zero point, or what a Cast gives. */
  const codeType = (node: NodeProto): DType | undefined => {
    for (const name of [node.input[2] ?? '', node.input[0] ?? '']) {
      const tensor = constants.get(name);
      if (tensor !== undefined) return typeOf(tensor);
    }
    const maker = made.get(node.input[0] ?? '');
    return maker !== undefined && isOp(maker, 'Cast') ? dtypeOf(intAttribute(maker, 'to', dtypes.uint8.code)) : 'uint8';
  };

  /** The type of the constant from which plain arithmetic makes an input, as weights are decoded once; undefined where there is none. */
  const storedType = (node: NodeProto, index: number): DType | undefined => {
    let name = node.input[index] ?? '';
    for (let from = made.get(name); from && isOp(from, ...decoding); from = made.get(name)) name = from.input[0] ?? '';
    const tensor = name === node.input[index] ? undefined : constants.get(name);
    return tensor && typeOf(tensor);
  };

  /** What becomes of the output: the Relu or Clip it goes through, and its QuantizeLinear. */
  const after = (node: NodeProto) => {
    const value = node.output[0] ?? '';
    const list = readers.get(value) ?? [];
    const [only] = list;
    const clamp = list.length === 1 && only !== undefined && isOp(only, 'Relu', 'Clip') ? only : undefined;
    const quantizers = (readers.get(clamp?.output[0] ?? value) ?? []).filter((reader) =>
      isOp(reader, 'QuantizeLinear'),
    );
    const [quantized] = quantizers;
    const lowest = quantized === undefined || clamp === undefined || isLowest(quantized.input[2] ?? '');
    return { quantized, through: lowest ? undefined : clamp?.op_type, readers: list.length };
  };

  const isLowest = (zeroPoint: string): boolean => {
    const tensor = constants.get(zeroPoint);
    if (tensor === undefined) return true;
    const lowest = typeOf(tensor) === 'int8' ? -128 : 0;
    return tensorNumbers(tensor).every((v) => v === lowest);
  };

  const shared = (node: NodeProto): boolean => {
    const source = made.get(node.input[0] ?? '')?.input[0] ?? '';
    return (readers.get(source) ?? []).length > 1;
  };

  return { before, after, shared, storedType };
}
