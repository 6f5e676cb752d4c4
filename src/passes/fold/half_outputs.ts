import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { ValueInfoCodec, type ValueInfoProto } from '../../graph/proto.ts';
import { consumers, describeValue, isOp, producers } from '../../graph/query.ts';
import { nodeWith, valueWith } from './float32_nodes.ts';
import { isWideCast } from './half.ts';

/** The FLOAT16 outputs that a Cast makes and nothing else reads. */
function castOutputs({ graph }: Model): ValueInfoProto[] {
  const [made, readers] = [producers(graph), consumers(graph)];
  return graph.output.filter((value) => {
    const node = made.get(value.name);
    return describeValue(value).type === 'float16' && node && isOp(node, 'Cast') && !readers.has(value.name);
  });
}

/** The model with float32 outputs in the place of those that a last Cast makes FLOAT16: what passes compare and train on. */
export function withFloatOutputs(model: Model): Model {
  const values = new Set(castOutputs(model));
  if (values.size === 0) return model;
  const made = producers(model.graph);
  return edit(model, (draft) => {
    for (const { name } of values) draft.setAttribute(made.get(name)!, 'to', dtypes.float32.code);
    draft.setOutputs(model.graph.output.map((value) => (values.has(value) ? valueWith(value) : value)));
  });
}

/** The model with the outputs FLOAT16 again that are so in `before`. */
export function withHalfOutputs(model: Model, before: Model): Model {
  const half = new Set(castOutputs(before).map(({ name }) => name));
  const wide = model.graph.output.filter((value) => half.has(value.name) && describeValue(value).type === 'float32');
  if (wide.length === 0) return model;
  const [made, readers] = [producers(model.graph), consumers(model.graph)];
  return edit(model, (draft) => {
    const names = new Map<string, string>();
    for (const { name } of wide) {
      const node = made.get(name);
      const to = { to: dtypes.float16.code };
      if (node && isWideCast(node) && !readers.has(name)) draft.setAttribute(node, 'to', to.to);
      else {
        names.set(name, draft.freshName(`${name}_float32`));
        draft.addNode(makeNode('Cast', [names.get(name)!], [name], to));
      }
    }
    for (const node of model.graph.node) {
      const now = draft.current(node);
      const next = nodeWith(now, names, (base) => draft.freshName(base), true);
      if (next !== now) draft.update(node, next);
    }
    draft.setOutputs(model.graph.output.map((value) => (wide.includes(value) ? narrow(value) : value)));
  });
}

const narrow = (value: ValueInfoProto): ValueInfoProto =>
  ValueInfoCodec.amend(value, {
    type: { ...value.type, tensor_type: { ...value.type?.tensor_type, elem_type: dtypes.float16.code } },
  });
