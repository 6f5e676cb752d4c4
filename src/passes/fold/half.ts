import { dtypes } from '../../graph/dtype.ts';
import { intAttribute } from '../../graph/attribute.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { isOp } from '../../graph/query.ts';
import { dimsOf, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { fromBfloat16, fromFloat16 } from '../../numerics/float16.ts';
import type { Note } from '../pass.ts';
import { constantTensors } from './tensors.ts';

/**
 * Weights that are stored as FLOAT16 or BFLOAT16 behind a Cast become the float32 constants that Cast gives, exactly, so that
 * quantizers find them. `fold/constants` alone leaves them: for itself it may not make a file larger.
 */
export function withWidened(model: Model): { readonly model: Model; readonly notes: readonly Note[] } {
  const tensors = constantTensors(model);
  const outputs = new Set(model.graph.output.map((output) => output.name));
  const casts = model.graph.node.filter((node) => {
    const tensor = tensors.get(node.input[0] ?? '');
    return (
      isOp(node, 'Cast') &&
      intAttribute(node, 'to', 0) === dtypes.float32.code &&
      tensor !== undefined &&
      ['float16', 'bfloat16'].includes(typeOf(tensor)) &&
      !outputs.has(node.output[0] ?? '')
    );
  });
  if (casts.length === 0) return { model, notes: [] };
  const widened = edit(model, (draft) => {
    for (const node of casts) {
      const [from = '', to = ''] = node.input.concat(node.output);
      const tensor = tensors.get(from);
      if (!tensor) continue;
      const bits = tensorData(tensor) as Uint16Array;
      const data = typeOf(tensor) === 'float16' ? fromFloat16(bits) : fromBfloat16(bits);
      draft.removeNode(node);
      draft.replace(to, makeTensor(to, 'float32', dimsOf(tensor), data));
    }
  });
  const text = `weights read as float32 that are stored in 16 bits: ${casts.length}`;
  return { model: widened, notes: [{ layer: 'Cast', text }] };
}
