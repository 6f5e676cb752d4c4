import type { NodeProto } from '../graph/proto.ts';
import type { TypedArray } from '../graph/dtype.ts';
import type { GraphWriter, Value } from './writer.ts';

/** One node of the forward graph, as its rule sees it. */
export interface GradientContext {
  readonly node: NodeProto;
  readonly w: GraphWriter;
  /** An input or output of the node in the forward graph. @throws where it has none there. */
  x(input: number): Value;
  y(output: number): Value;
  /** Whether the node has that input. */
  has(input: number): boolean;
  /** The gradient by an output; undefined where nothing depends on it. */
  dy(output: number): Value | undefined;
  /** Whether the gradient by that input is asked for. */
  needs(input: number): boolean;
  /** What a constant input holds; undefined where it is computed. */
  constant(input: number): TypedArray | undefined;
  /** The same as numbers; undefined too where the node has no such input. */
  numbers(input: number): readonly number[] | undefined;
  /** Which kernels it is written for: some operators have none on WebGPU. */
  readonly target: Target;
}

export type Target = 'cpu' | 'webgpu';

/** The gradient of a family of operators: of a loss by an operator's inputs, given that by its outputs. One file a family. */
export interface GradientRule {
  readonly ops: readonly string[];
  /** Where the formula is from, or why it is plain. */
  readonly source: string;
  /** Outputs that the rule reads and the model may not have (indices of MaxPool, mean and deviation of LayerNormalization). */
  readonly wants?: (node: NodeProto, target: Target) => readonly number[];
  /** Why this use of the operator has no gradient here, as the end of "it ..."; undefined where it has one. */
  refuse?(c: GradientContext): string | undefined;
  /** The gradients by the inputs; undefined for those that are not asked for. */
  gradient(c: GradientContext): readonly (Value | undefined)[];
}
