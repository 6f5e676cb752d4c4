import { buildTraining, type TrainingGraph } from '../../src/autodiff/training_graph.ts';
import type { Target } from '../../src/autodiff/rule.ts';
import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../src/graph/proto.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { crossEntropy, rowsInput, sharesInput } from '../../src/passes/train/loss/cross_entropy.ts';
import { sgd } from '../../src/passes/train/optimizer/sgd.ts';
import { prepareTraining, trainableBy } from '../../src/passes/train/prepared.ts';
import { openSession } from '../../src/runtime/session.ts';
import { webgpuProblem } from '../../src/runtime/webgpu.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

const batch = 4;

/** ResNet-20 of He et al. 2016 (arXiv 1512.03385), section 4.2, with 1x1 convolutions for shortcuts and drawn weights. x [4, 3, 32, 32] → y [4, 10]. */
function resnet20(): Model {
  const [nodes, tensors]: [NodeProto[], TensorProto[]] = [[], []];
  let count = 0;
  const conv = (x: string, from: number, to: number, kernel: number, stride: number): string => {
    const name = `c${++count}`;
    const scale = Math.sqrt(6 / (from * kernel * kernel));
    const half = (kernel - 1) / 2;
    tensors.push(weight(`${name}.w`, [to, from, kernel, kernel], count, scale), makeTensor(`${name}.scale`, 'float32', [to], noise(count, to, 0.2).map((v) => 1 + v)), weight(`${name}.shift`, [to], 100 + count, 0.2), makeTensor(`${name}.mean`, 'float32', [to], new Float32Array(to)), makeTensor(`${name}.variance`, 'float32', [to], new Float32Array(to).fill(1))); // prettier-ignore
    nodes.push(makeNode('Conv', [x, `${name}.w`], [name], { strides: [stride, stride], pads: [half, half, half, half] }), makeNode('BatchNormalization', [name, ...['scale', 'shift', 'mean', 'variance'].map((one) => `${name}.${one}`)], [`${name}n`])); // prettier-ignore
    return `${name}n`;
  };
  const relu = (x: string): string => (nodes.push(makeNode('Relu', [x], [`${x}r`])), `${x}r`);
  let [x, width] = [relu(conv('x', 3, 16, 3, 1)), 16];
  for (const [stage, to] of [16, 32, 64].entries())
    for (let block = 0; block < 3; block++) {
      const stride = stage > 0 && block === 0 ? 2 : 1;
      const inner = conv(relu(conv(x, width, to, 3, stride)), to, to, 3, 1);
      const short = stride === 1 ? x : conv(x, width, to, 1, stride);
      nodes.push(makeNode('Add', [inner, short], [`${inner}s`]));
      [x, width] = [relu(`${inner}s`), to];
    }
  nodes.push(makeNode('GlobalAveragePool', [x], ['pooled']), makeNode('Flatten', ['pooled'], ['flat']), makeNode('Gemm', ['flat', 'fc', 'bias'], ['y'], { transB: 1 })); // prettier-ignore
  const inputs = [makeValue('x', 'float32', ['N', 3, 32, 32])];
  return makeModel({ opset: 18, inputs, outputs: [makeValue('y', 'float32', ['N', 10])], nodes, initializers: [...tensors, weight('fc', [10, 64], 200), weight('bias', [10], 201)] }); // prettier-ignore
}

/** The example's LeNet-5, by a size of batch of its own. */
const lenet5 = (): Promise<Model> => readModel(new URL('../../examples/mnist/lenet-5.onnx', import.meta.url).pathname);

