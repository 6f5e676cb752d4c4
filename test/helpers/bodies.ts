import { makeNode } from '../../src/graph/build.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import {
  AttributeCodec,
  GraphCodec,
  NodeCodec,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../../src/graph/proto.ts';

/** A body of a control-flow node. */
export interface Body {
  readonly nodes: readonly NodeProto[];
  readonly outputs: readonly ValueInfoProto[];
  readonly inputs?: readonly ValueInfoProto[];
  readonly initializers?: readonly TensorProto[];
}

/** An If, Loop or Scan with its bodies by attribute. */
export function control(
  op: 'If' | 'Loop' | 'Scan',
  inputs: readonly string[],
  outputs: readonly string[],
  bodies: Readonly<Record<string, Body>>,
  attributes: Readonly<Record<string, AttributeValue>> = {},
): NodeProto {
  const node = makeNode(op, inputs, outputs, attributes, { name: `${outputs[0]}!` });
  const graphs = Object.entries(bodies).map(
    ([name, { nodes, outputs: results, inputs: own = [], initializers = [] }]) =>
      AttributeCodec.create({
        name,
        type: 5,
        g: GraphCodec.create({
          name,
          node: [...nodes],
          input: [...own],
          output: [...results],
          initializer: [...initializers],
        }),
      }),
  );
  return NodeCodec.amend(node, { attribute: [...node.attribute, ...graphs] });
}
