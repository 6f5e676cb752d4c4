import { attribute } from '../../graph/attribute.ts';
import { TensorCodec, int64, toBigInt, type NodeProto, type TensorProto } from '../../graph/proto.ts';
import { makeTensor, renamed } from '../../graph/tensor.ts';

/** The tensor of a Constant node under its output's name; undefined for a sparse one. */
export function constantTensor(node: NodeProto): TensorProto | undefined {
  const name = node.output[0] ?? '';
  const of = (what: string) => attribute(node, what);
  const tensor = of('value')?.t;
  if (tensor) return renamed(tensor, name);
  const float = of('value_float');
  if (float) return makeTensor(name, 'float32', [], Float32Array.of(float.f));
  const int = of('value_int');
  if (int) return makeTensor(name, 'int64', [], BigInt64Array.of(toBigInt(int.i)));
  const floats = of('value_floats')?.floats;
  if (floats) return makeTensor(name, 'float32', [floats.length], Float32Array.from(floats));
  const ints = of('value_ints')?.ints;
  if (ints) return makeTensor(name, 'int64', [ints.length], BigInt64Array.from(ints, toBigInt));
  const strings = of('value_strings')?.strings;
  const text = of('value_string')?.s;
  if (strings || text) return stringTensor(name, strings ?? [text as Uint8Array], strings !== undefined);
  return undefined;
}

function stringTensor(name: string, string_data: Uint8Array[], vector: boolean): TensorProto {
  const dims = vector ? [int64(string_data.length)] : [];
  return TensorCodec.create({ name, data_type: 8, dims, string_data: [...string_data] });
}
