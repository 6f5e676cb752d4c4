import type { Batch, Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { layerFacts } from '../../../src/graph/names.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { passes } from '../../../src/passes/index.ts';
import type { PassContext, PassResult, TrainingSamples } from '../../../src/passes/pass.ts';
import type { EpochPlan, TrainingMemory } from '../../../src/passes/train/plan.ts';
import { bindSchedule } from '../../../src/schedule/bind.ts';
import { parseSchedule } from '../../../src/schedule/parse.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, random, weight } from '../../helpers/models.ts';

/** x [N, 6] → Gemm → Relu → Gemm → y [N, 3]. */
export const mlp = (
  change: (name: string, data: Float32Array) => Float32Array = (_, data) => data,
  w1 = 'w1',
): Model => {
  const tensor = (name: string, dims: readonly number[], seed: number) => {
    const first = weight(name, dims, seed);
    return makeTensor(name, 'float32', dims, change(name, floatData(first)));
  };
  return makeModel({
    opset: 18,
    inputs: [makeValue('x', 'float32', ['N', 6])],
    outputs: [makeValue('y', 'float32', ['N', 3])],
    initializers: [tensor(w1, [8, 6], 1), tensor('b1', [8], 2), tensor('w2', [3, 8], 3), tensor('b2', [3], 4)],
    nodes: [
      makeNode('Gemm', ['x', w1, 'b1'], ['h'], { transB: 1 }, { name: 'fc1' }),
      makeNode('Relu', ['h'], ['r'], {}, { name: 'relu' }),
      makeNode('Gemm', ['r', 'w2', 'b2'], ['y'], { transB: 1 }, { name: 'fc2' }),
    ],
  });
};

/** x [N, 3, 8, 8] → Conv → BatchNormalization → Relu → Conv → pool → Gemm → y [N, 3]. */
export const normed = (): Model =>
  makeModel({
    opset: 18,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 3])],
    initializers: [
      weight('conv1.weight', [6, 3, 3, 3], 1), weight('bn.scale', [6], 2, 1), weight('bn.shift', [6], 3), makeTensor('bn.mean', 'float32', [6], new Float32Array(6)),
      makeTensor('bn.variance', 'float32', [6], new Float32Array(6).fill(1)), weight('conv2.weight', [4, 6, 3, 3], 4), weight('conv2.bias', [4], 5),
      weight('fc.weight', [3, 4], 6), weight('fc.bias', [3], 7),
    ],
    nodes: [
      makeNode('Conv', ['x', 'conv1.weight'], ['c1'], { pads: [1, 1, 1, 1] }, { name: 'conv1' }),
      makeNode('BatchNormalization', ['c1', 'bn.scale', 'bn.shift', 'bn.mean', 'bn.variance'], ['n1'], {}, { name: 'bn' }),
      makeNode('Relu', ['n1'], ['r1'], {}, { name: 'relu1' }),
      makeNode('Conv', ['r1', 'conv2.weight', 'conv2.bias'], ['c2'], { pads: [1, 1, 1, 1] }, { name: 'conv2' }),
      makeNode('GlobalAveragePool', ['c2'], ['p'], {}, { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { axis: 1 }, { name: 'flatten' }),
      makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y'], { transB: 1 }, { name: 'fc' }),
    ],
  }); // prettier-ignore

export interface Example {
  readonly x: Float32Array;
  readonly label: number;
}

/** Vectors or images whose class shows in the mean of their parts: what can be learned. */
export const examples = (count: number, size: number, seed = 1): Example[] =>
  Array.from({ length: count }, (_, i) => {
    const label = i % 3;
    const x = noise(1000 * seed + i, size, 0.5).map((v, j) => v + (Math.floor((3 * j) / size) === label ? 1.5 : 0));
    return { x, label };
  });

/** These samples to train on, in another order each epoch; the last batch is filled up with its last sample. */
export function samplesOf(all: readonly Example[], dims: readonly number[], labelled = true): TrainingSamples {
  return {
    samples: all.length,
    labelled,
    source: 'samples of a test',
    async *batches({ epoch, seed, batchSize }) {
      for (const batch of batchesOf(all, dims, { epoch, seed, batchSize }, labelled)) yield batch;
    },
  };
}

