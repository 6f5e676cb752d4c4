import { exitUses } from '../../../src/analyze/exits.ts';
import type { Batch, Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { exitsOf, ownOutputs, setExits } from '../../../src/graph/exits.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { cosine } from '../../../src/metrics/cosine.ts';
import { agreement } from '../../../src/metrics/agreement.ts';
import { topK } from '../../../src/metrics/topk.ts';
import { scoreEntropy } from '../../../src/numerics/score_entropy.ts';
import { earlyExit } from '../../../src/passes/train/early_exit.ts';
import { finetune } from '../../../src/passes/train/finetune.ts';
import { crossEntropy } from '../../../src/passes/train/loss/cross_entropy.ts';
import { exitInput, joint } from '../../../src/passes/train/loss/joint.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Lesson } from '../../../src/passes/pass.ts';
import { exitParts, openExits } from '../../../src/runtime/exits.ts';
import { measure } from '../../../src/runtime/measure.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { batchesOf, examples, mlp, normed, samplesOf, train, type Trained } from './epochs.ts';
import { apart, drawn, evaluateLoss, worstSlope } from './graph.ts';

const lesson: Lesson = { step: 0, passing: false, gradients: () => { throw new Error('not asked for'); } }; // prettier-ignore
const image = (seed: number, count = 1): Feeds => ({ x: floats(noise(seed, count * 192), [count, 3, 8, 8]) });
const context = (calibration: Feeds[] = [image(1)]) => testContext({ lesson, calibration });
const added = async (model: Model, options: object, calibration?: Feeds[]) =>
  earlyExit.apply(model, earlyExit.options.parse(options), context(calibration));
const refusal = async (model: Model, options: object, calibration?: Feeds[]): Promise<string> =>
  added(model, options, calibration).then(
    () => 'nothing',
    (error: unknown) => (error as Error).message,
  );
const dataOf = (feeds: Feeds, name: string) => [...(feeds[name]!.data as Float32Array)];

const images = examples(60, 192);
const sets = samplesOf(images, [3, 8, 8]);
const text = (more = '', training = '') => `
training: { epochs: 16, batch_size: 12, optimizer: { name: sgd, lr: 0.05, momentum: 0.9 }${training} }
extensions: { exit: { class: EarlyExit, exits: [{ at: relu1, weight: 0.4, threshold: 0.5, grid: 2 }]${more} } }
policies: [{ extension: { instance_name: exit }, starting_epoch: 0, ending_epoch: 2 }]
`;
let trained: Trained;
beforeAll(async () => (trained = await train(normed(), text(), sets)));
const batches = async function* (): AsyncGenerator<Batch> {
  yield* batchesOf(images, [3, 8, 8], { epoch: 0, seed: 0, batchSize: 20 });
};
const one = (): Batch => batchesOf(images.slice(0, 1), [3, 8, 8], { epoch: 0, seed: 0, batchSize: 1 })[0]!;

describe('the branch', () => {
  it.each([1, 2, 3])('averages an image to a grid of %i and multiplies, and changes nothing else', async (grid) => {
    const model = normed();
    const { model: result, changed } = await added(model, { exits: [{ at: 'conv1', grid }] });
    const feeds = image(7, 2);
    const inner = edit(model, (draft) => draft.setOutputs([...model.graph.output, { name: 'c1', metadata_props: [] }]));
    const before = await runModel(inner, feeds, 'disabled');
    const c1 = dataOf(before, 'c1');
    const [weight, bias] = ['exit_0.weight', 'exit_0.bias'].map((name) =>
      floatData(initializers(result.graph).get(name)!),
    );
    // Windows of 8, of 4 and 4, of 2, 2 and 4.
    const starts = Array.from({ length: grid }, (_, i) => i * Math.floor(8 / grid));
    const ends = starts.map((start, i) => (i === grid - 1 ? 8 : start + Math.floor(8 / grid)));
    const window = 8 - (grid - 1) * Math.floor(8 / grid);
    const wanted = [0, 1].flatMap((n) => [0, 1, 2].map((k) => {
      let sum = bias![k]!;
      for (let c = 0; c < 6; c++)
        starts.forEach((top, i) => starts.forEach((left, j) => {
          let mean = 0;
          for (let y = top; y < top + window; y++) for (let x = left; x < left + window; x++) mean += c1[((n * 6 + c) * 8 + y) * 8 + x]! / window ** 2;
          sum += mean * weight![((k * 6 + c) * grid + i) * grid + j]!;
        }));
      return sum;
    })); // prettier-ignore
    expect(ends.at(-1)).toBe(8);
    for (const level of ['disabled', 'all'] as const) {
      const after = await runModel(result, feeds, level);
      // Sums of float32 in another order.
      expect(apart(dataOf(after, 'exit_0'), wanted)).toBeLessThan(1e-5);
      // At `all` onnxruntime folds the norm into the convolution only where nothing else reads between them.
      expect(apart(dataOf(after, 'y'), dataOf(await runModel(model, feeds, level), 'y'))).toBeLessThan(
        level === 'all' ? 1e-5 : 1e-12,
      );
    }
    expect(result.graph.output.map(({ name }) => name)).toEqual(['y', 'exit_0']);
    expect(changed[0]!.text).toContain(`${6 * grid * grid} means, 3 classes`);
    expect(exitsOf(result)).toEqual([{ output: 'exit_0', at: 'c1', weight: 0.3, threshold: 0.4 }]);
    expect(ownOutputs(result).map(({ name }) => name)).toEqual(['y']);
  });

  it('stands in the order of the graph, and is drawn by its seed', async () => {
    const exits = [
      { at: 'relu1', weight: 0.2 },
      { at: 'bn', weight: 0.1 },
    ];
    const { model } = await added(normed(), { exits });
    expect(exitsOf(model).map(({ output, at, weight }) => [output, at, weight])).toEqual([['exit_0', 'n1', 0.1], ['exit_1', 'r1', 0.2]]); // prettier-ignore
    const weightOf = (of: Model, name = 'exit_0.weight') => floatData(initializers(of.graph).get(name)!);
    expect(weightOf(model)).toEqual(weightOf((await added(normed(), { exits })).model));
    expect(weightOf(model)).not.toEqual(weightOf((await added(normed(), { exits, seed: 1 })).model));
    expect(weightOf(model)).not.toEqual(weightOf(model, 'exit_1.weight'));
    const again = await added(model, { exits });
    expect(again.model).toBe(model);
    expect(again.skipped.map(({ text: why }) => why)).toEqual(['r1 has an exit already', 'n1 has an exit already']);
  });

  it('reads features as they are', async () => {
    const x = floats(noise(3, 12), [2, 6]);
    const { model } = await added(mlp(), { exits: [{ at: 'relu' }] }, [{ x: floats(noise(3, 6), [1, 6]) }]);
    expect((await runModel(model, { x })).exit_0!.dims).toEqual([2, 3]);
    expect(model.graph.node.map(({ op_type }) => op_type)).toEqual(['Gemm', 'Relu', 'Gemm', 'Gemm']);
  });

  it.each([17, 18])('averages over the places of a sequence, in operator set %i', async (opset) => {
    const model = makeModel({
      opset,
      inputs: [makeValue('x', 'float32', ['N', 'T', 4])],
      outputs: [makeValue('y', 'float32', ['N', 3])],
      initializers: [weight('w', [4, 5], 1), weight('v', [5, 3], 2), makeTensor('axes', 'int64', [1], BigInt64Array.of(1n))],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['h'], {}, { name: 'first' }),
        opset < 18 ? makeNode('ReduceMean', ['h'], ['m'], { axes: [1], keepdims: 0 }) : makeNode('ReduceMean', ['h', 'axes'], ['m'], { keepdims: 0 }),
        makeNode('MatMul', ['m', 'v'], ['y'], {}, { name: 'last' }),
      ],
    }); // prettier-ignore
    const sequence = (seed: number, count: number): Feeds => ({ x: floats(noise(seed, count * 7 * 4), [count, 7, 4]) });
    const { model: result } = await added(model, { exits: [{ at: 'first' }] }, [sequence(1, 1)]);
    const found = await runModel(edit(result, (draft) => draft.addOutput(makeValue('m', 'float32', ['N', 5]))), sequence(2, 2)); // prettier-ignore
    const [w, b] = ['exit_0.weight', 'exit_0.bias'].map((name) => floatData(initializers(result.graph).get(name)!));
    const m = dataOf(found, 'm');
    const wanted = [0, 1].flatMap((n) => [0, 1, 2].map((k) => [0, 1, 2, 3, 4].reduce((sum, i) => sum + m[5 * n + i]! * w![5 * k + i]!, b![k]!))); // prettier-ignore
    expect(apart(dataOf(found, 'exit_0'), wanted)).toBeLessThan(1e-5);
  });

  it('refuses what cannot be', async () => {
    expect(await refusal(normed(), { exits: [{ at: 'relu2' }] })).toBe('the model has no value and no node "relu2" (did you mean "relu1"?)'); // prettier-ignore
    expect(await refusal(normed(), { exits: [{ at: 'fc' }] })).toBe('"fc" is an output of the model: nothing is saved by leaving there'); // prettier-ignore
    expect(await refusal(normed(), { exits: [{ at: 'bn', weight: 0.5 }, { at: 'relu1', weight: 0.5 }] })).toMatch(/weights of the exits are 1 together/); // prettier-ignore
    expect(await refusal(normed(), { exits: [{ at: 'relu1', grid: 9 }] })).toMatch(/smaller than a grid of 9/);
    expect(await refusal(mlp(), { exits: [{ at: 'relu', grid: 2 }] }, [{ x: floats(noise(3, 6), [1, 6]) }])).toMatch(/no image/); // prettier-ignore
    const untrained = earlyExit.apply(normed(), earlyExit.options.parse({ exits: [{ at: 'bn' }] }), testContext({ calibration: [image(1)] })); // prettier-ignore
    await expect(untrained).rejects.toThrow('an early exit is at chance until it is trained');
    const broken = edit(normed(), (draft) => draft.setMetadata('qtool.early_exits', '{'));
    expect(() => exitsOf(broken)).toThrow('is no list of early exits');
  });
});

