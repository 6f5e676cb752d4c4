import { dtypes, type DType } from '../../graph/dtype.ts';
import { intAttribute } from '../../graph/attribute.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { isOp } from '../../graph/query.ts';
import { dimsOf, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { fromBfloat16, fromFloat16 } from '../../numerics/float16.ts';
import type { Note } from '../pass.ts';
import { constantTensors } from './tensors.ts';

/** Floats of 16 bits. */
export type HalfType = Extract<DType, 'float16' | 'bfloat16'>;

/** Which of them an element type is; undefined for all others. */
export function halfType(code: number | undefined): HalfType | undefined {
  if (code === dtypes.float16.code) return 'float16';
  return code === dtypes.bfloat16.code ? 'bfloat16' : undefined;
}

/** The float32 numbers of a tensor of 16-bit floats, exactly, under its name. */
export function widened(tensor: TensorProto): TensorProto {
  const bits = tensorData(tensor) as Uint16Array;
  const data = typeOf(tensor) === 'float16' ? fromFloat16(bits) : fromBfloat16(bits);
  return makeTensor(tensor.name, 'float32', dimsOf(tensor), data);
}

/** Whether a node is a Cast to float32. */
export const isWideCast = (node: NodeProto): boolean =>
  isOp(node, 'Cast') && intAttribute(node, 'to', 0) === dtypes.float32.code;

/** The Casts of the main graph that make float32 constants of stored 16-bit floats: the constant's name → what is stored. */
export function storedHalves(model: Model): Map<string, TensorProto> {
  const tensors = constantTensors(model);
  const outputs = new Set(model.graph.output.map((output) => output.name));
  return new Map(
    model.graph.node.filter(isWideCast).flatMap((node): [string, TensorProto][] => {
      const tensor = tensors.get(node.input[0] ?? '');
      const to = node.output[0] ?? '';
      return tensor && halfType(tensor.data_type) && !outputs.has(to) ? [[to, tensor]] : [];
    }),
  );
}

/**
 * Weights that are stored as FLOAT16 or BFLOAT16 behind a Cast become the float32 constants that Cast gives, exactly, so that
 * passes find them: all, or `only` some. `fold/constants` alone leaves them: for itself it may not make a file larger.
 */
export function withWidened(
  model: Model,
  only: (name: string, stored: TensorProto) => boolean = () => true,
): { readonly model: Model; readonly notes: readonly Note[] } {
  const halves = new Map([...storedHalves(model)].filter(([name, stored]) => only(name, stored)));
  if (halves.size === 0) return { model, notes: [] };
  const wide = edit(model, (draft) => {
    for (const node of model.graph.node) {
      const to = node.output[0] ?? '';
      const tensor = halves.get(to);
      if (!tensor) continue;
      draft.removeNode(node);
      draft.replace(to, widened(tensor));
    }
  });
  const text = `weights read as float32 that are stored in 16 bits: ${halves.size}`;
  return { model: wide, notes: [{ layer: 'Cast', text }] };
}
