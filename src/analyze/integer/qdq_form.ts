import { intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp, storedTensors } from '../../graph/query.ts';
import { dimsOf, makeTensor, tensorNumbers } from '../../graph/tensor.ts';

/**
 * The model with onnxruntime's and ONNX's QLinear operators written as the plain operator between DequantizeLinear and QuantizeLinear: one form
 * for all that reads quantized graphs. Values keep their names. Forms that only onnxruntime's optimizer makes (channels last) stay.
 */
export function qdqForm(model: Model): Model {
  if (!model.graph.node.some((node) => plainOf(node))) return model;
  const stored = storedTensors(model);
  return edit(model, (draft) => {
    for (const node of draft.nodes()) {
      const plain = plainOf(node);
      if (plain !== undefined) rewrite(draft, node, plain, stored);
    }
  });
}

/** What stands for a QLinear operator: inputs as places of value, scale and zero point, and of the output's scale and zero point. */
interface Plain {
  readonly op: string;
  readonly terms: readonly number[];
  readonly out: number;
  readonly bias?: number;
}

const contributed: Readonly<Record<string, Plain>> = {
  QLinearConv: { op: 'Conv', terms: [0, 3], out: 6, bias: 8 },
  QGemm: { op: 'Gemm', terms: [0, 3], out: 7, bias: 6 },
  QLinearAdd: { op: 'Add', terms: [0, 3], out: 6 },
  QLinearMul: { op: 'Mul', terms: [0, 3], out: 6 },
  QLinearSigmoid: { op: 'Sigmoid', terms: [0], out: 3 },
  QLinearLeakyRelu: { op: 'LeakyRelu', terms: [0], out: 3 },
  QLinearGlobalAveragePool: { op: 'GlobalAveragePool', terms: [0], out: 3 },
  QLinearAveragePool: { op: 'AveragePool', terms: [0], out: 3 },
};

function plainOf(node: NodeProto): Plain | undefined {
  if (isOp(node, 'QLinearConv')) return contributed.QLinearConv;
  if (isOp(node, 'QLinearMatMul')) return { op: 'MatMul', terms: [0, 3], out: 6 };
  if (node.domain !== 'com.microsoft' || intAttribute(node, 'channels_last', 0) !== 0) return undefined;
  if (node.op_type === 'QLinearConcat')
    return { op: 'Concat', terms: node.input.flatMap((_, i) => (i > 1 && i % 3 === 2 ? [i] : [])), out: 0 };
  return contributed[node.op_type];
}

function rewrite(
  draft: Draft,
  node: NodeProto,
  { op, terms, out, bias }: Plain,
  stored: ReturnType<typeof storedTensors>,
): void {
  const name = (i: number): string => node.input[i] ?? '';
  const rank = (i: number): number => dimsOf(stored.get(name(i)) ?? makeTensor('', 'float32', [0], new Float32Array(0))).length; // prettier-ignore
  const restored = (i: number): string => {
    const value = draft.freshName(`${name(i)}_restored`);
    const axis = op === 'Conv' ? 0 : op === 'Gemm' && intAttribute(node, 'transB', 0) === 1 ? 0 : Math.max(0, rank(i) - 1); // prettier-ignore
    draft.addNode(makeNode('DequantizeLinear', [name(i), name(i + 1), name(i + 2)], [value], { axis }));
    return value;
  };
  const input = terms.map(restored);
  const biasName = bias === undefined ? '' : name(bias);
  if (biasName !== '') {
    const [x = 1] = numbers(stored, name(1));
    const scale = numbers(stored, name(4)).map((w) => Math.fround(x * w));
    const dims = scale.length > 1 ? [scale.length] : [];
    const scaleName = draft.add(`${biasName}_scale`, makeTensor('scale', 'float32', dims, Float32Array.from(scale)));
    const value = draft.freshName(`${biasName}_restored`);
    draft.addNode(makeNode('DequantizeLinear', [biasName, scaleName], [value], { axis: 0 }));
    input.push(value);
  }
  const [codes = ''] = node.output;
  const scaled = name(out) !== '';
  const value = scaled ? draft.freshName(`${codes}_real`) : codes;
  draft.update(node, { op_type: op, domain: '', input, output: [value] });
  if (scaled) draft.addNode(makeNode('QuantizeLinear', [value, name(out), name(out + 1)], [codes]));
}

const numbers = (stored: ReturnType<typeof storedTensors>, name: string): number[] => {
  const tensor = stored.get(name);
  return tensor === undefined ? [] : tensorNumbers(tensor);
};
