import type { Tensor } from '../../data/types.ts';
import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { elementCount } from '../../graph/tensor.ts';
import { roundHalfEven } from '../../numerics/rounding.ts';
import { given } from '../../util/must.ts';
import { broadcast, broadcastDims, centred, dequantized, finish, joined, uncentred } from './arrays.ts';
import { partOf } from './constants.ts';
import { declared, windowGraph } from './graphs.ts';
import { codesOf, graphFor, tensorOf, type Bench, type Machine } from './machine.ts';
import { codeEnds, sameCode, type Codes, type ConcatStep, type MoveStep, type Operand, type PairStep, type PoolStep, type RecodeStep, type TableStep } from './steps.ts'; // prettier-ignore

/** Runs what stands between products and gives codes of a scale of its own. */
export async function runCarrier(
  bench: Bench,
  step: PairStep | ConcatStep | RecodeStep | TableStep | PoolStep,
): Promise<void> {
  const { machine, ready, values } = bench;
  const put = (dims: readonly number[], data: Int32Array, shifted = false): void => {
    finish(data, step.out, shifted);
    values.codes.set(step.out.value, { dims, data });
  };
  if (step.kind === 'pair') {
    const [a, b] = [codesOf(values, step.a), codesOf(values, step.b)];
    const dims = broadcastDims(a.dims, b.dims);
    const [left, right] = [broadcast(a, dims), broadcast(b, dims)];
    const into = new Int32Array(left.length);
    if (step.does === 'add') ready.add(step)(left, right, into);
    else {
      const [first, second] = [step.a.code.zeroPoint, step.b.code.zeroPoint];
      for (let i = 0; i < into.length; i++) into[i] = (left[i]! - first) * (right[i]! - second);
      ready.multiply(step)(into, 1, into);
    }
    return put(dims, into, step.does === 'add');
  }
  const recoded = (operand: Operand): Codes => {
    const { dims, data } = codesOf(values, operand);
    if (sameCode(operand.code, step.out.code)) return { dims, data: data.slice() };
    const into = uncentred(centred({ dims, data }, operand.code), 0).data;
    ready.recode(step, operand.code, step.out.code)(into, 1, into);
    return { dims, data: into.map((value) => value + step.out.code.zeroPoint) };
  };
  if (step.kind === 'concat') {
    const { dims, data } = joined(step.inputs.map(recoded), step.axis);
    return put(dims, data, true);
  }
  if (step.kind === 'recode') {
    const { dims, data } = recoded(step.input);
    return put(dims, data, true);
  }
  const { dims, data } = codesOf(values, step.input);
  if (step.kind === 'table') {
    const table = await tableOf(machine, step);
    const [low] = codeEnds[step.input.code.type];
    return put(dims, data.map((code) => table[code - low]!), true); // prettier-ignore
  }
  return runPool(bench, step, { dims, data }, put);
}

/** Moves codes, less their zero point: where padding or a border brings zeros in, they are zeros. */
export async function runMove(bench: Bench, step: MoveStep): Promise<void> {
  const { machine, values } = bench;
  const [moved = '', ...others] = step.node.input;
  const { code } = step.input;
  const data = centred(codesOf(values, step.input), code);
  const rest = others.filter((name) => name !== '' && !machine.constants.has(name));
  const inputs = [[moved, data] as const, ...rest.map((name) => [name, tensorOf(bench, name)] as const)];
  const key = inputs.map(([, { type, dims }]) => `${type} ${dims.length}`).join();
  const graph = graphFor(machine, step, key, () => {
    const nodes = new Set([...machine.constants.makers(others), step.node]);
    return partOf(machine.model, nodes, inputs.map(([name, tensor]) => declared(name, tensor)), step.values); // prettier-ignore
  });
  const results = await machine.computer.compute(graph, Object.fromEntries(inputs));
  for (const name of step.values) values.codes.set(name, uncentred(given(results[name], name), code.zeroPoint));
}

async function runPool(
  { machine, ready }: Bench,
  step: PoolStep,
  { dims, data }: Codes,
  put: (dims: readonly number[], data: Int32Array) => void,
): Promise<void> {
  const { node, input } = step;
  const [batch = 1, channels = 1, ...space] = dims;
  const spread = { dims: [batch * channels, 1, ...space], data };
  const whole = node.op_type === 'GlobalAveragePool';
  const window = whole ? space : given(intsAttribute(node, 'kernel_shape'), 'a window');
  const sum = async (plane: Tensor): Promise<Tensor> => {
    const graph = graphFor(machine, step, window.join(), () => windowGraph(node, window, plane));
    return given((await machine.computer.compute(graph, { x: plane })).y, 'the sums');
  };
  const sums = await sum(centred(spread, input.code));
  const size = elementCount(window);
  const counted = whole || intAttribute(node, 'count_include_pad', 0) === 1;
  const ones = { dims: [1, 1, ...space], data: new Int32Array(elementCount(space)).fill(1) };
  const counts = counted ? [size] : Array.from((await sum(centred(ones, { zeroPoint: 0 }))).data as Float32Array);
  const same = counts.every((count) => count === counts[0]);
  const into = uncentred(sums, 0).data;
  ready.pool(step, same ? counts.slice(0, 1) : counts)(into, 1, into);
  put([batch, channels, ...sums.dims.slice(2)], into);
}

/** What a function makes of every code, by onnxruntime in float. */
async function tableOf(machine: Machine, step: TableStep): Promise<Int32Array> {
  const known = machine.tables.get(step);
  if (known !== undefined) return known;
  const { input, out, node } = step;
  const [low, high] = codeEnds[input.code.type];
  const codes = { dims: [high - low + 1], data: Int32Array.from({ length: high - low + 1 }, (_, i) => low + i) };
  const [name = '', ...others] = node.input;
  const x = dequantized(codes, input.code);
  const graph = partOf(machine.model, new Set([...machine.constants.makers(others), node]), [declared(name, x)], node.output); // prettier-ignore
  const made = given((await machine.computer.compute(graph, { [name]: x }))[node.output[0] ?? ''], 'a table');
  const [least, most] = codeEnds[out.code.type];
  const { scale, zeroPoint } = out.code;
  const table = Int32Array.from(made.data as Float32Array, (real) =>
    Math.min(most, Math.max(least, roundHalfEven(Math.fround(real / scale)) + zeroPoint)),
  );
  machine.tables.set(step, table);
  return table;
}
