import { trainingOpset, type Loss, type Optimizer } from '../../../src/autodiff/training_graph.ts';
import { graphWriter, type GraphWriter, type Value } from '../../../src/autodiff/writer.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeValue } from '../../../src/graph/build.ts';
import type { DType } from '../../../src/graph/dtype.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';

type Input = (name: string, dims: readonly number[], type?: DType) => Value;

/** Runs what is written as a graph of its own, at both optimization levels. Outputs by the names that are given to them. */
export async function evaluate(
  write: (w: GraphWriter, input: Input) => ReadonlyMap<string, Value>,
  feeds: Feeds,
): Promise<Record<string, number[]>[]> {
  const w = graphWriter();
  const inputs: ReturnType<typeof makeValue>[] = [];
  const outputs = write(w, (name, dims, type = 'float32') => {
    inputs.push(makeValue(name, type, dims));
    return { name, dims };
  });
  // An output may be a constant or an input: each gets a node of its own.
  const named = [...outputs].map(([name, value]) => [name, w.op('Identity', [value], value.dims)] as const);
  const model = makeModel({
    opset: trainingOpset,
    inputs,
    outputs: named.map(([, { name, dims }]) => makeValue(name, 'float32', dims)),
    nodes: [...w.nodes],
    initializers: [...w.tensors],
  });
  return Promise.all(
    (['all', 'disabled'] as const).map(async (level) => {
      const results = await runModel(model, feeds, level);
      return Object.fromEntries(named.map(([name, value]) => [name, Array.from(results[value.name]!.data as Float32Array)])); // prettier-ignore
    }),
  );
}

/** The loss, its gradients by the outputs and what it counts. */
export function evaluateLoss(loss: Loss, outputs: Feeds, targets: Feeds): Promise<Record<string, number[]>[]> {
  return evaluate(
    (w, input) => {
      const values = new Map(Object.entries(outputs).map(([name, { dims }]) => [name, input(name, dims)]));
      const { loss: value, seeds, counts = new Map<string, Value>() } = loss.write(w, values, (name, type, dims) => input(name, dims, type)); // prettier-ignore
      return new Map([['loss', value], ...counts, ...[...seeds].map(([name, seed]) => [`d ${name}`, seed] as const)]);
    },
    { ...outputs, ...targets },
  );
}

/** Steps of an optimizer on one parameter with given gradients: the parameter after each, at both levels. */
export async function trajectory(
  optimizer: Optimizer,
  start: readonly number[],
  dims: readonly number[],
  gradients: readonly (readonly number[])[],
  scalars: (step: number) => Readonly<Record<string, number>>,
) {
  const w = graphWriter();
  const inputs: ReturnType<typeof makeValue>[] = [];
  const input: Input = (name, shape) => {
    inputs.push(makeValue(name, 'float32', shape));
    return { name, dims: shape };
  };
  const fed = new Map<string, Value>();
  const next = optimizer.update(w, {
    parameter: input('p', dims),
    gradient: input('g', dims),
    slots: optimizer.slots.map((slot) => input(`slot ${slot}`, dims)),
    scalar: (name) => fed.get(name) ?? (fed.set(name, input(name, [])), fed.get(name)!),
  });
  const outputs = [next.parameter, ...next.slots].map((value) => w.op('Identity', [value], dims));
  const model = makeModel({
    opset: trainingOpset,
    inputs,
    outputs: outputs.map(({ name }) => makeValue(name, 'float32', dims)),
    nodes: [...w.nodes],
    initializers: [...w.tensors],
  });
  return Promise.all(
    (['all', 'disabled'] as const).map(async (level) => {
      let state: Float32Array[] = [
        Float32Array.from(start),
        ...optimizer.slots.map(() => new Float32Array(start.length)),
      ];
      const steps: { readonly parameter: number[]; readonly slots: Record<string, number[]> }[] = [];
      for (const [i, gradient] of gradients.entries()) {
        const numbers = scalars(i + 1);
        const results = await runModel(
          model,
          {
            g: floats(Float32Array.from(gradient), dims),
            p: floats(state[0]!, dims),
            ...Object.fromEntries(optimizer.slots.map((slot, j) => [`slot ${slot}`, floats(state[j + 1]!, dims)])),
            ...Object.fromEntries([...fed.keys()].map((name) => [name, floats(Float32Array.of(numbers[name]!), [])])),
          },
          level,
        );
        state = outputs.map(({ name }) => results[name]!.data as Float32Array);
        const slots = Object.fromEntries(optimizer.slots.map((slot, j) => [slot, Array.from(state[j + 1]!)]));
        steps.push({ parameter: Array.from(state[0]!), slots });
      }
      return steps;
    }),
  );
}

/** Largest distance of two lists, as a share of the largest magnitude of the second. */
export function apart(found: readonly number[], wanted: readonly number[]): number {
  expect(found).toHaveLength(wanted.length);
  const size = Math.max(1e-12, ...wanted.map(Math.abs));
  return Math.max(0, ...found.map((value, i) => Math.abs(value - wanted[i]!))) / size;
}

/**
 * Largest distance of a gradient from central differences of a function, as a share of the largest slope. Two steps of different sizes, so that the
 * error of their square goes away (Richardson).
 */
export async function worstSlope(
  value: (x: Float32Array) => Promise<number>,
  x: Float32Array,
  gradient: readonly number[],
  step = 2 ** -4,
): Promise<number> {
  const slopes: number[] = [];
  for (let i = 0; i < x.length; i++) {
    const at = async (h: number) => {
      const moved = (by: number) => value(x.map((v, j) => (j === i ? v + by : v)));
      return ((await moved(h)) - (await moved(-h))) / (2 * h);
    };
    slopes.push((4 * (await at(step / 2)) - (await at(step))) / 3);
  }
  return apart(gradient, slopes);
}

/** Noise as a tensor. */
export const drawn = (seed: number, dims: readonly number[], scale = 1) =>
  floats(noise(seed, dims.reduce((a, b) => a * b, 1), scale), dims); // prettier-ignore
