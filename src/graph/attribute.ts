import { AttributeCodec, int64, toNumber, type AttributeProto, type NodeProto, type TensorProto } from './proto.ts';

/** AttributeProto.AttributeType of onnx.proto, as far as qtool writes them. */
const kinds = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7, strings: 8 } as const;

/** The attribute of that name, if the node carries it. */
export function attribute(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((a) => a.name === name);
}

/** An integer attribute, or the operator's default. */
export function intAttribute(node: NodeProto, name: string, otherwise: number): number {
  const found = attribute(node, name);
  return found ? toNumber(found.i) : otherwise;
}

/** A float attribute, or the operator's default. */
export function floatAttribute(node: NodeProto, name: string, otherwise: number): number {
  return attribute(node, name)?.f ?? otherwise;
}

/** A list of integers, or undefined where the node leaves it to the operator's default. */
export function intsAttribute(node: NodeProto, name: string): number[] | undefined {
  return attribute(node, name)?.ints.map(toNumber);
}

/** A string attribute, or the operator's default. */
export function stringAttribute(node: NodeProto, name: string, otherwise: string): string {
  const found = attribute(node, name);
  return found ? new TextDecoder().decode(found.s) : otherwise;
}

/** The tensor of a tensor attribute (`value` of Constant). */
export function tensorAttribute(node: NodeProto, name: string): TensorProto | undefined {
  return attribute(node, name)?.t ?? undefined;
}

export type AttributeValue =
  | number
  | bigint
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | { readonly tensor: TensorProto };

/** Writes an attribute: a number is INT, a list INTS; floats are marked `{ float }` or `{ floats }`. */
export function makeAttribute(name: string, value: AttributeValue): AttributeProto {
  if (typeof value === 'number' || typeof value === 'bigint')
    return AttributeCodec.create({ name, type: kinds.int, i: int64(value) });
  if (typeof value === 'string')
    return AttributeCodec.create({ name, type: kinds.string, s: new TextEncoder().encode(value) });
  if ('float' in value) return AttributeCodec.create({ name, type: kinds.float, f: value.float });
  if ('floats' in value) return AttributeCodec.create({ name, type: kinds.floats, floats: [...value.floats] });
  if ('tensor' in value) return AttributeCodec.create({ name, type: kinds.tensor, t: value.tensor });
  return AttributeCodec.create({ name, type: kinds.ints, ints: value.map(int64) });
}
