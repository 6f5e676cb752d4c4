import type { Tensor } from '../../data/types.ts';
import type { NodeProto } from '../../graph/proto.ts';
import type { Constants } from './constants.ts';

/** How the integers of a value stand for reals: one scale and zero point, as integer kernels have activations. */
export interface Code {
  readonly scale: number;
  readonly zeroPoint: number;
  readonly type: CodeType;
}

export type CodeType = 'uint8' | 'int8' | 'uint16' | 'int16';

/** Smallest and largest code of a type. */
export const codeEnds: Readonly<Record<CodeType, readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
};

export type CodeArray = Uint8Array | Int8Array | Uint16Array | Int16Array;

/** Codes of a shape, in their own type. */
export interface Codes extends Tensor {
  readonly type: CodeType;
  readonly data: CodeArray;
}

/** Accumulators of a shape. */
export interface Sums {
  readonly dims: readonly number[];
  readonly data: Int32Array;
}

/** A quantized value that a step reads: under a name at run time, or stored. */
export interface Operand {
  readonly value: string;
  readonly code: Code;
  readonly stored?: Codes;
}

/** Where codes go, and the ends that a Relu or Clip before the quantization leaves. */
export interface Target {
  readonly value: string;
  readonly code: Code;
  readonly low: number;
  readonly high: number;
}

interface Common {
  /** Name of the layer or operator. */
  readonly layer: string;
  readonly op: string;
  readonly node: NodeProto;
}

/** Multiplies by weights, or two computed values with each other, and sums in int32. */
export interface ProductStep extends Common {
  readonly kind: 'product';
  readonly as: 'Conv' | 'Gemm' | 'MatMul';
  readonly data: Operand;
  /** Stored weights, zero points taken off; undefined where the other factor is computed. */
  readonly weights:
    { readonly dims: readonly number[]; readonly data: Int32Array; readonly raw: RawWeights } | undefined;
  /** The computed factor. */
  readonly other: Operand | undefined;
  /** One scale of weights, or one an output channel. */
  readonly scales: readonly number[];
  /** One an output channel, at the scale of the accumulator. */
  readonly bias: Int32Array | undefined;
  /** Terms of one sum. */
  readonly terms: number;
  /** Σ|w| times the largest |x|, and |bias|, of the output channel where it is most: no accumulator is larger. */
  readonly worst: number;
  readonly out: Target | undefined;
  /** Where no quantization follows: the value in float32. */
  readonly float: string | undefined;
}

/** Codes of weights as they are stored, for what processors do with them. */
export interface RawWeights {
  readonly type: CodeType;
  readonly zeroPoint: readonly number[];
}

export interface PairStep extends Common {
  readonly kind: 'pair';
  readonly does: 'add' | 'multiply';
  readonly a: Operand;
  readonly b: Operand;
  readonly out: Target;
}

export interface PoolStep extends Common {
  readonly kind: 'pool';
  readonly input: Operand;
  readonly out: Target;
}

/** A function of one number, by a table of all codes that float arithmetic fills once. */
export interface TableStep extends Common {
  readonly kind: 'table';
  readonly input: Operand;
  readonly out: Target;
}

export interface ConcatStep extends Common {
  readonly kind: 'concat';
  readonly inputs: readonly Operand[];
  readonly axis: number;
  readonly out: Target;
}

/** Moves numbers: the result has the input's code. */
export interface MoveStep extends Common {
  readonly kind: 'move';
  readonly input: Operand;
  readonly values: readonly string[];
}

/** The same value in another code. */
export interface RecodeStep extends Common {
  readonly kind: 'recode';
  readonly input: Operand;
  readonly out: Target;
}

/** Operators without an integer form, run by onnxruntime in float. */
export interface FloatStep {
  readonly kind: 'float';
  readonly nodes: ReadonlySet<NodeProto>;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export type Step = ProductStep | PairStep | PoolStep | TableStep | ConcatStep | MoveStep | RecodeStep | FloatStep;
export type IntegerStep = Exclude<Step, FloatStep>;

/** The operators of a model in the order that they run in. */
export interface IntegerPlan {
  readonly steps: readonly Step[];
  /** Values that are kept as codes. */
  readonly coded: ReadonlyMap<string, Operand>;
  /** What runs in float, and why. */
  readonly float: readonly { readonly layer: string; readonly op: string; readonly why: string }[];
}

/** The name that codes of a step stand under; undefined where it gives none of a scale of its own. */
export function targetOf(step: Step): Target | undefined {
  return step.kind === 'float' || step.kind === 'move' ? undefined : step.out;
}

/** What an operator needs to become an integer step. */
export interface Planner {
  readonly constants: Constants;
  /** The codes behind a value; undefined where it is float. */
  operand(value: string): Promise<Operand | undefined>;
  /** The quantization that follows a node's output and nothing else reads, with the ends that a Relu or Clip between leaves. */
  followed(node: NodeProto): Promise<Target | undefined>;
}

/** The largest |code − zero point|. */
export function largestOf({ type, zeroPoint }: Code): number {
  const [low, high] = codeEnds[type];
  return Math.max(high - zeroPoint, zeroPoint - low);
}

export const sameCode = (a: Code, b: Code): boolean =>
  a.scale === b.scale && a.zeroPoint === b.zeroPoint && a.type === b.type;
