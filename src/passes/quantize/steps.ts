import { makeNode } from '../../graph/build.ts';
import type { Draft } from '../../graph/edit.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { makeTensor } from '../../graph/tensor.ts';

/** Adds a node of one result, and names that: how chains of nodes are put together that decode what is stored. */
export type Step = (
  op: string,
  inputs: string[],
  hint: string,
  attributes?: Record<string, number | number[]>,
) => string;

export const stepsOf =
  (draft: Draft): Step =>
  (op, inputs, hint, attributes = {}) => {
    const value = draft.freshName(hint);
    draft.addNode(makeNode(op, inputs, [value], attributes));
    return value;
  };

/** A vector of whole numbers, as shapes and axes are. */
export const int64 = (values: readonly number[]): TensorProto =>
  makeTensor('values', 'int64', [values.length], BigInt64Array.from(values, BigInt));
