import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp } from '../../graph/query.ts';
import { makeTensor, tensorNumbers, typeOf } from '../../graph/tensor.ts';
import { constantTensors, ownedBy } from './tensors.ts';

/** A BatchNormalization at inference: y = (x − mean) / √(variance + ε) · gamma + beta, one entry a channel. */
export interface Normalization {
  readonly gamma: Float64Array;
  readonly beta: Float64Array;
  readonly mean: Float64Array;
  readonly variance: Float64Array;
  readonly epsilon: number;
}

export function isNormalization(node: NodeProto): boolean {
  return isOp(node, 'BatchNormalization');
}

/** Reads a BatchNormalization, or says why it cannot be folded. */
export function normalization(model: Model, node: NodeProto): Normalization | string {
  if (node.output.slice(1).some((name) => name !== '') || intAttribute(node, 'training_mode', 0) !== 0)
    return 'it is in training mode';
  if (intAttribute(node, 'spatial', 1) === 0) return 'its statistics are per element (spatial = 0)';
  const tensors = constantTensors(model);
  const parts: Float64Array[] = [];
  for (const name of node.input.slice(1, 5)) {
    const tensor = tensors.get(name);
    if (!tensor || typeOf(tensor) !== 'float32') return `its parameter "${name}" is not a float32 constant`;
    parts.push(Float64Array.from(tensorNumbers(tensor)));
  }
  const [gamma, beta, mean, variance] = parts;
  if (!gamma || !beta || !mean || !variance) return 'it lacks a parameter';
  return { gamma, beta, mean, variance, epsilon: floatAttribute(node, 'epsilon', 1e-5) };
}

/** Gives it another gamma and beta, its own where others read them too, and its result another name. */
export function replaceNormalization(
  draft: Draft,
  model: Model,
  node: NodeProto,
  values: Pick<Normalization, 'gamma' | 'beta'>,
  output: string,
): void {
  const input = [...node.input];
  [values.gamma, values.beta].forEach((data, i) => {
    const name = input[i + 1] ?? '';
    const tensor = makeTensor(name, 'float32', [data.length], Float32Array.from(data));
    if (ownedBy(model, node, name)) draft.replace(name, tensor);
    else input[i + 1] = draft.add(`${name}_${output}`, tensor);
  });
  draft.update(node, { input, output: [output] });
}
