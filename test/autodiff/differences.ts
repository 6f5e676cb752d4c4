import { bytesOf } from '../../src/graph/bytes.ts';
import {
  buildTraining,
  trainingOpset,
  type Loss,
  type Optimizer,
  type TrainingPlan,
} from '../../src/autodiff/training_graph.ts';
import type { Target } from '../../src/autodiff/rule.ts';
import { mul, sum, unary } from '../../src/autodiff/writer.ts';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import type { TensorProto } from '../../src/graph/proto.ts';
import { dimsOf, makeTensor } from '../../src/graph/tensor.ts';
import { opset } from '../../src/graph/query.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

/** One node with its operands: those of floats are differentiated by, unless `fixed` names them. */
export interface Case {
  readonly op: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Shapes of float operands, drawn at random, or constants; '' is left out. */
  readonly operands: readonly (readonly number[] | TensorProto | '')[];
  readonly fixed?: readonly number[];
  readonly outputs?: number;
  readonly domain?: string;
  readonly opset?: number;
  /** Makes the drawn numbers fit: away from kinks, positive … */
  readonly draw?: (value: number, i: number, operand: number) => number;
  /** The output is a linear function of each operand: differences are exact, whatever the step. */
  readonly linear?: boolean;
  readonly target?: Target;
  /** Which outputs the loss reads; all by default. */
  readonly read?: readonly number[];
}

/** Keeps the session of a model. */
const sessions = testContext();

const isTensor = (one: unknown): one is TensorProto => typeof one === 'object' && !Array.isArray(one);

function modelOfCase(c: Case, seed = 1): Model {
  const names = c.operands.map((one, i) => (one === '' ? '' : `x${i}`));
  const outputs = Array.from({ length: c.outputs ?? 1 }, (_, i) => `y${i}`);
  const initializers = c.operands.flatMap((one, i) => {
    if (one === '') return [];
    if (isTensor(one)) return [{ ...one, name: `x${i}` }];
    const count = one.reduce((a, b) => a * b, 1);
    const data = noise(seed + 10 * i, count, 1).map((value, j) => c.draw?.(value, j, i) ?? value);
    return [makeTensor(`x${i}`, 'float32', one, data)];
  });
  const read = c.read ?? outputs.map((_, i) => i);
  return makeModel({
    opset: c.opset ?? trainingOpset,
    inputs: [],
    outputs: read.map((i) => makeValue(`y${i}`, 'float32')),
    initializers,
    nodes: [
      makeNode(c.op, names, outputs, c.attributes ?? {}, { name: 'node', ...(c.domain ? { domain: c.domain } : {}) }),
    ],
    ...(c.domain ? { domains: { [c.domain]: 1 } } : {}),
  });
}

/** Σ outputs · target, whose gradient by the outputs is the target. */
const dotLoss: Loss = {
  write(w, outputs, input) {
    const seeds = new Map([...outputs].map(([name, { dims }]) => [name, input(`target_${name}`, 'float32', dims)]));
    const terms = [...outputs].map(([name, y]) => sum(w, mul(w, y, seeds.get(name)!), y.dims.map((_, i) => i))); // prettier-ignore
    return { loss: w.op('Sum', terms, []), seeds };
  },
};

/** Gives the gradients themselves in place of new parameters. */
const gradientsOnly: Optimizer = {
  slots: [],
  scalars: [],
  update: (w, { gradient }) => ({ parameter: unary(w, 'Identity', gradient), slots: [] }),
};

/**
 * Gradients of Σ outputs · target by some of a model's initializers, at both optimization levels.
 * @param plan what else the training graph is made with.
 * @param given the targets, as feeds `target_` + output; drawn at random where they are left out.
 */
