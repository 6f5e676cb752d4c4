import { productOf } from '../graph/ops.ts';
import type { Product } from '../graph/product.ts';
import type { GraphProto, NodeProto } from '../graph/proto.ts';
import { reads } from '../graph/query.ts';

/** Values that depend on constants alone: initializers, Constant nodes, and what is computed from them (dequantized weights …). */
export function constantValues(graph: Readonly<GraphProto>): ReadonlySet<string> {
  const known = new Set(graph.initializer.map((tensor) => tensor.name));
  for (const node of graph.node)
    if ([...reads(node)].every((name) => known.has(name)) && !node.op_type.startsWith('Random'))
      for (const name of node.output) known.add(name);
  return known;
}

/**
 * `productOf`, but a Gather is a layer only where it looks rows up in a constant table (an embedding). What unpacks stored
 * weights, a Gather or an integer product of constants, is none.
 */
export function layerOf(node: NodeProto, constants: ReadonlySet<string>): Product | undefined {
  const found = productOf(node);
  const gather = found?.as === 'Gather';
  const unpacks = (gather || found?.integer === true) && constants.has(node.output[0] ?? '');
  return unpacks || (gather && !constants.has(node.input[0] ?? '')) ? undefined : found;
}
