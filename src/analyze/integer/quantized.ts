import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { words } from '../../util/words.ts';

const dynamic = new Set(
  words(
    'DynamicQuantizeLinear DynamicQuantizeMatMul DynamicQuantizeLSTM MatMulInteger ConvInteger MatMulIntegerToFloat',
  ),
);

/** @throws QtoolError `model` for a float model and a dynamically quantized one, saying how to quantize it. */
export function checkQuantized(model: Model): void {
  const hint = 'quantize it statically: qtool quantize <float model> --schedule int8 --data <data> -o <folder>';
  const changing = model.graph.node.find(({ op_type }) => dynamic.has(op_type));
  if (changing)
    throw new QtoolError('model', `the model is quantized dynamically (${changing.op_type}): the scales of its activations change with every input, and no integer device has them`, { at: model.path, hint }); // prettier-ignore
  const quantizes = model.graph.node.some(({ op_type }) => op_type === 'QuantizeLinear' || /^Q(Linear|Gemm)/.test(op_type)); // prettier-ignore
  if (quantizes) return;
  const weights = model.graph.node.some(({ op_type }) => op_type === 'DequantizeLinear' || op_type === 'MatMulNBits');
  const what = weights ? 'only the weights of the model are quantized' : 'the model is a float model';
  throw new QtoolError('model', `${what}: there are no integers to verify`, { at: model.path, hint });
}
