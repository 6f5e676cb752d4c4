import { floatAttribute, intAttribute, stringAttribute } from './attribute.ts';
import type { NodeProto } from './proto.ts';

/** The plain operator that a fused or integer one computes: `Conv` for QLinearConv. */
export type Plain =
  'Conv' | 'ConvTranspose' | 'DeformConv' | 'Gemm' | 'MatMul' | 'Einsum' | 'RNN' | 'Gather' | 'Attention';

/** A layer: an operator that multiplies by weights where they are constant. */
export interface Product {
  readonly as: Plain;
  /** Index of the activation among the inputs. */
  readonly data: number;
  /** Inputs that hold weights where they are constant; the first is the main one. */
  readonly weights: readonly number[];
  /** Input that is added to each output channel. */
  readonly bias: number | undefined;
  /** Further inputs that hold parameters. */
  readonly more: readonly number[];
  /** It multiplies integers, or holds its weights as integers while it computes. */
  readonly integer: boolean;
  /** Input with the weights' zero point, of operators that read integer weights themselves. */
  readonly zeroPoint: number | undefined;
  /** What the axes of the weight at an input are; undefined where a weight there has no such order. */
  readonly axes: (node: NodeProto, input: number, rank: number) => WeightAxes | undefined;
  /** Multiply-accumulates of one run: a sum of products of axis lengths, or why they are not known. */
  readonly macs: (node: NodeProto) => readonly Factors[] | string;
  /** Why it is no plain product x·W + b of its inputs (Gemm's alpha, beta, transA); undefined where it is. */
  readonly quirk: (node: NodeProto) => string | undefined;
  /** Why onnxruntime has no fast kernel for it with activations quantized at run time; undefined where it has. */
  readonly dynamic: string | undefined;
  /** Why onnxruntime has no integer kernel that QDQ fuses to. */
  readonly noKernel: string | undefined;
}

/** What the axes of a weight are to its layer. Axes named nowhere are places of a kernel. */
export interface WeightAxes {
  /** Output channels. More than one: batches of matrices, or directions and gates; scales a channel run along the last. */
  readonly out: readonly number[];
  /** What is summed over, channel by channel. */
  readonly in: readonly number[];
  /** Groups, and which axis counts through all of them (the other counts within one). */
  readonly groups: number;
  readonly grouped: 'out' | 'in';
}

/** Axis lengths that are multiplied: of an input or of the output, axes `from` up to `to`, or the one `at`. */
export type Factors = readonly {
  readonly of: number | 'data' | 'weight' | 'out';
  readonly from?: number;
  readonly to?: number;
  readonly at?: number;
}[];

const plainAxes = (out: readonly number[], into: readonly number[], groups = 1, grouped: 'out' | 'in' = 'out') => ({
  out,
  in: into,
  groups,
  grouped,
});
const groupsOf = (node: NodeProto): number => intAttribute(node, 'group', 1);

const convAxes: Product['axes'] = (node) => plainAxes([0], [1], groupsOf(node));
const convTransposeAxes: Product['axes'] = (node) => plainAxes([1], [0], groupsOf(node), 'in');
/** Y = A'·B': of B as stored [K, N], or [N, K] with transB; a constant A [M, K], or [K, M] with transA, is the transposed case. */
const gemmAxes: Product['axes'] = (node, input) => {
  const turned = intAttribute(node, input === 0 ? 'transA' : 'transB', 0) === 1;
  return turned === (input === 0) ? plainAxes([1], [0]) : plainAxes([0], [1]);
};
/** numpy's matmul: axes before the last two are batches of matrices; a vector is one row. */
const matMulAxes: Product['axes'] = (_, input, rank) => {
  if (rank < 2) return undefined;
  const batch = Array.from({ length: rank - 2 }, (_unused, d) => d);
  return input === 0 ? plainAxes([...batch, rank - 2], [rank - 1]) : plainAxes([...batch, rank - 1], [rank - 2]);
};
/** MatMul that may read its weight turned round. */
export const fusedMatMulAxes: Product['axes'] = (node, input, rank) => {
  const axes = matMulAxes(node, input, rank);
  if (!axes || intAttribute(node, 'transB', 0) !== 1) return axes;
  return plainAxes([...axes.out.slice(0, -1), ...axes.in], axes.out.slice(-1));
};
/** W [directions, gates·hidden, input], R [directions, gates·hidden, hidden]. */
const recurrentAxes: Product['axes'] = (_, input) => (input === 3 ? undefined : plainAxes([0, 1], [2]));
/** DynamicQuantizeLSTM's: W [directions, input, gates·hidden], R [directions, hidden, gates·hidden]. */
export const turnedRecurrentAxes: Product['axes'] = () => plainAxes([0, 2], [1]);
export const tableAxes: Product['axes'] = (_, _input, rank) =>
  plainAxes(
    [0],
    Array.from({ length: rank - 1 }, (_unused, d) => d + 1),
  );
const noAxes: Product['axes'] = () => undefined;

