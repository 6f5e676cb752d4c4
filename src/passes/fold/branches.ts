import { makeNode } from '../../graph/build.ts';
import { attribute } from '../../graph/attribute.ts';
import { allNames } from '../../graph/draft.ts';
import { edit, removeUnread } from '../../graph/edit.ts';
import { modelOf, type Model } from '../../graph/model.ts';
import { GraphCodec, ModelCodec, type GraphProto, type NodeProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, reads } from '../../graph/query.ts';
import { definedIn, freshNames, graphWithNames, type NewName } from '../../graph/rename.ts';
import { tensorData } from '../../graph/tensor.ts';
import type { Note } from '../pass.ts';

/**
 * Puts the branch that is always taken in the place of every If whose condition is a constant, exactly. One level: what lies in the branch
 * may have constant conditions of its own once its constants are computed.
 */
export function takeBranches(model: Model): { readonly model: Model; readonly changed: readonly Note[] } {
  const tensors = initializers(model.graph);
  const changed: Note[] = [];
  const known = model.graph.node.flatMap((node) => {
    const condition = isOp(node, 'If') ? tensors.get(node.input[0] ?? '') : undefined;
    if (!condition) return [];
    const name = Number(tensorData(condition)[0]) !== 0 ? 'then_branch' : 'else_branch';
    const branch = attribute(node, name)?.g;
    return branch ? [{ node, branch, name }] : [];
  });
  if (known.length === 0) return { model, changed };
  const branches = new Map(known.map((one) => [one.node, one]));
  const around = model.graph.node.filter((node) => !branches.has(node));
  const results = known.flatMap(({ node }) => node.output);
  const fresh = freshNames(new Set([...allNames(GraphCodec.amend(model.graph, { node: around })), ...results]));
  const initializer = [...model.graph.initializer];
  const node = model.graph.node.flatMap((one) => {
    const found = branches.get(one);
    if (!found) return [one];
    const { graph, copies } = asPart(one, found.branch, fresh);
    initializer.push(...graph.initializer);
    changed.push({ layer: layerName(one), text: `its condition is constant: the ${found.name} stands in its place` });
    return [...graph.node, ...copies];
  });
  const graph = GraphCodec.amend(model.graph, { node, initializer });
  const outputs = new Set(graph.output.map(({ name }) => name));
  const before = new Set(consumers(model.graph).keys());
  const taken = edit(modelOf(ModelCodec.amend(model.proto, { graph }), model.path), (draft) => {
    removeUnread(draft, outputs);
    // What only the other branches read.
    const read = new Set([...outputs, ...draft.nodes().flatMap((one) => [...reads(one)])]);
    for (const { name } of model.graph.initializer)
      if (before.has(name) && !read.has(name)) draft.removeInitializer(name);
  });
  return { model: taken, changed };
}

/** A branch with names that the graph around it does not have, and its outputs under the names of the node's. */
function asPart(
  node: NodeProto,
  branch: GraphProto,
  fresh: NewName,
): { readonly graph: GraphProto; readonly copies: readonly NodeProto[] } {
  const made = new Set(branch.node.flatMap(({ output }) => output));
  const names = new Map<string, string>();
  const same: [string, string][] = [];
  branch.output.forEach(({ name }, i) => {
    const result = node.output[i] ?? '';
    if (result === '') return;
    if (made.has(name) && !names.has(name)) names.set(name, result);
    else same.push([name, result]);
  });
  const inner = [...definedIn(branch.node), ...branch.initializer.map(({ name }) => name)];
  for (const value of inner) if (!names.has(value)) names.set(value, fresh(value));
  const of = (value: string): string => names.get(value) ?? value;
  return {
    graph: graphWithNames(branch, of),
    copies: same.map(([from, to]) => makeNode('Identity', [of(from)], [to])),
  };
}
