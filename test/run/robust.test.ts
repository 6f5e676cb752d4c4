import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset } from '../../src/data/types.ts';
import { makeNode } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import type { Model } from '../../src/graph/model.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { passes } from '../../src/passes/index.ts';
import type { Pass } from '../../src/passes/pass.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { floats } from '../helpers/context.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-robust-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const set: Dataset = {
  info: { kind: 'random', source: 'noise', samples: 8, labelled: false, notes: [] },
  async *samples(limit = 8) {
    for (let i = 0; i < Math.min(8, limit); i++)
      yield { id: String(i), feeds: { x: floats(noise(i, 192), [1, 3, 8, 8]) } };
  },
};

/** Runs a schedule of weight-only stages whose passes are what `change` makes of them. */
async function ran(
  gate: string,
  change: (pass: Pass, index: number) => Pass,
  model = smallConvNet(),
  cls = 'WeightOnlyQuantizer',
) {
  const scheduleText = `version: 1
quantizers: { q: { class: ${cls} }, r: { class: ${cls} } }
policies:
  - { quantizer: { instance_name: q }, epochs: [0], gate: ${gate} }
  - { quantizer: { instance_name: r }, epochs: [1] }
`;
  const bound = bindSchedule(parseSchedule(scheduleText, 's.yaml', { passes }), { layers: layerFacts(model) });
  const stages = bound.stages.map((stage) => ({ ...stage, pass: change(stage.pass, stage.index) }));
  const data = { calibration: set, validation: set, notes: [], metrics: [], folder, batchSize: 4 };
  return run({
    ...{ model, data, scheduleText, schedule: { ...bound, stages }, outDir: join(folder, 'out'), metrics: [sqnr()] },
    ...{ force: true, measure: true, latency: false, batchSize: 4, signal: new AbortController().signal },
    log: () => undefined,
  });
}

/** The model with its output reshaped to a number of rows that no batch has: it loads, and fails when run. */
const broken = (model: Model): Model =>
  edit(model, (draft) => {
    const last = draft.nodes().find((node) => node.output.includes('y'))!;
    const [raw, shape] = [
      draft.freshName('raw'),
      draft.add('shape', makeTensor('', 'int64', [2], BigInt64Array.of(7n, 5n))),
    ];
    draft.update(last, { output: [raw] });
    draft.addNode(makeNode('Reshape', [raw, shape], ['y']));
  });
const nothing = { changed: [], skipped: [] };

describe('a result that loads but does not run', () => {
  const first =
    (result: (model: Model) => Model) =>
    (pass: Pass, index: number): Pass =>
      index === 1 ? { ...pass, apply: async (model) => ({ ...nothing, model: result(model) }) } : pass;

  it.each(['undo', 'retry', 'warn'])('counts as failed: %s', async (onFail) => {
    const report = await ran(`{ metric: sqnr, min: 10, on_fail: ${onFail} }`, first(broken));
    const [stage] = report.stages;
    expect(stage?.verdict).toBe('undone');
    expect(stage?.why).toMatch(/the result does not run: onnxruntime failed while running: .*Reshape/i);
    expect(stage?.attempts[0]).toMatchObject({ passed: false, measurement: undefined });
    expect(report.result).toMatchObject({ status: 'finished', stages: [2] });
  });

  it('ends the run without a model where the gate says stop', async () => {
    const report = await ran('{ metric: sqnr, min: 10, on_fail: stop }', first(broken));
    expect(report.result).toMatchObject({ status: 'stopped', stages: [], path: undefined });
    expect((await readdir(join(folder, 'out'))).filter((file) => file.includes('.onnx'))).toEqual([]);
  });
});

it('a bug in a later stage leaves nothing that looks like a result', async () => {
  const fails = ran('none', (pass, index) =>
    index === 2 ? { ...pass, apply: () => Promise.reject(new Error('an inner fault')) } : pass,
  );
  await expect(fails).rejects.toThrow('an inner fault');
  const files = await readdir(join(folder, 'out'));
  expect(files.sort()).toEqual(['model.partial.onnx', 'qtool.log', 'report.json', 'schedule.yaml']);
});

it('a layer that was left in float and runs in integer fails its stage by name', async () => {
  // Says of a layer that it quantized that it was left alone: what runs contradicts it.
  const lying = (pass: Pass, index: number): Pass =>
    index === 2
      ? pass
      : {
          ...pass,
          async apply(...given) {
            const result = await pass.apply(...given);
            return {
              ...result,
              skipped: [...result.skipped, { layer: 'conv2', text: 'left in float by the schedule' }],
            };
          },
        };
  const report = await ran('none', lying, smallConvNet(), 'PostTrainLinearQuantizer');
  expect(report.stages[0]).toMatchObject({
    verdict: 'undone',
    why: 'conv2 was left in float (left in float by the schedule), but onnxruntime runs it as QLinearConv',
  });
  // The second stage does as it says.
  expect(report.stages[1]?.verdict).toBe('kept');
});

