import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Batch } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import type { Model } from '../../src/graph/model.ts';
import { dimsOf, makeTensor, tensorData } from '../../src/graph/tensor.ts';
import { metricKinds } from '../../src/metrics/index.ts';
import type { Metric, MetricResult } from '../../src/metrics/metric.ts';
import { moduleMetric } from '../../src/metrics/module.ts';
import { judge } from '../../src/run/gate.ts';
import { measure } from '../../src/runtime/measure.ts';
import { limitProblem } from '../../src/schedule/language.ts';
import type { Limit } from '../../src/schedule/types.ts';
import { noise, weight } from '../helpers/models.ts';
import { runModel } from '../helpers/context.ts';

/** Nine classes, so that the five highest are not all. */
const float = makeModel({
  inputs: [makeValue('x', 'float32', ['N', 6])],
  outputs: [makeValue('y', 'float32', ['N', 9])],
  nodes: [makeNode('Gemm', ['x', 'w', 'b'], ['y'])],
  initializers: [weight('w', [6, 9], 1), weight('b', [9], 2)],
});
const zero: Model = edit(float, (draft) => {
  for (const tensor of float.graph.initializer) {
    const data = tensorData(tensor);
    if (!(data instanceof Float32Array)) continue;
    draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dimsOf(tensor), new Float32Array(data.length)));
  }
});
const output = float.graph.output[0]!.name;

/** 16 samples, labelled with the float model's own answers, which are the expected outputs too. */
async function* data(): AsyncGenerator<Batch> {
  for (let i = 0; i < 16; i++) {
    const feeds = { x: { type: 'float32' as const, dims: [1, 6], data: noise(i + 1, 6, 1) } };
    const expected = await runModel(float, feeds);
    const scores = [...(expected[output]!.data as Float32Array)];
    const label = Int32Array.of(scores.indexOf(Math.max(...scores)));
    // The float model is wrong by a little, so that it has an SQNR of its own against what is expected.
    const off = { ...expected[output]!, data: Float32Array.from(scores, (v) => v * 1.01) };
    yield { ids: [String(i)], feeds, targets: [{ label, expected: { [output]: off } }], count: 1, size: 1 };
  }
}

const folder = await mkdtemp(join(tmpdir(), 'qtool-zero-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Mean absolute difference, and its negative: metrics of a user's own, better when lower and when higher. */
async function own(sign: 1 | -1): Promise<Metric> {
  const name = sign === 1 ? 'far.mjs' : 'near.mjs';
  await writeFile(
    join(folder, name),
    `export default { higherIsBetter: ${sign === -1}, start: () => [0, 0],
       add: ([sum, n], { outputs, reference }) => Object.keys(reference).reduce(([s, c], k) =>
         [reference[k].data.reduce((t, v, i) => t + Math.abs(v - outputs[k].data[i]), s), c + reference[k].data.length], [sum, n]),
       finish: ([sum, n]) => ${sign} * sum / n };`,
  );
  return moduleMetric({ name, options: {}, at: () => name }, folder, 'run');
}

const against = (kind: string) => metricKinds.find(({ name }) => name === kind)!.create({ against: 'expected' }, true);
const all: readonly (readonly [string, () => Metric | Promise<Metric>])[] = [
  // Detections are no rows of scores: test/metrics/detection.test.ts does the same for them.
  ...metricKinds
    .filter(({ name }) => name !== 'detection' && name !== 'mean_ap')
    .map((kind) => [kind.name, () => kind.create({}, true)] as const),
  ...['sqnr', 'psnr', 'cosine', 'mse'].map((name) => [`${name} of expected outputs`, () => against(name)] as const),
  ['a module, better when lower', () => own(1)],
  ['a module, better when higher', () => own(-1)],
];

it.each(all)('every gate on %s holds for the float model and fails for one of zeros', async (_, open) => {
  const metric = await open();
  const of = async (model: Model): Promise<MetricResult> => (await measure(model, float, data(), [metric]))[0]!;
  const [whole, ruined] = [await of(float), await of(zero)];
  const { name, value, higherIsBetter } = whole;
  const asked: Limit[] = [
    { metric: name, maxDrop: 0.001, relative: false },
    { metric: name, maxDrop: 0.01, relative: true },
    { metric: name, min: Number.isFinite(value) ? value - 0.001 : 25 },
    { metric: name, max: value + 0.001 },
  ];
  const limits = asked.filter((limit) => limitProblem(limit, whole) === undefined);
  expect(limits.length).toBeGreaterThan(0);
  expect(limits.some((limit) => (higherIsBetter ? 'min' : 'max') in limit)).toBe(true);
  for (const limit of limits) {
    expect([limit, judge(limit, [whole]).passed, judge(limit, [ruined]).passed]).toEqual([limit, true, false]);
  }
  // What is known before anything is measured is what comes out.
  if (metric.perfect !== undefined) expect(whole).toMatchObject({ value: metric.perfect, reference: metric.perfect });
});
