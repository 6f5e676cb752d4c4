import { edit } from './edit.ts';
import { setExits } from './exits.ts';
import type { Model } from './model.ts';
import type { NodeProto, ValueInfoProto } from './proto.ts';
import { initializers, isOp, modelInputs, producers, reads } from './query.ts';

interface Part {
  readonly wanted: readonly string[];
  /** What only this part computes. */
  readonly own: ReadonlySet<NodeProto>;
  /** With what it computes once more. */
  readonly nodes: ReadonlySet<NodeProto>;
  /** Values that it is fed: inputs of the model, and results of parts before. */
  readonly fed: ReadonlySet<string>;
}

/**
 * Cuts a model into consecutive models: each computes the wanted values of its group from the model's inputs and from what the ones before gave, and
 * nothing that they computed. A part's outputs are its wanted values and what later parts read. Constants that several parts read stand in each; so
 * does a DequantizeLinear that leads from one to another: codes cross the cut, and integer kernels stay whole.
 * @param groups names of values that the model computes, in order.
 * @param crosses whether a value may be handed to a later part; one that may not is computed there once more.
 * @param described a value that crosses a cut as a graph input: its name, type and shape.
 */
export function consecutiveParts(
  model: Model,
  groups: readonly (readonly string[])[],
  { crosses, described }: { readonly crosses: (value: string) => boolean; readonly described: (value: string) => ValueInfoProto }, // prettier-ignore
): Model[] {
  const parts = partsOf(model, groups, crosses);
  const inputs = new Map(model.graph.input.map((value) => [value.name, value]));
  const outputs = new Map(model.graph.output.map((value) => [value.name, value]));
  return parts.map(({ wanted, own, nodes, fed }, i) => {
    const made = new Set([...own].flatMap(({ output }) => output));
    const later = parts.slice(i + 1).flatMap((part) => [...part.fed]).filter((name) => made.has(name)); // prettier-ignore
    return edit(model, (draft) => {
      draft.freezeInputs();
      for (const node of model.graph.node) if (!nodes.has(node)) draft.removeNode(node);
      draft.setInputs([...fed].map((name) => inputs.get(name) ?? described(name)));
      draft.setOutputs([...new Set([...wanted, ...later])].map((name) => outputs.get(name) ?? described(name)));
      setExits(draft, []);
    });
  });
}

function partsOf(model: Model, groups: readonly (readonly string[])[], crosses: (value: string) => boolean): Part[] {
  const { graph } = model;
  const made = producers(graph);
  const stored = initializers(graph);
  const given = new Set(modelInputs(model).map(({ name }) => name));
  const constant = constantNodes(model);
  const done = new Set<NodeProto>();
  return groups.map((wanted) => {
    const own = new Set<NodeProto>();
    const nodes = new Set<NodeProto>();
    const fed = new Set<string>();
    const open = [...wanted];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      const node = made.get(name);
      const copied = node && (constant.has(node) || isOp(node, 'DequantizeLinear') || !crosses(name));
      if (given.has(name) || (node && done.has(node) && copied !== true)) fed.add(name);
      if (!node || stored.has(name) || fed.has(name) || nodes.has(node)) continue;
      nodes.add(node);
      if (!done.has(node)) own.add(node);
      open.push(...reads(node));
    }
    for (const node of own) done.add(node);
    return { wanted, own, nodes, fed };
  });
}

/** Nodes that give the same in every run. */
function constantNodes({ graph }: Model): ReadonlySet<NodeProto> {
  const fixed = new Set(graph.initializer.map(({ name }) => name));
  const found = new Set<NodeProto>();
  for (const node of graph.node) {
    if (isOp(node, 'RandomNormal', 'RandomUniform') || ![...reads(node)].every((name) => fixed.has(name))) continue;
    found.add(node);
    for (const name of node.output) fixed.add(name);
  }
  return found;
}
