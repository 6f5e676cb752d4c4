import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { writeModel } from '../../../src/graph/file.ts';
import type { Model } from '../../../src/graph/model.ts';
import { runModel, floats } from '../../helpers/context.ts';
import { weight } from '../../helpers/models.ts';
import { examples, farthest, memoryOf, mlp, normed, samplesOf, train, weightsOf, zerosOf } from './epochs.ts';

const vectors = examples(30, 6);
const set = samplesOf(vectors, [6]);
const unlabelled = samplesOf(vectors, [6], false);
const head = (epochs: number, how = '', lr = 0.1) => `training: { epochs: ${epochs}, batch_size: 10, optimizer: { name: sgd, lr: ${lr} }${how} }\n`; // prettier-ignore
const sum = (data: Float32Array) => data.reduce((s, v) => s + Math.abs(v), 0);

describe('regularizers in training', () => {
  const pulled = (regimes: string, epochs: string, kind = 'L1Regularizer', args = '', more = '') => `
regularizers: { r: { class: ${kind}, reg_regims: ${regimes}${more} } }
policies: [{ regularizer: { instance_name: r${args} }, ${epochs} }]
`; // prettier-ignore

  it('pull at the weights that they name, and only in their epochs', async () => {
    const text = head(4) + pulled('{ fc1: 0.02 }', 'epochs: [1, 2]');
    const [with1, without] = [await train(mlp(), text, set), await train(mlp(), head(4), set)];
    const far = (i: number) => farthest(with1.results[i]!.model, without.results[i]!.model);
    expect(far(0)).toBe(0);
    expect(far(1)).toBeGreaterThan(1e-4);
    const [mine, plain] = [with1, without].map(({ results }) => sum(weightsOf(results[2]!.model).get('w1')!));
    expect(mine).toBeLessThan(plain! - 0.2);
    // Behind its epochs the step is a plain one again, whatever stays of the weights.
    const memory = new Map<string, unknown>([
      ['training', memoryOf(await train(mlp(), text, set, { epochs: [0, 1, 2] }))],
    ]);
    const last = await train(with1.results[2]!.model, head(4), set, { epochs: [3], memory });
    expect(farthest(last.model, with1.model)).toBe(0);
  });

  it('are a step of lr times strength times sign, beside the gradient', async () => {
    const ten = samplesOf(vectors.slice(0, 10), [6]);
    const [a, b] = [await train(mlp(), head(1) + pulled('{ fc1: 0.02 }', 'epochs: [0]'), ten), await train(mlp(), head(1), ten)]; // prettier-ignore
    const [first, x, y] = [mlp(), a.model, b.model].map((one) => weightsOf(one).get('w1')!);
    first!.forEach((v, i) => expect(y![i]! - x![i]!).toBeCloseTo(0.1 * 0.02 * Math.sign(v), 6));
    expect(a.results[0]!.trained!.loss).toBeCloseTo(b.results[0]!.trained!.loss + 0.02 * sum(first!), 4);
  });

  it('zero groups that fall below their threshold, for good where they are kept', async () => {
    const regimes = "{ conv2.weight: [0.07, '3D'] }";
    const small = (args: string) => head(3, '', 0.2).replace('batch_size: 10', 'batch_size: 5') + pulled(regimes, 'starting_epoch: 0, ending_epoch: 2, frequency: 1', 'GroupLassoRegularizer', args, ', threshold_criteria: Max'); // prettier-ignore
    const images = samplesOf(examples(20, 192), [3, 8, 8]);
    // One filter of four is small already.
    const start = edit(normed(), (draft) => {
      const data = weightsOf(normed()).get('conv2.weight')!;
      draft.replace('conv2.weight', makeTensor('conv2.weight', 'float32', [4, 6, 3, 3], data.map((v, i) => (i >= 54 && i < 108 ? v / 10 : v)))); // prettier-ignore
    });
    const rows = (model: Model) => {
      const data = weightsOf(model).get('conv2.weight')!;
      return [0, 1, 2, 3].filter((f) => data.slice(54 * f, 54 * f + 54).every((v) => v === 0));
    };
    const kept = await train(start, small(', args: { keep_mask: true }'), images);
    const found = rows(kept.results[1]!.model);
    expect(found).toEqual([1]);
    expect(rows(kept.results[2]!.model)).toEqual(found);
    expect(memoryOf(kept).masks.has('conv2.weight')).toBe(true);
    // Otherwise the mask acted once, and gradients bring them back.
    const let1 = await train(start, small(''), images);
    expect(rows(let1.results[1]!.model)).toEqual(found);
    expect(rows(let1.results[2]!.model)).toEqual([]);
    expect(memoryOf(let1).masks.has('conv2.weight')).toBe(false);
  });

  it('are refused where a weight has no such groups', async () => {
    await expect(train(mlp(), head(1) + pulled("{ fc1: [0.1, '3D'] }", 'epochs: [0]', 'GroupLassoRegularizer'), set)).rejects.toMatchObject({
      at: 'r, w1', message: expect.stringMatching(/a weight of shape \[8, 6\] has no groups "3D": it has Rows, Cols/) as string,
    }); // prettier-ignore
  });
});

