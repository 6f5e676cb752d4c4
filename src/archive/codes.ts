import { dtypes } from '../graph/dtype.ts';
import type { GraphProto, NodeProto, TensorProto } from '../graph/proto.ts';
import { consumers, initializers, isOp, producers } from '../graph/query.ts';
import { dimsOf, elementCount, tensorNumbers, typeOf } from '../graph/tensor.ts';

/** A table is small: what has more elements is looked up by no code. */
const largestTable = 2 ** 16;

/**
 * Which codes of a tensor stand for 0, where it is not the code 0: those of a zero point that is one for all (DequantizeLinear), or of entries of a
 * table that are 0 (GatherElements or Gather of codes cast and reshaped, as number formats are stored). Where each group of codes has a table of its own, the
 * code has to be 0 in all of them.
 */
export function zeroCodes(graph: Readonly<GraphProto>): Map<string, ReadonlySet<number>> {
  const tensors = initializers(graph);
  const made = producers(graph);
  const readers = consumers(graph);
  const only = (value: string): NodeProto | undefined => {
    const all = readers.get(value) ?? [];
    return all.length === 1 ? all[0] : undefined;
  };
  const stored = (value: string): TensorProto | undefined => {
    const node = made.get(value);
    const tensor = tensors.get(node && isOp(node, 'Cast') ? node.input[0]! : value);
    const small = tensor && tensor.data_location !== 1 && elementCount(dimsOf(tensor)) <= largestTable;
    return small ? tensor : undefined;
  };
  const found = new Map<string, ReadonlySet<number>>();
  for (const name of tensors.keys()) {
    const first = only(name);
    if (first && isOp(first, 'DequantizeLinear') && first.input[0] === name) {
      const point = stored(first.input[2] ?? '');
      const points = new Set(point && typeOf(point) !== 'string' ? tensorNumbers(point) : []);
      // As the element's bits: of int8, −1 is the byte 255.
      const mask = point ? 2 ** dtypes[typeOf(point)].bits - 1 : 0;
      if (points.size === 1) found.set(name, new Set([...points].map((code) => (code & mask) >>> 0)));
      continue;
    }
    let value = first && isOp(first, 'Cast') ? first.output[0]! : '';
    let node = only(value);
    let groups = 1;
    while (node && isOp(node, 'Reshape', 'Add')) {
      const offsets = isOp(node, 'Add') ? stored(node.input.find((other) => other !== value) ?? '') : undefined;
      if (offsets) groups = elementCount(dimsOf(offsets));
      value = node.output[0]!;
      node = only(value);
    }
    const table = node && isOp(node, 'GatherElements', 'Gather') ? stored(node.input[0]!) : undefined;
    if (!table || typeOf(table) === 'string') continue;
    const levels = tensorNumbers(table);
    const each = levels.length / groups;
    if (each % 1 > 0) continue;
    const codes = Array.from({ length: each }, (_, code) => code);
    found.set(name, new Set(codes.filter((code) => levels.every((level, i) => i % each !== code || level === 0 || halfZero(table, level))))); // prettier-ignore
  }
  return found;
}

/** Zero of a float16 whose bits are told as a whole number: 0, or −0. */
const halfZero = (table: TensorProto, level: number): boolean => typeOf(table) === 'float16' && level === 0x8000;
