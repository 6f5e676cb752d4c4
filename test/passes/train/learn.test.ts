import { withOutputs } from '../../../src/graph/edit.ts';
import { initializers, isOp } from '../../../src/graph/query.ts';
import { tensorData } from '../../../src/graph/tensor.ts';
import type { Model } from '../../../src/graph/model.ts';
import { runModel } from '../../helpers/context.ts';
import { withWeights } from '../../../src/passes/prune/masks.ts';
import { examples, memoryOf, mlp, normed, samplesOf, train, weightsOf } from './epochs.ts';

const images = examples(24, 192);
const imageSet = samplesOf(images, [3, 8, 8]);
const vectors = examples(30, 6);
const set = samplesOf(vectors, [6]);

const schedule = (quantizer: string, epochs = 2, more = ''): string => `
training: { batch_size: 8, optimizer: { name: sgd, lr: 0.02, momentum: 0.9 }${more} }
quantizers: { q: ${quantizer} }
policies:
  - { quantizer: { instance_name: q }, starting_epoch: 0, ending_epoch: ${epochs} }
`;

async function feedsOf(all: typeof imageSet) {
  for await (const { feeds } of all.batches({ epoch: 5, seed: 3, batchSize: 8 })) return feeds;
  throw new Error('no batch');
}

/** Share of the largest output by which the outputs of two models differ at most. */
async function apart(a: Model, b: Model, all = imageSet, level: 'disabled' | 'all' = 'disabled'): Promise<number> {
  const feeds = await feedsOf(all);
  const [x, y] = [await runModel(a, feeds, 'disabled'), await runModel(b, feeds, level)];
  const [p, q] = [x['y']!.data as Float32Array, y['y']!.data as Float32Array];
  const most = p.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return p.reduce((m, v, i) => Math.max(m, Math.abs(v - q[i]!)), 0) / most;
}

const classes = [
  '{ class: LSQQuantizer, bits_weights: 4, bits_activations: 4 }',
  '{ class: PACTQuantizer, bits_weights: 3, bits_activations: 4, act_clip_init_val: 2 }',
  '{ class: DorefaQuantizer, bits_weights: 2, bits_activations: 5 }',
  '{ class: WRPNQuantizer, bits_weights: 4, bits_activations: 6 }',
  '{ class: QuantAwareTrainRangeLinearQuantizer, bits_weights: 7, bits_activations: 8, per_channel_wts: true, ema_decay: 0.5 }',
];

