import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zeroShare } from '../../src/analyze/zero_share.ts';
import type { SampleGiven } from '../../src/data/given.ts';
import { memoryConfig } from '../../src/data/memory.ts';
import { openData } from '../../src/data/open.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { topK } from '../../src/metrics/topk.ts';
import { passes } from '../../src/passes/index.ts';
import type { RunReport } from '../../src/run/report.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { examples, farthest, mlp, samplesOf, train } from '../passes/train/epochs.ts';

const given = (count: number, seed: number): SampleGiven[] =>
  examples(count, 6, seed).map(({ x, label }) => ({ feeds: { x: { type: 'float32', dims: [1, 6], data: x } }, label }));

let folder: string;
let skilled: Model;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'qtool-training-'));
  const how = 'training: { epochs: 20, batch_size: 10, optimizer: { name: sgd, lr: 0.1, momentum: 0.9 } }';
  skilled = (await train(mlp(), how, samplesOf(examples(60, 6), [6]))).model;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A rate by epoch; fc1 is pruned at an epoch so that nothing is left but what training brings back. */
const schedule = ({ epochs = 4, prune = 1, level = 0.99, faster = 9, times = 2000, onFail = 'undo' }) => `
training: { epochs: ${epochs}, batch_size: 10, optimizer: { name: sgd, lr: 0.0001, momentum: 0.9 } }
gate: { metric: top1, max_drop: 5, on_fail: ${onFail} }
pruners: { p: { class: SparsityLevelParameterPruner, levels: { fc1: ${level} } } }
lr_schedulers: { r: { class: MultiStepLR, milestones: [${faster}], gamma: ${times} } }
policies:
  - { pruner: { instance_name: p, args: { mask_on_forward_only: false } }, epochs: [${prune}], gate: { metric: top1, max_drop: 5, on_fail: ${onFail} } }
  - { lr_scheduler: { instance_name: r }, starting_epoch: 0, ending_epoch: ${epochs}, frequency: 1 }
`; // prettier-ignore

interface Ran {
  readonly report: RunReport;
  readonly model: Model | undefined;
  readonly outDir: string;
}

let runs = 0;
async function ran(
  text: string,
  { signal = new AbortController().signal, progress = (_: string): void => undefined, samples = () => given(60, 1) as Iterable<SampleGiven>, measure = true } = {}, // prettier-ignore
): Promise<Ran> {
  const data = await openData(
    memoryConfig({ calibration: given(10, 3), validation: given(60, 2), training: samples }),
    modelInputs(skilled),
    { training: true },
  );
  const metrics = [topK(1)];
  const bound = bindSchedule(parseSchedule(text, 's.yaml', { passes, metrics, training: true }), { layers: layerFacts(skilled) }); // prettier-ignore
  const outDir = join(folder, String(runs++));
  const report = await run({
    ...{ model: skilled, data, schedule: bound, outDir, signal, metrics, measure },
    ...{ scheduleText: text, force: true, latency: false, batchSize: 20 },
    log: (event) => {
      if (event.kind === 'progress') progress(event.text);
    },
  });
  return { report, model: report.result.path ? await readModel(report.result.path) : undefined, outDir };
}
const verdicts = ({ report }: Ran) => report.stages.map(({ verdict }) => verdict);

