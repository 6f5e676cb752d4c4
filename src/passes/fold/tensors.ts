import type { Model } from '../../graph/model.ts';
import { toNumber, type NodeProto, type TensorProto } from '../../graph/proto.ts';
import { consumers, initializers } from '../../graph/query.ts';
import { dimsOf, tensorNumbers } from '../../graph/tensor.ts';

/** Initializers whose values nobody can override: before IR 4 all, later those that are no inputs. */
export function constantTensors(model: Model): Map<string, TensorProto> {
  const tensors = initializers(model.graph);
  if (toNumber(model.proto.ir_version) >= 4) for (const input of model.graph.input) tensors.delete(input.name);
  return tensors;
}

/**
 * A constant that is added to or multiplied with a value of `rank` axes and has one number a channel, channels lying on
 * `axis`: one entry a channel. Undefined where it differs within a channel or makes the value larger.
 */
export function perChannel(
  tensor: TensorProto,
  axis: number,
  rank: number,
  channels: number,
): Float64Array | undefined {
  const dims = dimsOf(tensor);
  if (dims.length > rank) return undefined;
  const values = tensorNumbers(tensor);
  const full = [...Array<number>(rank - dims.length).fill(1), ...dims];
  if (full.some((dim, i) => dim !== 1 && !(i === axis && dim === channels))) return undefined;
  return Float64Array.from({ length: channels }, (_, c) => values[values.length === 1 ? 0 : c]!);
}

/** Whether one node alone reads the value, and no output of the model is it. */
export function readOnce(model: Model, name: string): boolean {
  return consumers(model.graph).get(name)?.length === 1 && !model.graph.output.some((o) => o.name === name);
}

/** Whether a tensor may be changed for this node: nothing else reads it, and the node reads it once. */
export function ownedBy(model: Model, node: NodeProto, name: string): boolean {
  return readOnce(model, name) && node.input.filter((n) => n === name).length === 1;
}
