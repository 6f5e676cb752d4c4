import type { DType } from './dtype.ts';
import { isMove, productOf } from './ops.ts';
import type { Model } from './model.ts';
import type { NodeProto, TensorProto } from './proto.ts';
import { constantTensor, isOp, layerName, producers, storedTensors } from './query.ts';
import { typeOf } from './tensor.ts';

/** What codes of quantized values are stored in; wider integers are indices and shapes. */
const codes: ReadonlySet<DType> = new Set<DType>([
  ...(['int8', 'uint8', 'int4', 'uint4', 'int2', 'uint2', 'float4e2m1'] as const),
  ...(['float8e4m3fn', 'float8e4m3fnuz', 'float8e5m2', 'float8e5m2fnuz'] as const),
]);

/**
 * The layers of a model that are quantized already, by name: operators on integers, those whose weights are decoded from codes, and those that
 * read what was rounded by QuantizeLinear. An input of whole numbers that DequantizeLinear scales makes no model quantized.
 */
export function quantizedLayers(model: Model): string[] {
  const made = producers(model.graph);
  const stored = storedTensors(model);
  return model.graph.node
    .filter((node) => {
      const product = productOf(node);
      if (product === undefined || constantTensor(node)) return false;
      const weights = product.weights.map((input) => node.input[input] ?? '');
      return product.integer || weights.some((name) => decoded(name, made, stored)) || isRounded(node.input[product.data] ?? '', made); // prettier-ignore
    })
    .map(layerName);
}

/** Whether a value is computed from stored tensors alone, codes among them. */
function decoded(
  name: string,
  made: ReadonlyMap<string, NodeProto>,
  stored: ReadonlyMap<string, TensorProto>,
): boolean {
  const seen = new Set<string>();
  const open = [name];
  let found = false;
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (value === '' || seen.has(value)) continue;
    seen.add(value);
    const tensor = stored.get(value);
    if (tensor) found ||= value !== name && codes.has(typeOf(tensor));
    else {
      const node = made.get(value);
      if (!node) return false;
      open.push(...node.input);
    }
  }
  return found;
}

function isRounded(name: string, made: ReadonlyMap<string, NodeProto>): boolean {
  let node = made.get(name);
  while (node && isMove(node)) node = made.get(node.input[0] ?? '');
  let coded = node && isOp(node, 'DequantizeLinear') ? made.get(node.input[0] ?? '') : undefined;
  while (coded && isMove(coded)) coded = made.get(coded.input[0] ?? '');
  return coded !== undefined && isOp(coded, 'QuantizeLinear');
}