it('says first that nothing was kept', async () => {
  const report = await ran('none', (pass) => ({
    ...pass,
    apply: async (model) => ({ ...nothing, model: broken(model) }),
  }));
  expect(report.warnings).toEqual([expect.stringMatching(/^the quantizer \(2 r\) was undone, so the result is the float model: the result does not run/)]); // prettier-ignore
});

it('says first that the file grew', async () => {
  const padded = (model: Model): Model =>
    edit(model, (draft) => {
      const zeros = draft.add('zeros', makeTensor('', 'float32', [8, 3, 3, 3], new Float32Array(216)));
      const first = draft.nodes().find((node) => node.name === 'conv1')!;
      const sum = draft.freshName('sum');
      draft.addNode(makeNode('Add', [first.input[1]!, zeros], [sum]));
      draft.update(first, { input: [first.input[0]!, sum, ...first.input.slice(2)] });
    });
  const report = await ran('none', (pass) => ({
    ...pass,
    apply: async (model) => ({ ...nothing, model: padded(model) }),
  }));
  expect(report.warnings).toEqual([
    expect.stringMatching(/^the file grew: it has 1\d\d\.\d % of the float model's bytes$/),
  ]);
});

it('both levels stand in the report', async () => {
  const once = (pass: Pass, index: number): Pass =>
    index === 1 ? pass : { ...pass, apply: (model) => Promise.resolve({ ...nothing, model }) };
  const { levels } = (await ran('none', once, smallConvNet(), 'WeightOnlyQuantizer, bits_weights: 4')).result;
  expect(levels?.samples).toBe(8);
  expect(levels!.all).toBeGreaterThan(10);
  // Weights in 4 bits, float arithmetic: the same model at both levels.
  expect(Math.abs(levels!.disabled - levels!.all)).toBeLessThan(1);
});

it('16-bit weights have no milder setting to retry, and say so', async () => {
  const cls = 'PostTrainLinearQuantizer, bits_weights: 16, bits_activations: 16';
  const gate = '{ metric: sqnr, min: 999, on_fail: retry }';
  const { stages } = await ran(gate, (pass) => pass, smallConvNet({ opset: 21 }), cls);
  expect(stages[0]?.verdict).toBe('undone');
  expect(stages[0]?.why).toContain('no weaker setting passed either');
});

it('names the bits that weights use, not the type that holds them', async () => {
  const once = (pass: Pass, index: number): Pass =>
    index === 1 ? pass : { ...pass, apply: (model) => Promise.resolve({ ...nothing, model }) };
  const { layers } = await ran('none', once, smallConvNet(), 'PostTrainLinearQuantizer, bits_weights: 4');
  const conv = layers.find(({ layer }) => layer === 'conv2');
  expect(conv).toMatchObject({ weights: 'int8, 4 bits', activations: 'uint8', kernel: 'integer' });
});

it('what an allocator measures is measured once for all tries of its stage', async () => {
  const model = smallConvNet();
  const scheduleText = `version: 1
allocators: { bits: { class: SensitivityAllocator, budget: { weights: 3 }, damage: sqnr } }
policies: [ { allocator: { instance_name: bits }, epochs: [0], gate: { metric: sqnr, min: 999, on_fail: retry } } ]
`;
  const bound = bindSchedule(parseSchedule(scheduleText, 's.yaml', { passes }), { layers: layerFacts(model) });
  const calls: number[] = [];
  const stages = bound.stages.map((stage) => ({
    ...stage,
    pass: {
      ...stage.pass,
      apply: (...[m, o, ctx]: Parameters<Pass['apply']>) => {
        const at = calls.push(0) - 1;
        return stage.pass.apply(m, o, { ...ctx, measure: (one) => (calls[at]!++, ctx.measure(one)) });
      },
    },
  }));
  const data = { calibration: set, validation: set, notes: [], metrics: [], folder, batchSize: 4 };
  await run({
    ...{ model, data, scheduleText, schedule: { ...bound, stages }, outDir: join(folder, 'out'), metrics: [sqnr()] },
    ...{ force: true, measure: true, latency: false, batchSize: 4, signal: new AbortController().signal },
    log: () => undefined,
  });
  expect(calls.length).toBeGreaterThan(2);
  expect(calls[0]).toBeGreaterThan(4);
  expect(calls.slice(1).every((count) => count === 0)).toBe(true);
});
