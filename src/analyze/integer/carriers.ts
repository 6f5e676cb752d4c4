import type { Tensor } from '../../data/types.ts';
import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { elementCount } from '../../graph/tensor.ts';
import { roundHalfEven } from '../../numerics/rounding.ts';
import { given } from '../../util/must.ts';
import { broadcast, broadcastDims, centred, codesOf, dequantized, joined, settled, uncentred } from './arrays.ts';
import { partOf } from './constants.ts';
import { declared, windowGraph } from './graphs.ts';
import { codesAt, graphFor, tensorOf, type Bench, type Machine } from './machine.ts';
import { codeEnds, sameCode, type CodeArray, type Codes, type ConcatStep, type MoveStep, type Operand, type PairStep, type PoolStep, type RecodeStep, type TableStep } from './steps.ts'; // prettier-ignore

/** Runs what stands between products and gives codes of a scale of its own. */
export async function runCarrier(
  machine: Machine,
  bench: Bench,
  step: PairStep | ConcatStep | RecodeStep | TableStep | PoolStep,
): Promise<void> {
  const { pool } = machine;
  const { ready, values } = bench;
  const { type } = step.out.code;
  const put = (dims: readonly number[], data: CodeArray): void => void values.set(step.out.value, { type, dims, data });
  if (step.kind === 'pair') {
    const [a, b] = [codesAt(values, step.a), codesAt(values, step.b)];
    const dims = broadcastDims(a.dims, b.dims);
    const [left, right] = [broadcast(a, dims), broadcast(b, dims)];
    const parts = (start: number, end: number) => [left.subarray(start, end), right.subarray(start, end)] as const;
    if (step.does === 'add') {
      const add = ready.add(step);
      return put(dims, settled(pool, step.out, [left.length, 1], (start, end, into) => add(...parts(start, end), into), true)); // prettier-ignore
    }
    const [first, second, multiply] = [step.a.code.zeroPoint, step.b.code.zeroPoint, ready.multiply(step)];
    const products = (start: number, end: number, into: Int32Array): void => {
      const [x, y] = parts(start, end);
      for (let i = 0; i < into.length; i++) into[i] = (x[i]! - first) * (y[i]! - second);
      multiply(into, 1, into);
    };
    return put(dims, settled(pool, step.out, [left.length, 1], products));
  }
  const recoded = (operand: Operand): Codes => {
    const { dims, data } = codesAt(values, operand);
    const { zeroPoint } = operand.code;
    const same = sameCode(operand.code, step.out.code);
    const rescale = same ? undefined : ready.recode(step, operand.code, step.out.code);
    const make = (start: number, _: number, into: Int32Array): void => {
      for (let i = 0; i < into.length; i++) into[i] = data[start + i]! - zeroPoint;
      rescale?.(into, 1, into);
    };
    return { type, dims, data: settled(pool, step.out, [data.length, 1], make) };
  };
  if (step.kind === 'concat') {
    const parts = step.inputs.map((input) => recoded(input));
    const { dims, data } = joined(parts, step.axis, step.out.code);
    for (const part of parts) pool.give(part.data);
    return put(dims, data);
  }
  if (step.kind === 'recode') {
    const { dims, data } = recoded(step.input);
    return put(dims, data);
  }
  const { dims, data } = codesAt(values, step.input);
  if (step.kind === 'table') {
    const table = await tableOf(machine, step);
    const [low] = codeEnds[step.input.code.type];
    const codes = pool.take(type, data.length) as CodeArray;
    const { low: least, high: most } = step.out;
    for (let i = 0; i < codes.length; i++) codes[i] = Math.min(most, Math.max(least, table[data[i]! - low]!));
    return put(dims, codes);
  }
  const pooled = await runPool(machine, bench, step, { dims, data });
  put(pooled.dims, pooled.data);
}

