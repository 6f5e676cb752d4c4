import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { dimsOf, tensorData, typeOf } from '../../graph/tensor.ts';
import { fixedNames } from './names.ts';
import { keyOf } from './store.ts';

/** Constants that are equal, such as the zero points of all layers, become one. */
export function withSharedConstants(model: Model): Model {
  const fixed = fixedNames(model.graph);
  const first = new Map<string, string>();
  const instead = new Map<string, string>();
  for (const tensor of model.graph.initializer) {
    const type = typeOf(tensor);
    if (fixed.has(tensor.name) || type === 'string') continue;
    const key = keyOf(type, dimsOf(tensor), tensorData(tensor));
    const known = first.get(key);
    if (known === undefined) first.set(key, tensor.name);
    else instead.set(tensor.name, known);
  }
  if (instead.size === 0) return model;
  return edit(model, (draft) => {
    for (const node of draft.nodes())
      if (node.input.some((name) => instead.has(name)))
        draft.update(node, { input: node.input.map((name) => instead.get(name) ?? name) });
  });
}
