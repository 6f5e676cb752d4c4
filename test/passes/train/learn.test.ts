import { withOutputs } from '../../../src/graph/edit.ts';
import { initializers, isOp } from '../../../src/graph/query.ts';
import { floatData, tensorData } from '../../../src/graph/tensor.ts';
import type { Model } from '../../../src/graph/model.ts';
import { runModel } from '../../helpers/context.ts';
import type { Dressed } from '../../../src/passes/train/learn/dressed.ts';
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
  '{ class: QuantAwareTrainFormatQuantizer, format: ternary, bits_activations: 4 }',
  "{ class: QuantAwareTrainFormatQuantizer, format: 'apot:bits=3', bits_activations: 8, activations: range }",
  '{ class: XNORQuantizer, bits_activations: 1 }',
  '{ class: BiRealQuantizer, bits_activations: 1 }',
  '{ class: BinaryConnectQuantizer, bits_activations: 2 }',
  '{ class: XNORPlusPlusQuantizer, bits_activations: 1 }',
  '{ class: ReCUQuantizer, bits_activations: 1 }',
  '{ class: LSQPlusQuantizer, bits_weights: 3, bits_activations: 3 }',
];

/** Weights alone. */
const alone = [
  '{ class: TTQQuantizer }',
  '{ class: INQQuantizer, bits_weights: 4 }',
  '{ class: TrainedCodebookQuantizer, bits_weights: 2 }',
  '{ class: QuantAwareTrainFormatQuantizer, format: nf4 }',
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

  const exact = [...classes.slice(0, 4), classes[5]!, ...classes.slice(7), ...alone];

  test.each(exact)('%s: the file computes what the training graph does', async (text) => {
    // Nothing below 0, of which the range would be that of the batch at hand; and biases of 0, which integer layers have rounded.
    const positive = vectors.map(({ x, label }) => ({ x: x.map(Math.abs), label }));
    const positiveSet = samplesOf(positive, [6]);
    const net = mlp((name, data) => (name.startsWith('b') ? data.map(() => 0) : data));
    const trained = await train(net, schedule(text, 2, ", frozen: ['b1', 'b2']"), positiveSet);
    const memory = memoryOf(trained);
    const made = trained.memory.get('graph') as { prepared: { dress: Dressed } };
    const { found } = made.prepared.dress;
    const numbers = (owner: string, name: string) =>
      memory.learned!.numbers.get(made.prepared.dress.constant(owner, name))!;
    const rounded = found.flatMap(({ tensor, dims, axis, found: own, constants }) => {
      const last = own.find(
        { data: weightsOf(memory.masters!).get(tensor)!, dims, axis },
        (name) => numbers(tensor, name),
        1,
      );
      return [...constants].map(([name, { name: as }]) => [as, last.get(name)!] as const);
    });
    const weights = new Map([...weightsOf(memory.masters!), ...memory.learned!.numbers, ...rounded]);
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

  test('portions of the weights become powers of two, the largest first, and stay what they became', async () => {
    const text = schedule('{ class: INQQuantizer, portions: [0.5, 0.75, 1] }', 4);
    const masks: [Float32Array, Float32Array][] = [];
    for (const last of [0, 1, 2, 3]) {
      const { memory } = await train(mlp(), text, set, { epochs: Array.from({ length: last + 1 }, (_, i) => i) });
      const { dress } = (memory.get('graph') as { prepared: { dress: Dressed } }).prepared;
      masks.push(['free', 'given'].map((name) => memoryOf({ memory }).learned!.numbers.get(dress.constant('w1', name))!) as [Float32Array, Float32Array]); // prettier-ignore
    }
    expect(masks.map(([free]) => free.filter((v) => v === 0).length)).toEqual([24, 24, 36, 36]);
    const [[free, given], [, later]] = [masks[0]!, masks[3]!];
    given.forEach((v, i) => free[i] === 0 && expect(later[i]).toBe(v));
    const largest = floatData(initializers(mlp().graph).get('w1')!).map(Math.abs);
    const border = Math.min(...largest.filter((_, i) => free[i] === 0));
    expect(Math.max(...largest.filter((_, i) => free[i] === 1))).toBeLessThanOrEqual(border);
    for (const v of given.filter((v) => v !== 0)) expect(Number.isInteger(Math.log2(Math.abs(v)))).toBe(true);
    const { model } = await train(mlp(), text, set);
    for (const v of floatData(initializers(model.graph).get('w1')!)) expect(v === 0 || Number.isInteger(Math.log2(Math.abs(v)))).toBe(true); // prettier-ignore
  });

  test('shared weights: which value a weight has stays, the values move, and 0 stays 0', async () => {
    const pruned = mlp((name, data) => (name === 'w1' ? data.map((v, i) => (i % 3 === 0 ? 0 : v)) : data));
    const trained = await train(pruned, schedule('{ class: TrainedCodebookQuantizer, bits_weights: 2 }', 2), set);
    const { dress } = (trained.memory.get('graph') as { prepared: { dress: Dressed } }).prepared;
    const before = floatData(initializers(dress.model.graph).get(dress.constant('w1', 'values'))!);
    const numbers = memoryOf(trained).learned!.numbers;
    const [values, index] = ['values', 'index'].map((name) => numbers.get(dress.constant('w1', name))!) as [Float32Array, Float32Array]; // prettier-ignore
    expect(before.filter((v, k) => v !== values[k]).length).toBe(3);
    expect(trained.results.at(-1)!.skipped).toEqual([]);
    expect(Array.from(before.keys()).filter((k) => before[k] === 0).map((k) => values[k])).toEqual([0]); // prettier-ignore
    const made = floatData(initializers(trained.model.graph).get('w1')!);
    made.forEach((v, i) => expect(v).toBe(values[index[i]!]));
    expect(made.filter((_, i) => i % 3 === 0).every((v) => v === 0)).toBe(true);
  });

  test.each([
    '{ class: INQQuantizer }',
    '{ class: QuantAwareTrainFormatQuantizer, format: ternary }',
    '{ class: TrainedCodebookQuantizer, bits_weights: 3 }',
  ])('%s: in two runs as in one', async (text) => {
    const whole = await train(mlp(), schedule(text, 4), set);
    const first = await train(mlp(), schedule(text, 4), set, { epochs: [0, 1] });
    const memory = new Map([...first.memory].filter(([key]) => key !== 'graph'));
    const rest = await train(first.model, schedule(text, 4), set, { epochs: [2, 3], memory, reference: mlp() });
    expect([...memoryOf(rest).learned!.numbers]).toEqual([...memoryOf(whole).learned!.numbers]);
    expect(await apart(whole.model, rest.model, set)).toBe(0);
  });

  test.each([
    ['QuantAwareTrainFormatQuantizer, format: nf4', 'QuantAwareTrainFormatQuantizer (nf4)'],
    ['TTQQuantizer', 'TTQQuantizer (ternary)'],
    ['TrainedCodebookQuantizer, bits_weights: 3', 'TrainedCodebookQuantizer (codebook:bits=3)'],
  ])(
    '%s: levels that are no multiples of a step are refused for integer layers, before any step',
    async (text, name) => {
      const run = train(mlp(), schedule(`{ class: ${text}, bits_activations: 8 }`), set);
      await expect(run).rejects.toMatchObject({ code: 'schedule', message: `the levels of ${name} are no multiples of a step, which integer kernels take`, at: 'q' }); // prettier-ignore
    },
  );

  test('powers of two run on integer kernels', async () => {
    const { model } = await train(
      mlp(),
      schedule('{ class: INQQuantizer, bits_weights: 4, bits_activations: 8 }'),
      set,
    );
    expect(model.graph.node.filter((node) => isOp(node, 'DequantizeLinear')).length).toBeGreaterThan(3);
    expect(
      [...initializers(model.graph).values()].filter(({ data_type, dims }) => data_type === 3 && dims.length > 1)
        .length,
    ).toBe(2);
  });

  test.each([
    '{ class: XNORQuantizer }',
    '{ class: ReCUQuantizer }',
    '{ class: XNORPlusPlusQuantizer, bits_activations: 8 }',
    '{ class: INQQuantizer }',
    '{ class: TrainedCodebookQuantizer, bits_weights: 3 }',
    '{ class: DorefaQuantizer, bits_weights: 3 }',
    '{ class: LSQQuantizer, bits_weights: 3, bits_activations: 8 }',
  ])('%s: what a pruner zeroes while it learns stays zero in the file', async (text) => {
    const pruned = schedule(text, 4).replace('quantizers:', `pruners: { p: { class: AutomatedGradualPruner, initial_sparsity: 0.2, final_sparsity: 0.6, weights: [w1, w2] } }\nquantizers:`).replace('policies:', 'policies:\n  - { pruner: { instance_name: p }, starting_epoch: 0, ending_epoch: 3 }'); // prettier-ignore
    const { model } = await train(mlp(), pruned, set);
    const stored = [...initializers(model.graph)].filter(([name, tensor]) => tensor.dims.length > 1 && /^w/.test(name)); // prettier-ignore
    expect(stored).toHaveLength(2);
    for (const [, tensor] of stored) {
      const data = Array.from(tensorData(tensor) as Float32Array);
      expect(data.filter((v) => v === 0).length).toBeGreaterThanOrEqual(Math.floor(0.6 * data.length));
    }
  });

  test('a weight that a mask on the forward pass alone covers learns on, whatever the method', async () => {
    const text = schedule('{ class: XNORQuantizer }', 2).replace('quantizers:', `pruners: { p: { class: SparsityLevelParameterPruner, levels: { w1: 0.5 } } }\nquantizers:`).replace('policies:', 'policies:\n  - { pruner: { instance_name: p, args: { mask_on_forward_only: true, use_double_copies: true } }, starting_epoch: 0, ending_epoch: 2 }'); // prettier-ignore
    const trained = await train(mlp(), text, set);
    const [before, after] = [floatData(initializers(mlp().graph).get('w1')!), weightsOf(memoryOf(trained).masters!).get('w1')!]; // prettier-ignore
    expect([...after].filter((v, i) => v !== before[i]).length).toBe(before.length);
  });

  test('layers that overrides leave in float stay as they are', async () => {
    const text = '{ class: LSQQuantizer, bits_weights: 4, bits_activations: 8, overrides: { fc1: { bits_weights: null, bits_activations: null } } }'; // prettier-ignore
    const { model, results } = await train(mlp(), schedule(text), set);
    expect(initializers(model.graph).get('w1')?.data_type).toBe(1);
    expect(results.at(-1)!.skipped).toContainEqual({ layer: 'fc1', text: 'left in float by the schedule' });
  });
});