/** Moves codes, less their zero point: where padding or a border brings zeros in, they are zeros. */
export async function runMove(machine: Machine, { values }: Bench, step: MoveStep): Promise<void> {
  const [moved = '', ...others] = step.node.input;
  const { code } = step.input;
  const data = centred(codesAt(values, step.input), code.zeroPoint);
  const rest = others.filter((name) => name !== '' && !machine.constants.has(name));
  const inputs = [[moved, data] as const, ...rest.map((name) => [name, tensorOf(machine, values, name)] as const)];
  const key = inputs.map(([, { type, dims }]) => `${type} ${dims.length}`).join();
  const graph = graphFor(machine, step, key, () => {
    const nodes = new Set([...machine.constants.makers(others), step.node]);
    return partOf(machine.model, nodes, inputs.map(([name, tensor]) => declared(name, tensor)), step.values); // prettier-ignore
  });
  const results = await machine.computer.compute(graph, Object.fromEntries(inputs));
  for (const name of step.values) values.set(name, uncentred(given(results[name], name), code));
}

async function runPool(
  machine: Machine,
  { ready }: Bench,
  step: PoolStep,
  { dims, data }: Pick<Codes, 'dims' | 'data'>,
): Promise<{ readonly dims: readonly number[]; readonly data: CodeArray }> {
  const { node, input } = step;
  const [batch = 1, channels = 1, ...space] = dims;
  const whole = node.op_type === 'GlobalAveragePool';
  const window = whole ? space : given(intsAttribute(node, 'kernel_shape'), 'a window');
  const sum = async (plane: Tensor): Promise<Tensor> => {
    const graph = graphFor(machine, step, window.join(), () => windowGraph(node, window, plane));
    return given((await machine.computer.compute(graph, { x: plane })).y, 'the sums');
  };
  const sums = await sum(centred({ dims: [batch * channels, 1, ...space], data }, input.code.zeroPoint));
  const size = elementCount(window);
  const counted = whole || intAttribute(node, 'count_include_pad', 0) === 1;
  const ones = { type: 'float32', dims: [1, 1, ...space], data: new Float32Array(elementCount(space)).fill(1) } as const; // prettier-ignore
  const counts = counted ? [size] : Array.from((await sum(ones)).data as Float32Array);
  const divisors = counts.every((count) => count === counts[0]) ? counts.slice(0, 1) : counts;
  const rescale = ready.pool(step, divisors);
  const make = (start: number, end: number, into: Int32Array): void => {
    into.set((sums.data as Float32Array).subarray(start, end));
    rescale(into, 1, into);
  };
  const codes = settled(machine.pool, step.out, [sums.data.length, divisors.length], make);
  return { dims: [batch, channels, ...sums.dims.slice(2)], data: codes };
}

/** What a function makes of every code, by onnxruntime in float. */
async function tableOf(machine: Machine, step: TableStep): Promise<CodeArray> {
  const known = machine.tables.get(step);
  if (known !== undefined) return known;
  const { input, out, node } = step;
  const [low, high] = codeEnds[input.code.type];
  const all = Int32Array.from({ length: high - low + 1 }, (_, i) => low + i);
  const codes = codesOf(input.code.type, [all.length], all);
  const [name = '', ...others] = node.input;
  const x = dequantized(codes, input.code);
  const graph = partOf(machine.model, new Set([...machine.constants.makers(others), node]), [declared(name, x)], node.output); // prettier-ignore
  const made = given((await machine.computer.compute(graph, { [name]: x }))[node.output[0] ?? ''], 'a table');
  const [least, most] = codeEnds[out.code.type];
  const { scale, zeroPoint } = out.code;
  const coded = Int32Array.from(made.data as Float32Array, (real) =>
    Math.min(most, Math.max(least, roundHalfEven(Math.fround(real / scale)) + zeroPoint)),
  );
  const table = codesOf(out.code.type, [coded.length], coded).data;
  machine.tables.set(step, table);
  return table;
}
