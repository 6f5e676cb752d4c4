import { intAttribute, stringAttribute } from '../graph/attribute.ts';
import type { NodeProto } from '../graph/proto.ts';
import type { Shapes } from '../graph/shapes.ts';
import { elementCount } from '../graph/tensor.ts';
import type { LayerKind } from './layers.ts';

/** Multiply-accumulates of a layer, or why they are not known. */
export function macsOf(node: NodeProto, kind: LayerKind, shapes: Shapes): number | string {
  const dims = (name: string | undefined): readonly number[] | undefined => shapes.get(name ?? '')?.dims;
  const data = dims(node.input[kind.data]);
  const weight = dims(node.input[kind.weights[0] ?? -1]);
  const output = dims(node.output[0]);
  const unseen = 'its MACs are unknown: shapes were not seen';
  switch (kind.as) {
    case 'Gather':
      return 0;
    case 'Conv':
    case 'DeformConv':
      // W [M, C/group, kernel…]: every output element sums over C/group · kernel.
      return output && weight ? elementCount(output) * elementCount(weight.slice(1)) : unseen;
    case 'ConvTranspose':
      // W [C, M/group, kernel…]: every input element is spread over M/group · kernel.
      return data && weight ? elementCount(data) * elementCount(weight.slice(1)) : unseen;
    case 'Gemm':
      return output && data
        ? elementCount(output) * (data[intAttribute(node, 'transA', 0) === 1 ? 0 : 1] ?? 1)
        : unseen;
    case 'MatMul':
      return output && data ? elementCount(output) * (data[data.length - 1] ?? 1) : unseen;
    case 'RNN': {
      const recurrence = dims(node.input[2]);
      // W [directions, gates·hidden, input], R [directions, gates·hidden, hidden], once for every step of every sequence.
      if (!data || !weight || !recurrence) return unseen;
      return elementCount(data.slice(0, 2)) * (elementCount(weight) + elementCount(recurrence));
    }
    case 'Einsum':
      return (
        einsumMacs(stringAttribute(node, 'equation', ''), node.input.map(dims)) ??
        'its MACs are unknown: this Einsum is not a product of two tensors'
      );
    default:
      return `its MACs are unknown: ${node.op_type} is not counted`;
  }
}

/** A product of two tensors multiplies once for every combination of its indices; others depend on the order chosen. */
function einsumMacs(equation: string, operands: readonly (readonly number[] | undefined)[]): number | undefined {
  const terms = (equation.replace(/\s/g, '').split('->')[0] ?? '').split(',');
  if (terms.length !== 2 || operands.length !== 2 || equation.includes('.')) return undefined;
  const sizes = new Map<string, number>();
  for (const [i, term] of terms.entries()) {
    const dims = operands[i];
    if (dims === undefined || dims.length !== term.length) return undefined;
    [...term].forEach((index, axis) => sizes.set(index, dims[axis] ?? 1));
  }
  return [...sizes.values()].reduce((product, size) => product * size, 1);
}