describe('a run that trains', () => {
  it('trains on where an epoch misses its gate, and ends with the last one where that holds', async () => {
    const one = await ran(schedule({ faster: 2, level: 0.96 }));
    expect(verdicts(one)).toEqual(['kept', 'kept', 'kept', 'kept']);
    const [first, second, third, last] = one.report.stages;
    expect([first, second, last].map((stage) => stage!.attempts[0]!.passed)).toEqual([true, false, true]);
    expect(second!.why).toMatch(/top1 drop .* > 5.00 points; training goes on$/);
    expect(third!.measurement!.metrics[0]!.value).toBeGreaterThan(second!.measurement!.metrics[0]!.value);
    expect(one.report.result).toMatchObject({ status: 'finished', stages: [1, 2, 3, 4], gated: true });
    expect(zeroShare(one.model!)).toBeGreaterThan(0.4);
    expect(one.report.result.measurement).toEqual(last!.measurement);
    // What is told of every epoch stands in the file.
    const file = JSON.parse(await readFile(join(one.outDir, 'report.json'), 'utf8')) as RunReport;
    expect(file.stages.map(({ trained }) => [trained?.epoch, trained?.steps, trained?.samples])).toEqual([[0, 6, 60], [1, 6, 60], [2, 6, 60], [3, 6, 60]]); // prettier-ignore
    for (const { trained } of file.stages) expect([trained!.loss, trained!.accuracy, trained!.lr].every(Number.isFinite)).toBe(true); // prettier-ignore
    expect(file.stages.map(({ trained }) => trained!.lr)).toEqual([0.0001, 0.0001, 0.2, 0.2]);
    expect(file.stages[1]!.options).toMatchObject({ batch_size: 10, policies: ['p'], rate: 'r' });
  }, 30_000);

  it('goes back to the last epoch that held where the last of all does not', async () => {
    for (const onFail of ['undo', 'retry', 'stop']) {
      const one = await ran(schedule({ onFail }));
      expect(verdicts(one)).toEqual(['kept', 'kept', 'kept', onFail === 'stop' ? 'stopped' : 'undone']);
      expect(one.report.result).toMatchObject({ status: onFail === 'stop' ? 'stopped' : 'finished', stages: [1] });
      expect(zeroShare(one.model!)).toBe(0);
      expect(one.report.result.measurement).toEqual(one.report.stages[0]!.measurement);
      expect(farthest(one.model!, skilled)).toBeGreaterThan(0);
    }
    const warned = await ran(schedule({ onFail: 'warn' }));
    expect(verdicts(warned)).toEqual(['kept', 'kept', 'kept', 'warned']);
    expect(zeroShare(warned.model!)).toBeGreaterThan(0.4);
  }, 60_000);

  it('holds the last epoch to what a policy asked for before, where the file has no gate', async () => {
    const own = schedule({}).replace(/^gate.*\n/m, '');
    const one = await ran(own);
    expect(verdicts(one)).toEqual(['kept', 'kept', 'kept', 'undone']);
    expect(one.report.stages.map(({ gate }) => gate?.metric)).toEqual([undefined, 'top1', 'top1', 'top1']);
    expect(zeroShare(one.model!)).toBe(0);
  }, 30_000);

  it('ends with the float model where no epoch held', async () => {
    const one = await ran(schedule({ epochs: 2, prune: 0 }));
    expect(verdicts(one)).toEqual(['kept', 'undone']);
    expect(one.report.result).toMatchObject({ status: 'finished', stages: [] });
    expect(farthest(one.model!, skilled)).toBe(0);
  }, 30_000);

  it('lets a quantizer follow on what held', async () => {
    const text = schedule({ epochs: 2, prune: 1 }).replace('policies:', 'quantizers: { q: { class: DynamicQuantizer } }\npolicies:'); // prettier-ignore
    const one = await ran(text);
    expect(verdicts(one)).toEqual(['kept', 'undone', 'kept']);
    expect(one.report.result.stages).toEqual([1, 3]);
  }, 30_000);

  it('stops with a sentence where training diverges, and keeps the best', async () => {
    const one = await ran(
      schedule({ prune: 9, faster: 2, times: 1e9, epochs: 4 }).replace('epochs: [9]', 'epochs: [3]'),
    );
    expect(verdicts(one)).toEqual(['kept', 'kept', 'stopped']);
    expect(one.report.stages[2]!.why).toMatch(/^training diverges: .*in epoch 2; it began at a loss of .*give a smaller lr than 100000$/); // prettier-ignore
    expect(one.report.result).toMatchObject({ status: 'stopped', stages: [1, 2] });
    expect(one.report.result.measurement).toEqual(one.report.stages[1]!.measurement);
  }, 30_000);

  it('keeps the last epoch that held its gate where it is cancelled in the middle of another', async () => {
    const abort = new AbortController();
    const one = await ran(schedule({}), {
      signal: abort.signal,
      progress: (text) => {
        if (text.startsWith('epoch 3 of 4')) abort.abort();
      },
    });
    expect(verdicts(one)).toEqual(['kept', 'kept']);
    expect(one.report.result).toMatchObject({ status: 'cancelled', stages: [1] });
    expect(one.report.result.measurement).toEqual(one.report.stages[0]!.measurement);
    expect(zeroShare(one.model!)).toBe(0);
  }, 30_000);

  it('leaves the last epoch that held, and says so, where an error ends it', async () => {
    let left = Infinity;
    const samples = function* (): Generator<SampleGiven> {
      for (const sample of given(60, 1)) {
        if (left-- <= 0) throw new Error('the disk is gone');
        yield sample;
      }
    };
    const failing = (text: string, when: string) =>
      ran(text, { samples, progress: (told) => void (told.startsWith(when) && (left = Math.min(left, 0))) });
    const before = runs;
    await expect(failing(schedule({}), 'epoch 3 of 4')).rejects.toThrow(/the disk is gone/);
    const out = join(folder, String(before));
    const report = JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as RunReport;
    expect(report.result).toMatchObject({ status: 'failed', stages: [1] });
    expect(zeroShare(await readModel(report.result.path!))).toBe(0);
    // Where none held there is no model, only what --resume goes on from.
    left = Infinity;
    const next = runs;
    await expect(failing(schedule({ prune: 0 }), 'epoch 2 of 4')).rejects.toThrow(/the disk is gone/);
    expect((await readdir(join(folder, String(next)))).filter((name) => name.endsWith('.onnx'))).toEqual([]);
  }, 30_000);

  it('is refused before any work for names that the model has not, and for a teacher that does not fit', async () => {
    const wrong = async (how: string): Promise<string> => {
      let worked = false;
      const text = `training: { epochs: 1, batch_size: 10, ${how} }`;
      const error = await ran(text, { progress: () => (worked = true) }).catch((one: Error) => one);
      expect(worked).toBe(false);
      return (error as Error).message;
    };
    expect(await wrong('trainable: [fc9]')).toMatch(/^"fc9" matches no layer and no weight of the model/);
    expect(await wrong('frozen: [fc9]')).toMatch(/^"fc9" matches no layer/);
    expect(await wrong('distillation: { hints: { nope: 1 } }')).toMatch(/^the model has no value "nope"/);
    const path = join(folder, 'other.onnx');
    expect(await wrong(`distillation: { teacher: ${JSON.stringify(path)} }`)).toMatch('no such file');
    const wide = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 7])],
      outputs: [makeValue('y', 'float32', ['N', 7])],
      initializers: [],
      nodes: [makeNode('Identity', ['x'], ['y'])],
    });
    await writeModel(wide, path);
    expect(await wrong(`distillation: { teacher: ${JSON.stringify(path)} }`)).toBe('the teacher\'s input "x" is float32[N, 7], and the student\'s float32[N, 6]'); // prettier-ignore
  }, 30_000);

  it('trains without measuring, too', async () => {
    const one = await ran(schedule({}), { measure: false });
    expect(verdicts(one)).toEqual(['kept', 'kept', 'kept', 'kept']);
    expect(one.report.stages.map(({ trained }) => trained?.epoch)).toEqual([0, 1, 2, 3]);
  }, 30_000);
});
