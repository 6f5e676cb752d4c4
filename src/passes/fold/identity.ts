import { edit, removeUnread } from '../../graph/edit.ts';
import { intsAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { captured, consumers, isOp, layerName, producers, subgraphs } from '../../graph/query.ts';
import { must } from '../../util/must.ts';
import type { Note } from '../pass.ts';
import { foldEach, foldPass } from './each.ts';
import { doesNothing, mayDoNothing } from './no_effect.ts';
import { staticShapes } from './static_shapes.ts';

/**
 * Removes nodes that pass their input on unchanged: Identity, Dropout, a Cast to the same type, a Reshape to the same shape, a
 * Pad of nothing, a Slice of everything …, joins Transposes that follow each other, and writes a Sum of two as Add. Names of
 * model outputs are kept.
 */
export const foldIdentity = foldPass({
  name: 'fold/identity',
  classes: ['FoldIdentity'],
  summary: 'removes nodes without effect and joins Transposes',
  async apply(model, _options, ctx) {
    const changed: Note[] = [];
    const joined = joinTransposes(sumsAsAdds(model, changed), changed);
    const candidates = joined.graph.node.filter(mayDoNothing);
    if (candidates.length === 0) return { model: joined, changed, skipped: [] };
    const shapes = await staticShapes(model, ctx);
    const result = foldEach(joined, candidates, (now, node) => {
      // A fold before may have renamed this node's input, whose shape is that of the name it had.
      const why = doesNothing(node, joined, shapes);
      if (why === undefined) return undefined;
      const next = bypass(now, node.output[0] as string);
      return typeof next === 'string'
        ? `${why}, but ${next}`
        : { model: next, text: `${node.op_type} removed: ${why}` };
    });
    return { ...result, changed: [...changed, ...result.changed] };
  },
});

/** Takes out the node that makes `y` of its first input, or says what is in the way. */
function bypass(model: Model, y: string): Model | string {
  const node = must(producers(model.graph), y, 'the node that makes');
  const [x = ''] = node.input;
  const outputs = new Set(model.graph.output.map((o) => o.name));
  const inBody = (name: string): boolean =>
    model.graph.node.some((n) => subgraphs(n).some((body) => captured(body).has(name)));
  if (!outputs.has(y)) {
    if (inBody(y)) return `a body of an If or Loop reads "${y}"`;
    return edit(model, (draft) => {
      draft.rewire(y, x);
      draft.removeNode(node);
    });
  }
  // The output's name must stay, so the node before takes it over.
  const from = producers(model.graph).get(x);
  if (!from) return `it gives an input or constant the name of the output "${y}"`;
  if (outputs.has(x)) return `"${x}" and "${y}" are both outputs of the model`;
  if (inBody(x)) return `a body of an If or Loop reads "${x}"`;
  return edit(model, (draft) => {
    draft.removeNode(node);
    draft.rewire(x, y);
    draft.update(from, { output: from.output.map((name) => (name === x ? y : name)) });
  });
}

/** Integer kernels know Add; a Sum of two is one. */
function sumsAsAdds(model: Model, changed: Note[]): Model {
  const sums = model.graph.node.filter((node) => isOp(node, 'Sum') && node.input.length === 2);
  if (sums.length === 0) return model;
  return edit(model, (draft) => {
    for (const node of sums) {
      draft.update(node, { op_type: 'Add' });
      changed.push({ layer: layerName(node), text: 'Sum of two values written as Add' });
    }
  });
}

/** T₂(T₁(x)) is one Transpose of x; T₁ goes if nothing else reads it. */
function joinTransposes(model: Model, changed: Note[]): Model {
  const outputs = new Set(model.graph.output.map((o) => o.name));
  let now = model;
  for (const { output } of model.graph.node.filter((node) => isOp(node, 'Transpose'))) {
    const made = producers(now.graph);
    const second = made.get(output[0] ?? '');
    const first = made.get(second?.input[0] ?? '');
    if (!first || !second || !isOp(first, 'Transpose')) continue;
    const perm = composed(first, second);
    const [between = ''] = first.output;
    const alone = consumers(now.graph).get(between)?.length === 1 && !outputs.has(between);
    const [x = ''] = first.input;
    if (!perm || !(alone || perm.every((axis, i) => axis === i))) continue;
    now = edit(now, (draft) => {
      const joined = draft.update(second, { input: [x] });
      draft.setAttribute(joined, 'perm', perm);
      removeUnread(draft, outputs);
    });
    changed.push({ layer: layerName(second), text: `joined with the Transpose "${layerName(first)}" before it` });
  }
  return now;
}

/** Axis i of the result is axis p₁[p₂[i]] of x. An absent perm reverses the axes. */
function composed(first: NodeProto, second: NodeProto): number[] | undefined {
  const one = intsAttribute(first, 'perm');
  const two = intsAttribute(second, 'perm');
  const rank = (one ?? two)?.length;
  if (rank === undefined) return undefined;
  const reversed = Array.from({ length: rank }, (_, i) => rank - 1 - i);
  return (two ?? reversed).map((axis) => (one ?? reversed)[axis] as number);
}
