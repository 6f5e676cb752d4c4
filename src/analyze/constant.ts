import { makeModel, makeValue } from '../graph/build.ts';
import type { Model } from '../graph/model.ts';
import { initializers, producers, reads } from '../graph/query.ts';
import { floatData, typeOf } from '../graph/tensor.ts';
import { toNumber, type NodeProto, type TensorProto } from '../graph/proto.ts';
import { withSession } from '../runtime/session.ts';

/** Reads constants of one model as float32 values, one at a time. */
export type ConstantReader = (name: string) => Promise<Float32Array | undefined>;

/**
 * A reader of a model's constants: an initializer is read as it stands, what is computed from constants (dequantized or unpacked
 * weights) by onnxruntime, on a graph of these nodes alone. undefined for what is no constant, or not of float32.
 */
export function constantReader(model: Model): ConstantReader {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  return async (name) => {
    const stored = tensors.get(name);
    if (stored !== undefined) return typeOf(stored) === 'float32' ? floatData(stored) : undefined;
    const nodes = new Set<NodeProto>();
    const constants = new Map<string, TensorProto>();
    const visit = (value: string): boolean => {
      const tensor = tensors.get(value);
      if (tensor !== undefined) {
        constants.set(value, tensor);
        return true;
      }
      const node = made.get(value);
      if (node === undefined || node.op_type.startsWith('Random')) return false;
      return nodes.has(node) || ([...reads(node)].every(visit) && Boolean(nodes.add(node)));
    };
    if (!visit(name)) return undefined;
    const domains = model.proto.opset_import.map((entry) => [entry.domain, toNumber(entry.version)] as const);
    const graph = makeModel({
      inputs: [],
      outputs: [makeValue(name, 'float32')],
      // A set keeps the order in which nodes were added: makers before readers.
      nodes: [...nodes],
      initializers: [...constants.values()],
      ...(domains.some(([domain]) => domain === '') ? {} : { opset: 21 }),
      domains: Object.fromEntries(domains),
      ir: toNumber(model.proto.ir_version),
    });
    try {
      const { [name]: value } = await withSession(graph, { optimization: 'disabled' }, (session) => session.run({}));
      return value?.data instanceof Float32Array ? value.data : undefined;
    } catch {
      // A weight of another type, or one that needs a function of the model's own: nothing to draw, and no reason to fail.
      return undefined;
    }
  };
}