export function batchesOf(
  all: readonly Example[],
  dims: readonly number[],
  { epoch, seed, batchSize }: { readonly epoch: number; readonly seed: number; readonly batchSize: number },
  labelled = true,
): Batch[] {
  const next = random(1 + 1000 * seed + epoch);
  const order = all.map((one) => [next(), one] as const).sort((a, b) => a[0] - b[0]).map(([, one]) => one); // prettier-ignore
  return Array.from({ length: Math.ceil(order.length / batchSize) }, (_, i) => {
    const own = order.slice(i * batchSize, (i + 1) * batchSize);
    const filled = Array.from({ length: batchSize }, (__, j) => own[Math.min(j, own.length - 1)]!);
    return {
      ids: own.map((__, j) => `${i}.${j}`),
      feeds: { x: floats(Float32Array.from(filled.flatMap(({ x }) => [...x])), [batchSize, ...dims]) },
      targets: own.map(({ label }) => (labelled ? { label: Int32Array.of(label) } : undefined)),
      count: own.length,
      size: batchSize,
    };
  });
}

/** The epochs of a schedule, bound to a model. */
export function plansOf(text: string, model: Model): EpochPlan[] {
  const parsed = parseSchedule(text, 's.yaml', { passes, metrics: [{ name: 'top1' }], training: true });
  return bindSchedule(parsed, { layers: layerFacts(model) }).stages.filter(({ epoch }) => epoch).map(({ options }) => options as EpochPlan); // prettier-ignore
}

export interface Trained {
  readonly model: Model;
  readonly results: readonly PassResult[];
  readonly memory: Map<string, unknown>;
  /** Models that onnxruntime was asked to run, in order. */
  readonly ran: readonly Model[];
  readonly told: readonly string[];
}

export interface Given extends Partial<Omit<PassContext, 'batches'>> {
  readonly calibration?: readonly Feeds[];
  /** The epochs that are run; default: all. */
  readonly epochs?: readonly number[];
}

/** Runs the epochs of a schedule one after the other, each on what the one before left. */
export async function train(
  model: Model,
  text: string,
  training: TrainingSamples | undefined,
  { epochs, ...given }: Given = {},
): Promise<Trained> {
  const { trainingEpoch } = await import('../../../src/passes/train/epoch.ts');
  const plans = plansOf(text, model);
  const [results, told, ran]: [PassResult[], string[], Model[]] = [[], [], []];
  let memory = new Map(given.memory);
  let now = model;
  let calibration = given.calibration;
  if (calibration === undefined && training)
    for await (const { feeds } of training.batches({ epoch: 0, seed: 0, batchSize: Math.min(4, training.samples) })) {
      calibration = [feeds];
      break;
    }
  for (const plan of epochs?.map((epoch) => plans[epoch]!) ?? plans) {
    memory = new Map(memory);
    const base = testContext({ reference: model, ...given, ...(calibration && { calibration }), training, memory });
    const compute = base.compute.bind(base);
    const ctx = Object.defineProperties(base, {
      compute: { value: (graph: Model, feeds: Feeds) => (ran.push(graph), compute(graph, feeds)) },
      progress: { value: (_: number, doing?: string) => void told.push(doing ?? '') },
    });
    const result = await trainingEpoch.apply(now, plan, ctx);
    results.push(result);
    now = result.model;
    if (result.failed !== undefined) break;
  }
  return { model: now, results, memory, ran, told };
}

export const memoryOf = (trained: Pick<Trained, 'memory'>): TrainingMemory => trained.memory.get('training') as TrainingMemory; // prettier-ignore

/** All float32 initializers of a model. */
export const weightsOf = (model: Model): Map<string, Float32Array> =>
  new Map([...initializers(model.graph)].filter(([, { data_type }]) => data_type === 1).map(([name, tensor]) => [name, floatData(tensor)])); // prettier-ignore

export const zerosOf = (data: Float32Array | undefined): number[] => [...(data ?? []).entries()].flatMap(([i, v]) => (v === 0 ? [i] : [])); // prettier-ignore

/** Largest distance of two models' weights. */
export function farthest(a: Model, b: Model): number {
  const [x, y] = [weightsOf(a), weightsOf(b)];
  return Math.max(...[...x].flatMap(([name, data]) => [...data].map((v, i) => Math.abs(v - y.get(name)![i]!))));
}