export async function gradientsOf(
  model: Model,
  wanted: readonly string[],
  plan: Partial<TrainingPlan> = {},
  given?: Feeds,
) {
  const shapes = await testContext({ calibration: [{}] }).shapes(model);
  const graph = buildTraining(model, shapes, { trainable: wanted, loss: dotLoss, optimizer: gradientsOnly, ...plan });
  const targets = given ?? Object.fromEntries(model.graph.output.map(({ name }, i) => {
    const { dims } = shapes.get(name)!;
    return [`target_${name}`, floats(noise(99 + i, dims.reduce((a, b) => a * b, 1), 1), dims)];
  })); // prettier-ignore
  const state = Object.fromEntries([...graph.state].map(([name, { first, dims }]) => [name, floats(first, dims)]));
  const at = async (level: 'all' | 'disabled'): Promise<ReadonlyMap<string, Tensor>> => {
    const results = await runModel(graph.model, { ...targets, ...state }, level);
    return new Map([...graph.state].map(([name, { next }]) => [name, results[next]!]));
  };
  return { graph, targets, all: await at('all'), disabled: await at('disabled') };
}

/** Σ outputs · target in float64. */
async function lossOf(model: Model, feeds: Feeds, targets: Feeds): Promise<number> {
  const results = await sessions.compute(model, feeds);
  let total = 0;
  for (const { name } of model.graph.output) {
    const [y, t] = [results[name]!.data as Float32Array, targets[`target_${name}`]!.data as Float32Array];
    y.forEach((value, i) => (total += value * t[i]!));
  }
  return total;
}

/** A model of which some initializers are inputs. */
function opened(model: Model, names: readonly string[]): Model {
  const { initializer, node, output } = model.graph;
  const fed = initializer.filter(({ name }) => names.includes(name));
  return makeModel({
    opset: opset(model),
    inputs: fed.map((tensor) => makeValue(tensor.name, 'float32', dimsOf(tensor))),
    outputs: output,
    nodes: node,
    initializers: initializer.filter((tensor) => !fed.includes(tensor)),
    domains: { 'com.microsoft': 1 },
  });
}

/**
 * The largest difference between gradients and central differences of onnxruntime's own forward pass, as a share of the largest
 * gradient: by every element of every operand that is wanted.
 */
export async function worstDifference(c: Case, seed = 1): Promise<number> {
  const model = modelOfCase(c, seed);
  const wanted = c.operands.flatMap((one, i) => (one !== '' && !isTensor(one) && c.fixed?.includes(i) !== true ? [`x${i}`] : [])); // prettier-ignore
  const { targets, all, disabled } = await gradientsOf(model, wanted, c.target ? { target: c.target } : {});
  const fed = opened(model, wanted);
  let [worst, largest] = [0, 1e-6];
  const start = Object.fromEntries(wanted.map((name) => {
    const tensor = model.graph.initializer.find((one) => one.name === name)!;
    const data = new Float32Array(bytesOf(tensor.raw_data).slice().buffer);
    return [name, floats(data, dimsOf(tensor))];
  })); // prettier-ignore
  const step = c.linear === true ? 1 : 2 ** -5;
  for (const name of wanted) {
    const { data, dims } = start[name]! as { data: Float32Array; dims: readonly number[] };
    const found = [all, disabled].map((level) => level.get(name)!.data as Float32Array);
    for (let i = 0; i < data.length; i++) {
      const slope = async (h: number): Promise<number> => {
        const moved = (by: number): Feeds => ({ ...start, [name]: floats(data.map((v, j) => (j === i ? v + by : v)), dims) }); // prettier-ignore
        return ((await lossOf(fed, moved(h), targets)) - (await lossOf(fed, moved(-h), targets))) / (2 * h);
      };
      // Richardson: the errors of the two steps are as 4 to 1.
      const expected = c.linear === true ? await slope(1) : (4 * (await slope(step / 2)) - (await slope(step))) / 3;
      for (const one of found) worst = Math.max(worst, Math.abs(one[i]! - expected));
      largest = Math.max(largest, Math.abs(expected));
    }
  }
  return worst / largest;
}

export const int64 = (list: readonly number[], dims: readonly number[] = [list.length]): TensorProto =>
  makeTensor('', 'int64', dims, BigInt64Array.from(list, BigInt));
export const float32 = (list: readonly number[], dims: readonly number[] = [list.length]): TensorProto =>
  makeTensor('', 'float32', dims, Float32Array.from(list));
export const bools = (list: readonly boolean[], dims: readonly number[] = [list.length]): TensorProto =>
  makeTensor('', 'bool', dims, Uint8Array.from(list, Number));