describe('the joint loss', () => {
  const dims = [5, 4];
  const [y, e] = [drawn(1, dims, 2), drawn(2, dims, 2)];
  const labels = [0, 3, 1, 2, 2];
  const target = floats(Float32Array.from(labels.flatMap((label) => [0, 1, 2, 3].map((c) => (c === label ? 1 : 0)))), dims); // prettier-ignore
  const counted = floats(new Float32Array(5).fill(1), [5, 1]);
  const answers = { target_shares: target, counted_rows: counted };
  const feeds = { ...answers, ...Object.fromEntries(Object.entries(answers).map(([name, tensor]) => [exitInput('e', name), tensor])) }; // prettier-ignore
  const loss = joint(crossEntropy(), [{ exit: { output: 'e', at: 'h', weight: 0.3, threshold: 0 }, loss: crossEntropy() }]); // prettier-ignore
  const entropyOf = (z: Float32Array): number => {
    const each = labels.map((label, i) => {
      const row = [...z.subarray(4 * i, 4 * i + 4)];
      return Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0)) - row[label]!;
    });
    return each.reduce((a, b) => a + b, 0) / 5;
  };

  it('is the weighted sum of the cross-entropies, its gradients their slopes', async () => {
    const wanted = 0.3 * entropyOf(e.data as Float32Array) + 0.7 * entropyOf(y.data as Float32Array);
    for (const found of await evaluateLoss(loss, { y, e }, feeds)) {
      expect(found['loss']![0]).toBeCloseTo(wanted, 5);
      // Central differences of a double-precision closed form.
      const slope = async (z: Float32Array, weight: number) => weight * entropyOf(z);
      expect(await worstSlope((z) => slope(z, 0.7), y.data as Float32Array, found['d y']!)).toBeLessThan(1e-4);
      expect(await worstSlope((z) => slope(z, 0.3), e.data as Float32Array, found['d e']!)).toBeLessThan(1e-4);
      expect(found['counted']).toEqual([5]);
    }
  });
});

