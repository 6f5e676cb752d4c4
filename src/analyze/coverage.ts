import { edit } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import { NodeCodec, type NodeProto, type TensorProto } from '../graph/proto.ts';
import { captured, consumers, initializers, isOp, layerName, producers, subgraphs } from '../graph/query.ts';
import { typeOf } from '../graph/tensor.ts';
import { optimizedGraph } from '../runtime/optimized.ts';
import type { SessionOptions } from '../runtime/session.ts';
import { QtoolError } from '../util/error.ts';
import { words } from '../util/words.ts';
import { floatReason } from './float_reason.ts';
import { constantValues, layerOf } from './layers.ts';

/** How onnxruntime runs one layer of the model. */
export interface LayerCoverage {
  readonly layer: string;
  readonly op: string;
  readonly kernel: 'integer' | 'float' | 'gone';
  /** The operators of the optimized graph that run it, as `com.microsoft.QLinearConv`. */
  readonly runs: string;
  /** Why it is in float or gone; what does it, for integer. */
  readonly why: string;
}

/** Nodes that are no layers but have an integer kernel: a float one between integer layers costs two conversions. */
const joins = words('Add Mul Concat AveragePool GlobalAveragePool MaxPool Sigmoid Softmax LeakyRelu Where Resize');

/** Integer kernels of operators that are no layers. */
const integerJoins = new Set(
  words(
    'QLinearAdd QLinearMul QLinearConcat QLinearAveragePool QLinearGlobalAveragePool QLinearSigmoid QLinearSoftmax ' +
      'QLinearLeakyRelu QLinearWhere NhwcMaxPool',
  ),
);

/**
 * Loads the model, reads back the graph that onnxruntime made of it, and says of every layer whether it really runs in
 * integer, in float and why, or is gone. So it does of operators between layers (Add, Concat, pooling …) as far as they run in
 * integer or read dequantized values.
 *
 * Every node and value is renamed to a number first: fused kernels are named after one of the nodes they replace or the value
 * they make, so the number leads back, whatever names the exporter gave.
 *
 * @throws QtoolError `runtime` where onnxruntime refuses the model.
 */
export async function coverage(model: Model, options: SessionOptions = {}): Promise<LayerCoverage[]> {
  const optimized = await optimizedGraph(numbered(model), options).catch((error: unknown) => {
    throw withNames(error, model);
  });
  const owner = kernelsOf(model, optimized);
  const made = producers(optimized.graph);
  const stored = initializers(optimized.graph);
  const makers = producers(model.graph);
  const constants = constantValues(model.graph);
  const readsDequantized = (node: NodeProto): boolean =>
    node.input.some((name) => isOp(makers.get(name) ?? node, 'DequantizeLinear'));
  const result: LayerCoverage[] = [];
  for (const [index, node] of model.graph.node.entries()) {
    const layer = layerOf(node, constants);
    const between = layer === undefined && isOp(node, ...joins);
    if (layer === undefined && !between) continue;
    const kernel = owner.get(index);
    const entry = { layer: layerName(node), op: node.op_type, runs: kernel === undefined ? '' : qualified(kernel) };
    if (kernel !== undefined && isInteger(kernel, made, stored)) {
      result.push({ ...entry, kernel: 'integer', why: `runs as ${kernel.op_type}` });
    } else if (between && !readsDequantized(node)) continue;
    else if (kernel === undefined) result.push({ ...entry, kernel: 'gone', why: goneReason(node, constants) });
    else result.push({ ...entry, kernel: 'float', why: floatReason(model, node) });
  }
  return result;
}

function qualified(node: NodeProto): string {
  return node.domain === '' ? node.op_type : `${node.domain}.${node.op_type}`;
}

const nodeMark = (index: number): string => `<n${index}>`;
const valueMark = (index: number): string => `<v${index}>`;

/** The model with every node named after its place, and every inner value after the node that makes it. */
function numbered(model: Model): Model {
  const fixed = new Set(model.graph.output.map((output) => output.name));
  for (const node of model.graph.node)
    for (const body of subgraphs(node)) for (const name of captured(body)) fixed.add(name);
  const names = new Map<string, string>();
  for (const [index, node] of model.graph.node.entries())
    for (const [i, name] of node.output.entries())
      if (name !== '' && !fixed.has(name)) names.set(name, `${valueMark(index)}${i === 0 ? '' : i}`);
  return edit(model, (draft) => {
    for (const [index, node] of model.graph.node.entries())
      draft.update(node, {
        name: nodeMark(index),
        input: node.input.map((name) => names.get(name) ?? name),
        output: node.output.map((name) => names.get(name) ?? name),
      });
  });
}

/** An error about the numbered model, in the model's own names. */
function withNames(error: unknown, model: Model): unknown {
  if (!(error instanceof QtoolError)) return error;
  const own = (text: string | undefined): string | undefined =>
    text
      ?.replace(/<n(\d+)>/g, (mark, index) =>
        layerName(model.graph.node[Number(index)] ?? NodeCodec.create({ name: mark })),
      )
      .replace(/<v(\d+)>/g, (mark, index) => model.graph.node[Number(index)]?.output[0] ?? mark);
  const { code, message, at, hint, cause } = error;
  return new QtoolError(code, own(message) ?? message, { at: own(at), hint, cause });
}