describe('a quantizer that learns while training', () => {
  test.each(classes)(
    '%s: the file has integer layers, and gives the same at both optimization levels',
    async (text) => {
      const { model, results, told } = await train(normed(), schedule(text), imageSet);
      const last = results.at(-1)!;
      expect(last.failed).toBeUndefined();
      expect(told.join()).toContain('loss');
      const weights = model.graph.node.filter((node) => isOp(node, 'Conv', 'Gemm')).map(({ input }) => input[1]);
      const made = new Map(model.graph.node.flatMap((node) => node.output.map((name) => [name, node.op_type])));
      expect(weights.map((name) => made.get(name ?? ''))).toEqual(['DequantizeLinear', 'DequantizeLinear', 'DequantizeLinear']); // prettier-ignore
      expect(model.graph.node.some((node) => isOp(node, 'BatchNormalization'))).toBe(false);
      // One step of the coarsest activation of the net, where a sum falls on the other side of a half at the other level.
      expect(await apart(model, model, imageSet, 'all')).toBeLessThan(0.1);
    },
  );

  test('activations of few bits stay within their codes', async () => {
    const { model } = await train(normed(), schedule(classes[0]!), imageSet);
    const codes = model.graph.node.filter((node) => isOp(node, 'Clip') && node.input[1] === '');
    expect(codes.length).toBeGreaterThan(0);
    const feeds = await feedsOf(imageSet);
    const large = { x: { ...feeds['x']!, data: (feeds['x']!.data as Float32Array).map((v) => 1000 * v) } };
    for (const level of ['disabled', 'all'] as const) {
      const results = await runModel(withOutputs(model, codes.map(({ output }) => output[0]!)), large, level); // prettier-ignore
      const most = codes.map(({ output }) => Math.max(...(results[output[0]!]!.data as Uint8Array)));
      expect(Math.max(...most)).toBe(15);
    }
  });

  test.each(classes.slice(0, 4))('%s: the file computes what the training graph does', async (text) => {
    // Nothing below 0, of which the range would be that of the batch at hand; and biases of 0, which integer layers have rounded.
    const positive = vectors.map(({ x, label }) => ({ x: x.map(Math.abs), label }));
    const positiveSet = samplesOf(positive, [6]);
    const net = mlp((name, data) => (name.startsWith('b') ? data.map(() => 0) : data));
    const trained = await train(net, schedule(text, 2, ", frozen: ['b1', 'b2']"), positiveSet);
    const memory = memoryOf(trained);
    const made = trained.memory.get('graph') as { prepared: { dress: { model: Model } } };
    const weights = new Map([...weightsOf(memory.masters!), ...memory.learned!.numbers]);
    const simulated = withWeights(made.prepared.dress.model, weights);
    // Sums in another order and a scale that is rounded once more.
    expect(await apart(simulated, trained.model, positiveSet)).toBeLessThan(1e-4);
  });

  test('a value that is an output of the model too is rounded for those that read it, in training as in the file', async () => {
    const positive = vectors.map(({ x, label }) => ({ x: x.map(Math.abs), label }));
    const positiveSet = samplesOf(positive, [6]);
    const net = withOutputs(
      mlp((name, data) => (name.startsWith('b') ? data.map(() => 0) : data)),
      ['r'],
    );
    const text = schedule(classes[0]!, 2, ", frozen: ['b1', 'b2'], loss: { name: cross_entropy, output: y }");
    const trained = await train(net, text, positiveSet);
    const memory = memoryOf(trained);
    const made = trained.memory.get('graph') as { prepared: { dress: { model: Model } } };
    const simulated = withWeights(made.prepared.dress.model, new Map([...weightsOf(memory.masters!), ...memory.learned!.numbers])); // prettier-ignore
    expect(trained.model.graph.output.map(({ name }) => name)).toContain('r');
    expect(await apart(simulated, trained.model, positiveSet)).toBeLessThan(1e-4);
  });

  test('weights lie on the levels of their bits', async () => {
    const { model } = await train(normed(), schedule(classes[2]!), imageSet);
    const tensors = initializers(model.graph);
    for (const node of model.graph.node.filter((one) => isOp(one, 'DequantizeLinear'))) {
      const tensor = tensors.get(node.input[0] ?? '');
      if (tensor?.data_type !== 3) continue;
      // 2 bits of DoReFa: −3, −1, 1, 3 steps; 0 is none of them. As large as bytes hold them: 42 times.
      expect(new Set(Array.from(tensorData(tensor) as Int8Array, (code) => Math.abs(code) / 42))).toEqual(
        new Set([1, 3]),
      );
    }
  });

  test('trained in two runs as in one, to the same bits', async () => {
    const text = schedule(classes[0]!, 3);
    const whole = await train(normed(), text, imageSet);
    const first = await train(normed(), text, imageSet, { epochs: [0, 1] });
    const memory = new Map([...first.memory].filter(([key]) => key !== 'graph'));
    const rest = await train(first.model, text, imageSet, { epochs: [2], memory, reference: normed() });
    expect([...memoryOf(rest).learned!.numbers]).toEqual([...memoryOf(whole).learned!.numbers]);
    expect(await apart(whole.model, rest.model)).toBe(0);
  });

  test('learns: the loss falls, and steps move', async () => {
    const { results, memory } = await train(normed(), schedule(classes[0]!, 4), imageSet);
    const losses = results.map(({ trained }) => trained!.loss);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    expect(memoryOf({ memory }).learned!.numbers.size).toBeGreaterThan(4);
  });

  test('weights alone: activations stay float, and weights have few values', async () => {
    const { model } = await train(mlp(), schedule('{ class: DorefaQuantizer, bits_weights: 2 }'), set);
    const tensors = initializers(model.graph);
    expect(new Set(tensorData(tensors.get('w1')!) as Float32Array).size).toBeLessThanOrEqual(4);
    expect(model.graph.node.map(({ op_type }) => op_type)).toEqual(['Gemm', 'Relu', 'Gemm']);
  });

  test('layers that overrides leave in float stay as they are', async () => {
    const text = '{ class: LSQQuantizer, bits_weights: 4, bits_activations: 8, overrides: { fc1: { bits_weights: null, bits_activations: null } } }'; // prettier-ignore
    const { model, results } = await train(mlp(), schedule(text), set);
    expect(initializers(model.graph).get('w1')?.data_type).toBe(1);
    expect(results.at(-1)!.skipped).toContainEqual({ layer: 'fc1', text: 'left in float by the schedule' });
  });
});
