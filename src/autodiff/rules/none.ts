import type { GradientRule } from '../rule.ts';

const refused = (ops: readonly string[], why: string): GradientRule => ({
  ops,
  source: why,
  refuse: () => why,
  gradient: () => [],
});

/** Operators that are known to have no gradient here, each with its reason. */
export const noGradient: readonly GradientRule[] = [
  refused(['Round', 'Floor', 'Ceil', 'Sign'], 'is flat: its gradient is 0 wherever it has one'),
  refused(
    ['QuantizeLinear', 'DequantizeLinear', 'QLinearConv', 'QLinearMatMul', 'ConvInteger', 'MatMulInteger', 'DynamicQuantizeLinear', 'com.microsoft.MatMulNBits', 'com.microsoft.DynamicQuantizeMatMul'], // prettier-ignore
    'is quantized already: train the float model, and quantize what comes out',
  ),
  refused(
    ['LSTM', 'RNN'],
    'is recurrent: its steps are inside one operator, whose inner states it does not give; what it reads, and its own weights, stay as they are',
  ),
  refused(['If', 'Loop', 'Scan'], 'has a graph of its own'),
];

/** Operators whose results do not follow small changes of what they read: nothing goes back through them, and nothing is lost. */
export const flat: ReadonlySet<string> = new Set(
  'Shape Size ArgMax ArgMin Greater GreaterOrEqual Less LessOrEqual Equal Not And Or Xor IsNaN IsInf NonZero OneHot ConstantOfShape Range'.split(
    ' ',
  ),
);