describe('a teacher', () => {
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-teacher-'))));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const feeds = { x: floats(Float32Array.from(examples(12, 6, 9).flatMap(({ x }) => [...x])), [12, 6]) };
  const outputs = async (model: Model, name = 'y') => (await runModel(model, feeds))[name]!.data as Float32Array;
  const shares = (y: Float32Array) => {
    const out: number[] = [];
    for (let i = 0; i < y.length; i += 3) {
      const e = [0, 1, 2].map((j) => Math.exp(y[i + j]!));
      out.push(...e.map((v) => v / e.reduce((a, b) => a + b)));
    }
    return out;
  };
  const apart = async (a: Model, b: Model) => {
    const [x, y] = [shares(await outputs(a)), shares(await outputs(b))];
    return Math.max(...x.map((v, i) => Math.abs(v - y[i]!)));
  };
  const damaged = mlp((name, data) => (name === 'w1' ? data.map((v, i) => (i % 2 === 0 ? v * 0.3 : v)) : data));
  const distil = (more: string, how = '') => head(30, `, distillation: { ${more} }${how}`, 0.5);

  it('brings outputs nearer to its own without any label', async () => {
    const { model, results } = await train(damaged, distil('student_wt: 0, distill_wt: 1, temperature: 2'), unlabelled, { reference: mlp() }); // prettier-ignore
    expect(await apart(model, mlp())).toBeLessThan(0.4 * (await apart(damaged, mlp())));
    expect(results[0]!.trained!.accuracy).toBeUndefined();
    // With labels that are not asked for it is the same.
    const labelled = await train(damaged, distil('student_wt: 0, distill_wt: 1, temperature: 2'), set, {
      reference: mlp(),
    });
    expect(farthest(labelled.model, model)).toBe(0);
  }, 30_000);

  it('may be a file, which need not be the same net, and is weighed against the labels', async () => {
    const path = join(folder, 'teacher.onnx');
    const taught = (await train(mlp(), head(20, '', 0.3), set)).model;
    await writeModel(taught, path);
    const by = async (more: string) => (await train(damaged, distil(`teacher: '${path}', ${more}`), set)).model;
    const [pure, half] = [await by('student_wt: 0, distill_wt: 1'), await by('student_wt: 0.5, distill_wt: 0.5')];
    expect(await apart(pure, taught)).toBeLessThan(0.5 * (await apart(damaged, taught)));
    expect(farthest(pure, half)).toBeGreaterThan(1e-3);
    const none = await by('student_wt: 1, distill_wt: 0');
    expect(farthest(none, (await train(damaged, head(30, '', 0.5), set)).model)).toBeLessThan(1e-6);
  }, 30_000);

  it('shows what inner values should be', async () => {
    const by = async (hints: string) => (await train(damaged, distil(`student_wt: 0, distill_wt: 0.01${hints}`), unlabelled, { reference: mlp() })).model; // prettier-ignore
    const hidden = async (model: Model) => {
      const { withOutputs } = await import('../../../src/graph/edit.ts');
      return outputs(withOutputs(model, ['r']), 'r');
    };
    const far = async (model: Model) => {
      const [a, b] = [await hidden(model), await hidden(mlp())];
      return a.reduce((s, v, i) => s + (v - b[i]!) ** 2, 0);
    };
    const [hinted, plain] = [await by(', hints: { r: 1 }'), await by('')];
    expect(await far(hinted)).toBeLessThan(0.2 * (await far(damaged)));
    expect(await far(hinted)).toBeLessThan(0.5 * (await far(plain)));
    // What is looked at is no output of the result.
    expect(hinted.graph.output.map(({ name }) => name)).toEqual(['y']);
  }, 30_000);

  it('ends the training in a sentence where a remover cuts what is a hint', async () => {
    // Half of the hidden channels are zero, so that they go.
    const half = mlp((name, data) => (name === 'w1' || name === 'b1' ? data.map((v, i) => (i < data.length / 2 ? 0 : v)) : data)); // prettier-ignore
    const cutting = (hint: string) => `training: { epochs: 3, batch_size: 10, distillation: { student_wt: 0.5, distill_wt: 0.5, hints: { ${hint}: 1 } } }
extensions: { cut: { class: FilterRemover } }
policies:
  - { extension: { instance_name: cut }, epochs: [1] }
`; // prettier-ignore
    const lost = await train(half, cutting('r'), set, { reference: half });
    expect(lost.results.map(({ failed }) => failed)).toEqual([undefined, 'cut cut "r" from [4, 8] to [4, 4], which is a hint of the teacher: hint at values that keep their channels, or cut before training begins or after it ends']); // prettier-ignore
    // What training had reached stands.
    expect(lost.model.graph.output.map(({ name }) => name)).toEqual(['y']);
    expect(lost.model).toBe(lost.results[0]!.model);
  }, 30_000);

  it('is refused where it does not fit', async () => {
    const wrong = async (model: Model | undefined, more: string) => {
      const path = join(folder, `wrong.onnx`);
      if (model) await writeModel(model, path);
      return train(damaged, distil(`${model ? `teacher: '${path}', ` : ''}${more}`), set).then(() => 'accepted', ({ message }: Error) => message); // prettier-ignore
    };
    const other = (input: string, classes: number) =>
      makeModel({
        opset: 18,
        inputs: [makeValue(input, 'float32', ['N', 6])],
        outputs: [makeValue('z', 'float32', ['N', classes])],
        initializers: [weight('w', [6, classes], 1)],
        nodes: [makeNode('MatMul', [input, 'w'], ['z'])],
      });
    expect(await wrong(other('x', 4), '')).toMatch(/the teacher gives \[10, 4\] for y, and the student \[10, 3\]/);
    expect(await wrong(other('u', 3), '')).toMatch(/the teacher's input "u" is none of the student's/);
    expect(await wrong(other('x', 3), '')).toBe('accepted');
    expect(await wrong(undefined, 'hints: { q: 1 }')).toMatch(/the model has no value "q"/);
    expect(await wrong(undefined, 'hints: { x: 1 }')).toMatch(/no value "x"/);
    expect(await wrong(undefined, 'hints: { y: 1 }')).toMatch(/"y" is an output of the model: hints are inner values/);
  }, 30_000);
});