describe('training', () => {
  it('makes the exit and the network right together, and adds it once', async () => {
    expect(trained.results[1]!.notes).toEqual(['exit: relu1: r1 has an exit already']);
    const uses = await exitUses(trained.model, batches(), one());
    // Before training the branch is drawn by chance and knows a third.
    expect(uses.exits.map(({ accuracyOfAll }) => accuracyOfAll)).toEqual([100, 100]);
    expect(trained.results.at(-1)!.trained!.loss).toBeLessThan(trained.results[0]!.trained!.loss);
  });

  it('weighs the exit by its share of the loss', async () => {
    // Steps of the branch alone go by w · dL: half the weight, half the step.
    const moved = async (weight: number) => {
      const how = text('', ', epochs: 1').replace('epochs: 16, ', '').replace('weight: 0.4', `weight: ${weight}`).replace('ending_epoch: 2', 'ending_epoch: 1').replace('momentum: 0.9', 'momentum: 0').replace('batch_size: 12', 'batch_size: 60'); // prettier-ignore
      const { model } = await train(normed(), how, sets);
      const first = (await added(normed(), { exits: [{ at: 'relu1', grid: 2 }] })).model;
      const bias = (of: Model) => floatData(initializers(of.graph).get('exit_0.bias')!);
      return [...bias(model)].map((v, i) => v - bias(first)[i]!);
    };
    const [half, quarter] = [await moved(0.5), await moved(0.25)];
    // Differences of float32 biases of about 0.1.
    expect(apart(half, quarter.map((v) => 2 * v))).toBeLessThan(1e-3); // prettier-ignore
  });

  it('compares the exits with the teacher, too, and refuses hints alone', async () => {
    const reference = trained.model;
    const own = edit(reference, (draft) => { draft.setOutputs(ownOutputs(reference)); setExits(draft, []); }); // prettier-ignore
    const student = await train(normed(), text('', ', distillation: { student_wt: 0, distill_wt: 1 }'), samplesOf(images, [3, 8, 8], false), { reference: own }); // prettier-ignore
    const uses = await exitUses(student.model, batches(), one());
    expect(uses.exits[0]!.accuracyOfAll).toBe(100);
    const alone = train(normed(), text('', ', distillation: { student_wt: 0, distill_wt: 0, hints: { r1: 1 } }'), sets);
    await expect(alone).rejects.toThrow('the early exits learn nothing');
  });

  it('is rounded by a quantizer that learns as the network is', async () => {
    const how = text().replace('epochs: 16', 'epochs: 4').replace('policies: [', 'quantizers: { q: { class: LSQQuantizer, bits_weights: 4, bits_activations: 4 } }\npolicies: [{ quantizer: { instance_name: q }, starting_epoch: 0, ending_epoch: 4 }, '); // prettier-ignore
    const { model, results } = await train(normed(), how, sets);
    expect([...results.at(-1)!.held!.keys()].sort()).toEqual(['conv1', 'conv2', 'exit_0_fc', 'fc']);
    expect(exitsOf(model).map(({ output }) => output)).toEqual(['exit_0']);
    const ran = await runModel(model, image(1, 2));
    expect([ran['y']!.dims, ran['exit_0']!.dims]).toEqual([[2, 3], [2, 3]]); // prettier-ignore
    expect((await exitParts(model, one())).parts).toHaveLength(2);
  });

  it('goes on in a model that has exits, without the pass', async () => {
    const how = 'training: { epochs: 1, batch_size: 12, optimizer: { name: sgd, lr: 0.05 } }';
    const { model } = await train(trained.model, how, sets);
    const weightOf = (of: Model) => floatData(initializers(of.graph).get('exit_0.weight')!);
    expect(weightOf(model)).not.toEqual(weightOf(trained.model));
    expect(exitsOf(model)).toEqual(exitsOf(trained.model));
  });

  it('leaves the exits to themselves in FineTuning, which compares with a model that has none', async () => {
    const ctx = testContext({ reference: normed(), calibration: [image(1, 8)] });
    const { model, skipped } = await finetune.apply(trained.model, finetune.options.parse({ epochs: 1 }), ctx);
    expect(initializers(model.graph).get('exit_0.weight')).toBe(initializers(trained.model.graph).get('exit_0.weight'));
    expect(skipped.map(({ layer }) => layer).join()).toContain('exit_0.weight');
  });
});