export const gemmQuirk: Product['quirk'] = (node) => {
  if (intAttribute(node, 'transA', 0) === 1) return 'transA is set';
  const plain = floatAttribute(node, 'alpha', 1) === 1 && floatAttribute(node, 'beta', 1) === 1;
  return plain ? undefined : 'alpha or beta is not 1';
};

/** Where onnxruntime fused one, an activation follows the sum within the node. */
export const activationQuirk: Product['quirk'] = (node) =>
  stringAttribute(node, 'activation', '') === '' ? undefined : 'an activation is part of it';
/** FusedMatMul scales its product, and may turn either factor and shift its batch axes. */
export const fusedMatMulQuirk: Product['quirk'] = (node) => {
  const turned = ['transA', 'transBatchA', 'transBatchB'].find((name) => intAttribute(node, name, 0) === 1);
  if (turned !== undefined) return `${turned} is set`;
  return floatAttribute(node, 'alpha', 1) === 1 ? undefined : 'alpha is not 1';
};

/** A product of two tensors multiplies once for every combination of its indices; others depend on the order chosen. */
const einsumMacs: Product['macs'] = (node) => {
  const equation = stringAttribute(node, 'equation', '').replace(/\s/g, '');
  const terms = (equation.split('->')[0] ?? '').split(',');
  if (terms.length !== 2 || equation.includes('.'))
    return 'its MACs are unknown: this Einsum is not a product of two tensors';
  const seen = new Map<string, Factors[number]>();
  terms.forEach((term, of) => [...term].forEach((index, at) => seen.set(index, { of, at })));
  return [[...seen.values()]];
};

/** A row's answers that most products share. */
const usual = {
  data: 0,
  bias: undefined,
  more: [],
  integer: false,
  zeroPoint: undefined,
  quirk: () => undefined,
  dynamic: undefined,
  noKernel: undefined,
} as const;

const slowConvInteger = 'ConvInteger is slower than float in onnxruntime (0.77 times at best): use static quantization';
const noIntegers = (name: string) => ({
  dynamic: `onnxruntime has no dynamic integer kernel for ${name} among standard operators`,
  noKernel: `onnxruntime has no integer kernel for ${name}`,
});

const product = (as: Plain, more: Omit<Product, keyof typeof usual | 'as'> & Partial<Product>): Product => ({
  ...usual,
  as,
  ...more,
});

export const products: Readonly<Record<Plain, Product>> = {
  // W [M, C/group, kernel…]: every output element sums over C/group · kernel.
  Conv: product('Conv', {
    weights: [1],
    bias: 2,
    axes: convAxes,
    macs: () => [[{ of: 'out' }, { of: 'weight', from: 1 }]],
    dynamic: slowConvInteger,
  }),
  // W [C, M/group, kernel…]: every input element is spread over M/group · kernel.
  ConvTranspose: product('ConvTranspose', {
    weights: [1],
    bias: 2,
    axes: convTransposeAxes,
    macs: () => [[{ of: 'data' }, { of: 'weight', from: 1 }]],
    dynamic: slowConvInteger,
    noKernel: 'onnxruntime has no integer kernel for ConvTranspose',
  }),
  DeformConv: product('DeformConv', {
    weights: [1],
    bias: 3,
    axes: convAxes,
    macs: () => [[{ of: 'out' }, { of: 'weight', from: 1 }]],
    ...noIntegers('DeformConv'),
  }),
  Gemm: product('Gemm', {
    weights: [1, 0],
    bias: 2,
    axes: gemmAxes,
    macs: (node) => [[{ of: 'out' }, { of: 'data', at: intAttribute(node, 'transA', 0) === 1 ? 0 : 1 }]],
    quirk: gemmQuirk,
  }),
  MatMul: product('MatMul', {
    weights: [1, 0],
    axes: matMulAxes,
    macs: () => [[{ of: 'out' }, { of: 'data', at: -1 }]],
  }),
  Einsum: product('Einsum', {
    weights: [1, 0],
    axes: noAxes,
    macs: einsumMacs,
    ...noIntegers('Einsum'),
  }),
  // Once for every step of every sequence.
  RNN: product('RNN', {
    weights: [1, 2],
    bias: 3,
    axes: recurrentAxes,
    macs: () => [
      [{ of: 'data', to: 2 }, { of: 'weight' }],
      [{ of: 'data', to: 2 }, { of: 2 }],
    ],
    dynamic: 'onnxruntime has no dynamic integer kernel for recurrent layers among standard operators',
    noKernel: 'onnxruntime fuses no quantized weights into LSTM, GRU or RNN',
  }),
  Gather: product('Gather', {
    data: 1,
    weights: [0],
    axes: tableAxes,
    macs: () => [],
    dynamic: 'looks rows up and multiplies nothing',
  }),
  Attention: product('Attention', {
    weights: [],
    axes: noAxes,
    macs: () => 'its MACs are unknown: Attention is not counted',
    dynamic: 'onnxruntime has no dynamic integer kernel for Attention among standard operators',
    noKernel: 'onnxruntime fuses no QDQ into attention',
  }),
};
