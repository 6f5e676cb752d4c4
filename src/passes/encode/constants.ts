import { createHash } from 'node:crypto';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { dimsOf, tensorData, typeOf } from '../../graph/tensor.ts';
import { fixedNames } from './names.ts';

/** Constants that are equal, such as the zero points of all layers, become one. */
export function withSharedConstants(model: Model): Model {
  const fixed = fixedNames(model.graph);
  const first = new Map<string, string>();
  const instead = new Map<string, string>();
  for (const tensor of model.graph.initializer) {
    if (fixed.has(tensor.name) || typeOf(tensor) === 'string') continue;
    const key = keyOf(tensor);
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

/** Equal for constants of the same type, shape and elements, bit for bit. */
function keyOf(tensor: TensorProto): string {
  const { buffer, byteOffset, byteLength } = tensorData(tensor);
  const hash = createHash('sha256').update(new Uint8Array(buffer, byteOffset, byteLength));
  return `${typeOf(tensor)} ${dimsOf(tensor).join()} ${hash.digest('base64')}`;
}
