import { floatAttribute, intAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import { opOf } from '../../graph/ops.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName, reads, subgraphs } from '../../graph/query.ts';
import { int32Max } from '../../numerics/requantize/scheme.ts';
import { roundHalfEven } from '../../numerics/rounding.ts';
import { given } from '../../util/must.ts';
import { words } from '../../util/words.ts';
import { codesOf } from './arrays.ts';
import type { Constants } from './constants.ts';
import { productStep } from './product.ts';
import { codeEnds, type Code, type CodeType, type FloatStep, type IntegerPlan, type IntegerStep, largestOf, sameCode, type Operand, type Planner, type Step, type Target } from './steps.ts'; // prettier-ignore

/** Functions of one number: with 256 codes a table holds them whole. */
const functions = new Set(
  words(
    'Sigmoid LeakyRelu Relu Clip Tanh HardSigmoid HardSwish Elu Selu Celu Gelu Erf Exp Log Sqrt Reciprocal Abs Neg Softplus Softsign Mish',
  ),
);

/**
 * Orders a graph of QuantizeLinear and DequantizeLinear (`qdqForm`) as steps of an integer device: every operator whose inputs are codes and
 * whose output is quantized is an integer step, what only moves numbers moves codes, and all else is left to onnxruntime in float, with a reason.
 */
export async function integerPlan(model: Model, constants: Constants): Promise<IntegerPlan> {
  const { graph } = model;
  const readers = consumers(graph);
  const outputs = new Set(graph.output.map(({ name }) => name));
  const coded = new Map<string, Operand>();
  const merged = new Set<NodeProto>();
  const steps: Step[] = [];
  const float: IntegerPlan['float'][number][] = [];
  let island: NodeProto[] = [];

  const codeOf = async (node: NodeProto): Promise<Code | undefined> => {
    const [, scale = '', zero = ''] = node.input;
    if (!constants.has(scale) || (zero !== '' && !constants.has(zero))) return undefined;
    const [scales, zeros] = [await constants.get(scale), zero === '' ? undefined : await constants.get(zero)];
    const type = zeros?.type ?? 'uint8';
    if (scales.data.length !== 1 || scales.type !== 'float32' || !(type in codeEnds)) return undefined;
    return { scale: scales.data[0]!, zeroPoint: zeros?.data[0] ?? 0, type: type as CodeType };
  };
  const operand = async (value: string): Promise<Operand | undefined> => {
    const known = coded.get(value);
    if (known !== undefined) return known;
    const stored = await constants.codes(value);
    if (stored === undefined || stored.scale.length !== 1 || !(stored.type in codeEnds)) return undefined;
    const code = { scale: stored.scale[0]!, zeroPoint: stored.zeroPoint[0]!, type: stored.type as CodeType };
    return { value, code, stored: codesOf(code.type, stored.dims, stored.data) };
  };
  const targetFor = (value: string, code: Code, low = -Infinity, high = Infinity): Target => {
    const [least, most] = codeEnds[code.type];
    const coded = (real: number): number => Math.min(most, Math.max(least, roundHalfEven(Math.fround(real / code.scale)) + code.zeroPoint)); // prettier-ignore
    return { value, code, low: low === -Infinity ? least : coded(low), high: high === Infinity ? most : coded(high) };
  };
  const followed = async (node: NodeProto): Promise<Target | undefined> => {
    let [low, high] = [-Infinity, Infinity];
    const between: NodeProto[] = [];
    for (let value = node.output[0] ?? ''; ;) {
      const [reader, ...others] = readers.get(value) ?? [];
      if (reader === undefined || others.length > 0 || outputs.has(value)) return undefined;
      if (isOp(reader, 'QuantizeLinear') && reader.input[0] === value) {
        const code = await codeOf(reader);
        if (code === undefined) return undefined;
        for (const one of [...between, reader]) merged.add(one);
        return targetFor(given(reader.output[0], 'an output'), code, low, high);
      }
      const ends = await clampOf(reader, constants);
      if (ends === undefined) return undefined;
      [low, high] = [Math.max(low, ends[0]), Math.min(high, ends[1])];
      between.push(reader);
      value = reader.output[0] ?? '';
    }
  };
  const planner: Planner = { constants, operand, followed };
  const flush = (): void => {
    if (island.length > 0) steps.push(floatStep(model, island, constants));
    island = [];
  };
  const emit = (step: IntegerStep): void => {
    flush();
    steps.push(step);
  };

  for (const node of graph.node) {
    if (merged.has(node) || node.output.every((name) => name === '' || constants.has(name))) continue;
    const [value = ''] = node.output;
    if (isOp(node, 'DequantizeLinear')) {
      const code = await codeOf(node);
      if (code !== undefined) coded.set(value, { value: node.input[0] ?? '', code });
      else island.push(node);
      continue;
    }
    if (isOp(node, 'QuantizeLinear')) {
      const [input, code] = [await operand(node.input[0] ?? ''), await codeOf(node)];
      if (input === undefined || code === undefined) island.push(node);
      else emit({ kind: 'recode', layer: layerName(node), op: node.op_type, node, input, out: targetFor(value, code) });
      continue;
    }
    const step = await stepOf(node, planner);
    if (typeof step === 'string') {
      float.push({ layer: layerName(node), op: node.op_type, why: step });
      island.push(node);
      continue;
    }
    emit(step);
    if (step.kind === 'move') for (const name of step.values) coded.set(name, { value: name, code: step.input.code });
    if (step.kind === 'concat' && step.out.value === value) coded.set(value, { value, code: step.out.code });
  }
  flush();
  return { steps, coded, float };
}

/** The ends that a node leaves of what it reads; undefined where it does more. */
async function clampOf(node: NodeProto, constants: Constants): Promise<readonly [number, number] | undefined> {
  if (isOp(node, 'Relu')) return [0, Infinity];
  if (isOp(node, 'Identity') || (isOp(node, 'Max', 'Min') && node.input.length === 1)) return [-Infinity, Infinity];
  if (!isOp(node, 'Clip')) return undefined;
  const [, low = '', high = ''] = node.input;
  if ([low, high].some((name) => name !== '' && !constants.has(name))) return undefined;
  const end = async (name: string, attribute: string, otherwise: number): Promise<number> =>
    name === '' ? floatAttribute(node, attribute, otherwise) : ((await constants.get(name)).data[0] ?? otherwise);
  return [await end(low, 'min', -Infinity), await end(high, 'max', Infinity)];
}

/** An operator as an integer step, or why it has none. */
async function stepOf(node: NodeProto, planner: Planner): Promise<IntegerStep | string> {
  const common = { layer: layerName(node), op: node.op_type, node };
  if (subgraphs(node).length > 0) return 'what lies in its body is run as it stands';
  if (isOp(node, 'Conv', 'Gemm', 'MatMul')) return productStep(node, planner);
  const inputs = await Promise.all(node.input.map((name) => planner.operand(name)));
  const [first, second] = inputs;
  if (first === undefined) return 'its input is not quantized';
  if (isOp(node, 'Add', 'Mul')) {
    if (second === undefined) return 'one of its inputs is not quantized';
    if (isOp(node, 'Mul') && largestOf(first.code) * largestOf(second.code) > int32Max)
      return 'a product of its 16-bit codes may not fit in 32 bits';
    const out = await planner.followed(node);
    if (out === undefined) return notQuantized;
    return { ...common, kind: 'pair', does: isOp(node, 'Add') ? 'add' : 'multiply', a: first, b: second, out };
  }
  if (isOp(node, 'Concat')) {
    if (inputs.some((one) => one === undefined)) return 'one of its inputs is not quantized';
    const all = inputs as Operand[];
    const alike = all.every(({ code }) => sameCode(code, first.code));
    const [low, high] = codeEnds[first.code.type];
    const own = alike ? { value: node.output[0] ?? '', code: first.code, low, high } : undefined;
    const out = (await planner.followed(node)) ?? own;
    if (out === undefined) return notQuantized;
    return { ...common, kind: 'concat', inputs: all, axis: intAttribute(node, 'axis', 0), out };
  }
  if (isOp(node, 'GlobalAveragePool', 'AveragePool')) {
    if (intAttribute(node, 'ceil_mode', 0) === 1) return 'its last windows lie half outside (ceil_mode)';
    const out = await planner.followed(node);
    return out === undefined ? notQuantized : { ...common, kind: 'pool', input: first, out };
  }
  const moves = movesCodes(node);
  if (moves === true)
    return { ...common, kind: 'move', input: first, values: node.output.filter((name) => name !== '') };
  if (typeof moves === 'string') return moves;
  if (!functions.has(node.op_type)) return `no integer form of ${node.op_type} is known`;
  if (first.code.type.endsWith('16')) return 'a table of 65,536 codes is none';
  const out = await planner.followed(node);
  return out === undefined ? notQuantized : { ...common, kind: 'table', input: first, out };
}

const notQuantized = 'its output is not quantized, or is read as it is before that';

/** Whether an operator moves codes as they are; a sentence where it moves numbers, and not so. */
function movesCodes(node: NodeProto): boolean | string {
  const op = opOf(node);
  if (op?.moves !== true) return false;
  if (isOp(node, 'Resize') && stringAttribute(node, 'mode', 'nearest') !== 'nearest')
    return 'it computes numbers between those it reads';
  const role = op.quantization(node);
  return typeof role === 'string' ? role : role.kind === 'same';
}

/** A group of nodes for onnxruntime, with the constants that they need. */
function floatStep(model: Model, island: readonly NodeProto[], constants: Constants): FloatStep {
  const own = new Set(island.flatMap((node) => node.output));
  const read = new Set(island.flatMap((node) => [...reads(node)]));
  const inputs = [...read].filter((name) => !own.has(name) && !constants.has(name));
  const inside = new Set(island);
  const outside = model.graph.node.filter((node) => !inside.has(node)).flatMap((node) => [...reads(node)]);
  const wanted = new Set([...outside, ...model.graph.output.map(({ name }) => name)]);
  return {
    kind: 'float',
    nodes: new Set([...constants.makers(read), ...island]),
    inputs,
    outputs: [...own].filter((name) => wanted.has(name)),
  };
}