/** Steps of a model on the same batch, written for one kind of kernels: the state behind the last, and the losses. */
async function trained(model: Model, target: Target, count: number) {
  const [input] = modelInputs(model);
  const dims = [batch, ...input!.dims!.slice(1).map(Number)];
  const feeds: Feeds = { [input!.name]: floats(noise(5, dims.reduce((a, b) => a * b, 1), 1), dims) }; // prettier-ignore
  const prepared = await prepareTraining(model, feeds, testContext({ calibration: [feeds], reference: model }));
  const graph: TrainingGraph = buildTraining(prepared.model, prepared.shapes, {
    trainable: trainableBy(prepared, undefined, target).trainable,
    loss: crossEntropy(),
    optimizer: sgd({ momentum: 0.9 }),
    batchNorm: 'train',
    target,
  });
  const shares = new Float32Array(batch * 10);
  for (let row = 0; row < batch; row++) shares[row * 10 + ((7 * row) % 10)] = 1;
  const answers = { [sharesInput]: floats(shares, [batch, 10]), [rowsInput]: floats(new Float32Array(batch).fill(1), [batch, 1]) }; // prettier-ignore
  const scalars = Object.fromEntries([...graph.scalars].map(([name, fed]) => [fed, floats(Float32Array.of(name === 'lr' ? 0.01 : 0), [])])); // prettier-ignore
  let state: Feeds = Object.fromEntries([...graph.state].map(([name, { first, dims: own }]) => [name, floats(first, own)])); // prettier-ignore
  const session = await openSession(graph.model, { device: target });
  const losses: number[] = [];
  for (let i = 0; i < count; i++) {
    const results = await session.run({ ...feeds, ...answers, ...scalars, ...state });
    state = Object.fromEntries([...graph.state].map(([name, { next }]) => [name, results[next]!]));
    losses.push(Number(results[graph.reports.get('loss')!]!.data[0]));
  }
  await session.close();
  return { graph, state, losses };
}

const length = (data: Float32Array): number => Math.sqrt(data.reduce((all, v) => all + v * v, 0));

/** Largest distance of two lists of tensors, each as a share of its length, or of a thousandth of the longest. */
function farthest(found: Feeds, wanted: Feeds, names: readonly string[]): number {
  const of = (feeds: Feeds, name: string): Float32Array => feeds[name]!.data as Float32Array;
  const longest = Math.max(...names.map((name) => length(of(wanted, name))));
  return Math.max(...names.map((name) => length(of(found, name).map((v, i) => v - of(wanted, name)[i]!)) / Math.max(length(of(wanted, name)), longest / 1000))); // prettier-ignore
}

// Kernels that add up in another order differ by 1e-6 of a layer's numbers (SwiftShader: gradients 4e-7 and 3e-6). Where a number then falls to the other side of a Relu's kink
// the gradient of one place is another: of the thousands in a parameter's that is below 1e-3 of their length.
const tolerance = 1e-3;

const problem = await webgpuProblem();
const onAdapter = problem === undefined ? it : it.skip;
const where = problem === undefined ? '' : ` (skipped, there is no WebGPU adapter: ${problem})`;

describe(`training on WebGPU${where}`, () => {
  onAdapter.each<[string, () => Model | Promise<Model>]>([
    ['LeNet-5', lenet5],
    ['ResNet-20', resnet20],
  ])('takes the steps of the CPU: %s', async (_, make) => {
    const model = await make();
    const [cpu, webgpu] = [await trained(model, 'cpu', 2), await trained(model, 'webgpu', 2)];
    // With momentum from 0, what the optimizer keeps is the gradients.
    const slots = [...cpu.graph.slots.values()].flat();
    const same = (name: string): string => [...webgpu.graph.slots.values()].flat()[slots.indexOf(name)]!;
    const renamed = Object.fromEntries(slots.map((name) => [name, webgpu.state[same(name)]!]));
    const [gradients, weights] = [farthest(renamed, cpu.state, slots), farthest(webgpu.state, cpu.state, [...cpu.graph.held.values()])]; // prettier-ignore
    expect(slots.length).toBeGreaterThan(5);
    expect(gradients).toBeLessThan(tolerance);
    expect(weights).toBeLessThan(tolerance);
    for (const [i, loss] of cpu.losses.entries()) expect(webgpu.losses[i]).toBeCloseTo(loss, 4);
  });
});