describe('reading', () => {
  const quantizedModel = async () => {
    const calibration = [...batchesOf(images, [3, 8, 8], { epoch: 0, seed: 0, batchSize: 20 })].map(
      ({ feeds }) => feeds,
    );
    return (await staticQuantizer.apply(trained.model, staticQuantizer.options.parse({}), testContext({ calibration }))).model; // prettier-ignore
  };

  it.each(['float', 'int8'])(
    'in %s stops where the entropy says, with the numbers of the whole model',
    async (kind) => {
      const model = kind === 'float' ? trained.model : await quantizedModel();
      const cut = await exitParts(model, one());
      const ops = cut.parts.map(({ graph }) => graph.node.map(({ op_type }) => op_type));
      const layers = ops.map((list) => list.filter((op) => /^(Conv|Gemm)$/.test(op)).length);
      expect(layers).toEqual([2, 2]);
      // Codes cross the cut, not the numbers that they stand for.
      if (kind === 'int8')
        expect(cut.parts[1]!.graph.input.map(({ type }) => type?.tensor_type?.elem_type)).toEqual([2]);
      const feeds = batchesOf(images, [3, 8, 8], { epoch: 0, seed: 0, batchSize: 60 })[0]!.feeds;
      const whole = await runModel(model, feeds);
      const scores = (name: string, i: number) => (whole[name]!.data as Float32Array).subarray(3 * i, 3 * i + 3);
      const all = Array.from({ length: 60 }, (_, i) => scoreEntropy(scores('exit_0', i))).sort((a, b) => a - b);
      // Half of them leave.
      const threshold = (all[29]! + all[30]!) / 2;
      const reader = await openExits(cut, [threshold]);
      const answers = await reader.run(feeds);
      await reader.close();
      for (const [i, { exit, scores: found }] of answers.entries()) {
        expect(exit).toBe(scoreEntropy(scores('exit_0', i)) <= threshold ? 0 : 1);
        // Other batches are summed up in other orders.
        expect(apart([...found], [...scores(exit === 0 ? 'exit_0' : 'y', i)])).toBeLessThan(1e-5);
      }
      expect(answers.filter(({ exit }) => exit === 0)).toHaveLength(30);
      const uses = await exitUses(model, batches(), one(), [threshold]);
      expect(uses.exits.map(({ samples }) => samples)).toEqual([30, 30]);
    },
  );

  it('does not run what stands behind', async () => {
    const { exits, parts } = await exitParts(trained.model, one());
    // Its last part refuses to run: a division of shapes that do not fit.
    const broken = edit(parts[1]!, (draft) => draft.setInputs([{ ...parts[1]!.graph.input[0]!, name: 'gone' }, ...parts[1]!.graph.input])); // prettier-ignore
    const reader = await openExits({ exits, parts: [parts[0]!, broken] }, [2]);
    expect((await reader.run(image(3, 4))).map(({ exit }) => exit)).toEqual([0, 0, 0, 0]);
    await reader.close();
    const never = await openExits({ exits, parts: [parts[0]!, broken] }, [0]);
    await expect(never.run(image(3, 4))).rejects.toThrow('gone');
    await never.close();
  });

  it('counts multiply-accumulates up to each exit', async () => {
    const uses = await exitUses(trained.model, batches(), one(), [2]);
    const first = 64 * 6 * 27 + 24 * 3;
    const rest = 64 * 4 * 54 + 12;
    expect(uses).toMatchObject({ samples: 60, accuracy: 100, macs: first, macsWithout: 64 * 6 * 27 + rest });
    expect(uses.exits.map(({ samples, macs }) => [samples, macs])).toEqual([[60, first], [0, first + rest]]); // prettier-ignore
    expect(uses.exits[1]!.accuracy).toBeUndefined();
  });

  it('computes sizes of the batch again for the samples that are left', async () => {
    const model = normed();
    // The second half reads a shape that is taken before the exit: [N, -1] for as many as the batch had.
    const odd = edit((await added(model, { exits: [{ at: 'relu1' }] })).model, (draft) => {
      const flatten = draft.nodes().find(({ name }) => name === 'flatten')!;
      draft.removeNode(flatten);
      const first = draft.add('first', makeTensor('', 'int64', [1], BigInt64Array.of(0n)));
      const rest = draft.add('rest', makeTensor('', 'int64', [1], BigInt64Array.of(4n)));
      draft.addNode(makeNode('Shape', ['c1'], ['sizes']));
      draft.addNode(makeNode('Gather', ['sizes', first], ['size']));
      draft.addNode(makeNode('Concat', ['size', rest], ['shape'], { axis: 0 }));
      draft.addNode(makeNode('Reshape', ['p', 'shape'], ['f'], {}, { name: 'reshape' }));
      // The exit needs the shape as well, so that it belongs to the first part.
      const pool = draft.nodes().find(({ name }) => name === 'exit_0_flatten')!;
      draft.addNode(makeNode('Cast', ['size'], ['none'], { to: 1 }));
      const zero = draft.add('zero', makeTensor('', 'float32', [1], Float32Array.of(0)));
      draft.addNode(makeNode('Mul', ['none', zero], ['nothing']));
      draft.addNode(makeNode('Add', [pool.input[0]!, 'nothing'], ['more']));
      draft.update(pool, { input: ['more'] });
    });
    const cut = await exitParts(odd, one());
    expect(cut.parts[1]!.graph.input.map(({ name }) => name).sort()).toEqual(['c1', 'r1']);
    const feeds = image(3, 6);
    const whole = await runModel(odd, feeds);
    const entropies = Array.from({ length: 6 }, (_, i) => scoreEntropy((whole['exit_0']!.data as Float32Array).subarray(3 * i, 3 * i + 3))); // prettier-ignore
    const reader = await openExits(cut, [[...entropies].sort((a, b) => a - b)[2]!]);
    const answers = await reader.run(feeds);
    await reader.close();
    expect(answers.filter(({ exit }) => exit === 1)).toHaveLength(3);
    for (const [i, { exit, scores }] of answers.entries())
      expect(apart([...scores], dataOf(whole, exit === 0 ? 'exit_0' : 'y').slice(3 * i, 3 * i + 3))).toBeLessThan(1e-5);
  });

  it('refuses a model without exits, and thresholds that are not one each', async () => {
    await expect(exitParts(normed(), one())).rejects.toThrow('the model has no early exits');
    const cut = await exitParts(trained.model, one());
    await expect(openExits(cut, [0.1, 0.2])).rejects.toThrow('2 thresholds are given, and the model has 1 early exits');
    await expect(openExits(cut, [-1])).rejects.toThrow('a threshold is an entropy');
  });

  it('is measured beside a float model that has no exits', async () => {
    const results = await measure(trained.model, normed(), batches(), [topK(1), agreement(), cosine()]);
    expect(results.map(({ name, samples }) => [name, samples])).toEqual([['top1', 60], ['agreement', 60], ['cosine', 60]]); // prettier-ignore
    expect(results[2]!.perOutput).toEqual({ y: results[2]!.value });
  });
});

it('the entropy of scores is that of their softmax', () => {
  expect(scoreEntropy([1, 1, 1, 1])).toBeCloseTo(Math.log(4), 12);
  expect(scoreEntropy([1000, 0, 0])).toBe(0);
  expect(scoreEntropy([0, -Infinity])).toBe(0);
  const p = 1 / (1 + Math.exp(-2));
  expect(scoreEntropy([5, 3])).toBeCloseTo(-p * Math.log(p) - (1 - p) * Math.log(1 - p), 12);
  expect(scoreEntropy([NaN, 1])).toBeNaN();
});