describe('what training refuses', () => {
  const wrong = async (text: string, model: Model, samples: Parameters<typeof train>[2]) => {
    try {
      const { results } = await train(model, text, samples);
      return results.at(-1)!.failed ?? 'accepted';
    } catch (error) {
      const { message, at, hint } = error as { message: string; at?: string; hint?: string };
      expect(message).not.toMatch(/\n/);
      return `${at ?? ''} | ${message} | ${hint ?? ''}`;
    }
  };
  it.each([
    ['no samples', head(1), undefined, /there are no samples to train on \| give the data config a set `training:`/],
    ['no labels and no teacher', head(1), unlabelled, /samples of a test \| the samples to train on have no labels, and there is no teacher \| .*student_wt: 0/],
    ['no labels, and a weight on them', head(1, ', distillation: { student_wt: 0.3 }'), unlabelled, /no labels, and student_wt is above 0/],
    ['a batch larger than the set', head(1).replace('10', '31'), set, /samples of a test \| a batch of 31 is larger than the set to train on, which has 30 samples \| .*batch_size/],
    ['a set of none', head(1), samplesOf([], [6]), /samples/],
    ['names of nothing', head(1, ', trainable: [fc1, fx2]'), set, /training.trainable \| "fx2" matches no layer and no weight of the model \(did you mean "fc2"\?\)/],
    ['names of nothing that are frozen', head(1, ", frozen: ['conv*']"), set, /training.frozen \| "conv\*" matches no layer and no weight/],
    ['nothing left to train', head(1, ", frozen: ['*']"), set, /no weight is left to be trained/],
    ['an output that there is not', head(1, ', loss: { name: cross_entropy, output: z }'), set, /"z", which the model has not/],
    ['a rate that is too high', head(20, '', 1e4), set, /^training diverges: (a loss of|weights or a loss).*, in epoch \d+; it began at a loss of (0\.|1\.)\d+: give a smaller lr than 10000$/],
  ] as const)('%s', async (_, text, samples, message) => {
    expect(await wrong(text, mlp(), samples)).toMatch(message);
  }); // prettier-ignore

  it('samples and weights that are no numbers', async () => {
    const bad = samplesOf(vectors.map(({ x, label }, i) => ({ x: i === 3 ? x.map(() => NaN) : x, label })), [6]); // prettier-ignore
    expect(await wrong(head(1), mlp(), bad)).toMatch(/NaN|no number/);
    const broken = mlp((name, data) => (name === 'w2' ? data.map(() => NaN) : data));
    expect(await wrong(head(1), broken, set)).toMatch(
      /^the loss is NaN at step 1, in epoch 0: the samples or the model itself/,
    );
  });

  it('weights that the last step of all made no numbers', async () => {
    const one = samplesOf(vectors.slice(0, 10), [6]);
    expect(await wrong(head(1, '', 3e38), mlp((_, data) => data.map((v) => 1000 * v)), one)).toMatch(/^training diverges: weights or a loss that are no numbers behind the last step of epoch 0/); // prettier-ignore
  });

  it('models that are quantized, and says what stands behind an operator without a rule', async () => {
    const { staticQuantizer } = await import('../../../src/passes/quantize/static.ts');
    const { testContext } = await import('../../helpers/context.ts');
    const quantized = (await staticQuantizer.apply(mlp(), staticQuantizer.options.parse({}), testContext({ calibration: [feedsOf()], reference: mlp() }))).model; // prettier-ignore
    expect(await wrong(head(1), quantized, set)).toMatch(
      /no weight can be trained.*a model is trained before a quantizer/,
    );
    const blocked = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32', ['N', 3])],
      initializers: [weight('w1', [6, 8], 1), weight('w2', [8, 3], 2)],
      nodes: [
        makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
        makeNode('Hardmax', ['h'], ['t'], {}, { name: 'hard' }),
        makeNode('MatMul', ['t', 'w2'], ['y'], {}, { name: 'two' }),
      ],
    });
    const { model, results } = await train(blocked, head(1), set);
    expect(results[0]!.skipped).toEqual([{ layer: 'hard', text: expect.stringMatching(/^Hardmax .*: 1 parameters before it are not trained$/) as string }]); // prettier-ignore
    expect(results[0]!.changed.map(({ layer }) => layer)).toEqual(['w2']);
    expect([...weightsOf(model).get('w1')!]).toEqual([...weightsOf(blocked).get('w1')!]);
    expect(await wrong(head(1, ', trainable: [one]'), blocked, set)).toMatch(/no weight can be trained: hard, Hardmax/);
    expect(zerosOf(Float32Array.of(0, 1))).toEqual([0]);
  });
  const feedsOf = () => ({ x: floats(Float32Array.from(vectors.flatMap(({ x }) => [...x])), [30, 6]) });
});