/** Index of a node of the model → the node of the optimized graph that does its work. */
function kernelsOf(model: Model, optimized: Model): Map<number, NodeProto> {
  const makers = new Map<string, number>();
  for (const [index, node] of model.graph.node.entries()) for (const name of node.output) makers.set(name, index);
  const byNode = new Map<number, NodeProto>();
  const byValue = new Map<number, NodeProto>();
  for (const node of optimized.graph.node) {
    for (const [, index] of node.name.matchAll(/<n(\d+)>/g))
      byNode.set(Number(index), byNode.get(Number(index)) ?? node);
    // Blocked-layout kernels are called after the value they make: `<v7>_nchwc`, or a graph output's own name.
    const value = /^<v(\d+)>\d*(?=_nchwc$)/.exec(node.name)?.[1] ?? makers.get(node.name.replace(/_nchwc$/, ''));
    if (value !== undefined) byValue.set(Number(value), node);
    for (const output of node.output) {
      const made = /^<v(\d+)>/.exec(output)?.[1] ?? makers.get(output);
      if (made !== undefined && !byValue.has(Number(made))) byValue.set(Number(made), node);
    }
  }
  const result = new Map<number, NodeProto>();
  const taken = new Set<NodeProto>();
  const give = (index: number, kernel: NodeProto | undefined): void => {
    if (kernel === undefined || !does(model.graph.node[index], kernel)) return;
    result.set(index, kernel);
    taken.add(kernel);
  };
  for (const index of model.graph.node.keys()) give(index, byNode.get(index) ?? byValue.get(index));
  // What is left was fused with what follows it and carries the name of that: Conv → Add → Relu is called after the Relu.
  const readers = consumers(model.graph);
  const indexOf = new Map(model.graph.node.map((node, index) => [node, index]));
  for (const [index, start] of model.graph.node.entries()) {
    if (result.has(index)) continue;
    for (let node: NodeProto | undefined = start; node !== undefined; node = onlyReader(node, readers)) {
      const kernel = byNode.get(indexOf.get(node) ?? -1) ?? byValue.get(indexOf.get(node) ?? -1);
      if (node !== start && productOf(node) !== undefined) break;
      if (kernel === undefined || taken.has(kernel) || !does(start, kernel)) continue;
      give(index, kernel);
      break;
    }
  }
  return result;
}

function onlyReader(node: NodeProto, readers: ReadonlyMap<string, NodeProto[]>): NodeProto | undefined {
  const list = node.output.flatMap((name) => readers.get(name) ?? []);
  return list.length === 1 ? list[0] : undefined;
}

/** Whether a kernel of the optimized graph can be doing the work of this node. */
function does(node: NodeProto | undefined, kernel: NodeProto): boolean {
  if (node === undefined) return false;
  const [wanted, got] = [productOf(node)?.as, productOf(kernel)?.as];
  if (wanted !== undefined)
    return wanted === got || (wanted === 'MatMul' && got === 'Gemm') || (wanted === 'Gemm' && got === 'MatMul');
  // QLinearAdd does Add, NhwcMaxPool does MaxPool, but MatMul no Mul; a Conv with a sum input does the Add before it.
  return got === undefined ? kernel.op_type.endsWith(node.op_type) : got === 'Conv' && node.op_type === 'Add';
}

function isInteger(
  kernel: NodeProto,
  made: ReadonlyMap<string, NodeProto>,
  stored: ReadonlyMap<string, TensorProto>,
): boolean {
  if (productOf(kernel)?.integer === true || integerJoins.has(kernel.op_type)) return true;
  const table = isOp(kernel, 'Gather') ? stored.get(kernel.input[0] ?? '') : undefined;
  if (table) return ['int8', 'uint8', 'int16', 'uint16'].includes(typeOf(table));
  // Operators that only move or compare numbers run on whatever type comes in.
  if (!isOp(kernel, 'MaxPool', 'Concat', 'Resize', 'Gather')) return false;
  return kernel.input.slice(0, 1).every((name) => isQuantized(name, made));
}

/** Whether a value of the optimized graph holds integers: it comes from a kernel that gives them, through moves. */
function isQuantized(name: string, made: ReadonlyMap<string, NodeProto>): boolean {
  for (let node = made.get(name); node !== undefined; node = made.get(node.input[0] ?? '')) {
    if (node.op_type === 'QuantizeLinear' || integerJoins.has(node.op_type)) return true;
    if (productOf(node)?.integer === true)
      // Seven inputs are QGemm with a float output; an output scale and zero point make nine.
      return node.op_type.startsWith('QLinear') || (node.op_type === 'QGemm' && node.input.length > 7);
    if (!isOp(node, 'MaxPool', 'Resize', 'Transpose', 'Reshape', 'Flatten', 'Slice', 'Squeeze', 'Unsqueeze', 'Concat'))
      return false;
  }
  return false;
}

function goneReason(node: NodeProto, constants: ReadonlySet<string>): string {
  if (node.input.every((name) => name === '' || constants.has(name)))
    return 'computed once at load: all its inputs are constants';
  return 'onnxruntime merged it into a neighbour or dropped it: its result is not needed on its own';
}
