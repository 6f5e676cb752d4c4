import { readCheckpoint, type Checkpoint } from '../../src/run/checkpoint.ts';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compress, type CompressOptions } from '../../src/api/compress.ts';
import { edit } from '../../src/graph/edit.ts';
import { writeModel } from '../../src/graph/file.ts';
import type { RunReport } from '../../src/run/report.ts';
import { readFrozen, writeFrozen } from '../../src/run/frozen.ts';
import { noise, weight } from '../helpers/models.ts';
import { containing, dense } from './support.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-resume-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const samples = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => {
    const data = noise(from + i, 64);
    // What can be learnt: where the largest of the first eight values stands.
    return { feeds: { x: { dims: [1, 64], data } }, label: data.indexOf(Math.max(...data.slice(0, 8))) };
  });
const data = { calibration: samples(0, 8), validation: samples(100, 32), training: samples(200, 48) };

/** Momentum, a ramp of masks and a running average of the weights: what an epoch leaves to the next. A quantizer comes behind. */
const schedule = `version: 1
training: { epochs: 3, optimizer: { name: sgd, lr: 0.05, momentum: 0.9 }, batch_size: 16, ema: 0.9 }
pruners:
  ramp: { class: AutomatedGradualPruner, initial_sparsity: 0.1, final_sparsity: 0.6, weights: ['*'] }
lr_schedulers:
  plateau: { class: ReduceLROnPlateau, patience: 0, factor: 0.5 }
quantizers:
  half: { class: Float16Quantizer }
policies:
  - { pruner: { instance_name: ramp }, starting_epoch: 0, ending_epoch: 3, frequency: 1 }
  - { lr_scheduler: { instance_name: plateau }, starting_epoch: 0, ending_epoch: 3, frequency: 1 }
  - { quantizer: { instance_name: half }, epochs: [3] }
`;

type Given = Partial<Omit<CompressOptions, 'output'>>;
const run = (name: string, given: Given = {}) =>
  compress({ model: dense, schedule, data, latency: false, threads: 1, output: join(folder, name), ...given });

/** The run that is cut off in the stage after this one: by Ctrl-C, or by an error. */
async function cutOff(name: string, stages: number, how: 'aborted' | 'failed', given: Given = {}): Promise<void> {
  const controller = new AbortController();
  let seen = 0;
  const asked = run(name, {
    ...given,
    signal: controller.signal,
    onProgress: (event) => {
      if (event.kind === 'stage') seen++;
      if (seen < stages || event.kind !== 'progress') return;
      if (how === 'failed') throw new Error('the power failed');
      controller.abort(new Error('enough'));
    },
  });
  await expect(asked).rejects.toThrow(how === 'failed' ? 'the power failed' : 'enough');
}

/** All but what a clock says. */
const timeless = ({ stages, result, baseline, layers }: RunReport): unknown => ({
  stages: stages.map(({ seconds: _, ...stage }) => stage),
  result: { ...result, path: undefined },
  baseline,
  layers,
});
const reportOf = async (name: string): Promise<RunReport> =>
  JSON.parse(await readFile(join(folder, name, 'report.json'), 'utf8')) as RunReport;
const modelOf = (name: string): Promise<Buffer> => readFile(join(folder, name, 'model.onnx'));

describe('a run that goes on where it was cut off', () => {
  it.each([
    ['Ctrl-C in the second epoch', [1], 'aborted'],
    ['an error in the third epoch', [2], 'failed'],
    ['errors in two epochs and in what comes behind them', [1, 2, 3], 'failed'],
  ] as const)('comes to the same bits and figures after %s', async (_, cuts, how) => {
    await run('whole');
    let done = 0;
    for (const cut of cuts) {
      await cutOff('cut', cut - done, how, { resume: done > 0 });
      done = cut;
    }
    const left = await readdir(join(folder, 'cut'));
    expect(left).toContain('checkpoint.bin');
    expect(left.filter((name) => name.endsWith('.part'))).toEqual([]);
    const { report } = await run('cut', { resume: true });
    expect((await modelOf('cut')).equals(await modelOf('whole'))).toBe(true);
    expect(timeless(await reportOf('cut'))).toEqual(timeless(await reportOf('whole')));
    expect(report.stages.map(({ trained }) => trained?.epoch)).toEqual([0, 1, 2, undefined]);
    expect(report.notes[0]).toBe(`resumed behind stage ${done} of 4`);
    // Whoever is done has nothing to go on with.
    expect(await readdir(join(folder, 'cut'))).not.toContain('checkpoint.bin');
    await expect(run('cut', { resume: true })).rejects.toMatchObject({ code: 'usage', message: containing('nothing to resume') }); // prettier-ignore
  });

  it('keeps the last model that held its gate, where the epochs behind it did not yet', async () => {
    const gate = 'gate: { metric: sqnr, min: 100, on_fail: undo }\n';
    const given = { schedule: schedule.replace('pruners:', `${gate}pruners:`), metrics: ['sqnr'] };
    await run('whole', given);
    await cutOff('cut', 2, 'failed', given);
    await run('cut', { ...given, resume: true });
    expect((await modelOf('cut')).equals(await modelOf('whole'))).toBe(true);
    expect((await reportOf('cut')).stages.map(({ verdict }) => verdict)).toEqual(['kept', 'kept', 'undone', 'undone']);
    expect(timeless(await reportOf('cut'))).toEqual(timeless(await reportOf('whole')));
  });

  it('refuses in one line what is not the run that was cut off', async () => {
    const refused = (given: Given, message: string) =>
      expect(run('cut', { ...given, resume: true })).rejects.toMatchObject({ code: 'usage', message: containing(message), hint: containing('--force') }); // prettier-ignore
    await cutOff('cut', 1, 'aborted');
    await refused({ schedule: schedule.replace('lr: 0.05', 'lr: 0.04') }, 'had another schedule');
    await refused({ model: edit(dense, (draft) => draft.replace('w1', weight('w1', [64, 32], 9))) }, 'another model');
    await refused({ threads: 2 }, 'another number of threads (1 then, 2 now)');
    const { facts } = (await readFrozen(join(folder, 'cut', 'checkpoint.bin'))) as Checkpoint;
    expect(facts['device to train on']).toBe('cpu');
    const elsewhere = readCheckpoint(join(folder, 'cut'), { ...facts, 'device to train on': 'webgpu' });
    await expect(elsewhere).rejects.toMatchObject({ message: containing('had another device to train on (cpu then, webgpu now)') }); // prettier-ignore
    await refused({ data: { ...data, training: samples(200, 32) } }, 'another set of training data');
    // What cannot be told from afar shows in the figures of the float model.
    await refused({ data: { ...data, validation: samples(900, 32) } }, 'other figures');
    await expect(run('cut')).rejects.toMatchObject({ hint: containing('--resume') });
    const path = join(folder, 'cut', 'checkpoint.bin');
    const bytes = await readFile(path);
    bytes[bytes.length - 5]! ^= 1;
    await writeFile(path, bytes);
    await refused({}, 'its checksum is wrong');
    await writeFile(path, bytes.subarray(0, bytes.length - 9));
    await refused({}, 'it is cut off');
    await writeFile(
      path,
      'something else, and long enough to hold a line as a checkpoint begins with, of more than a hundred bytes',
    );
    await refused({}, 'it is of another form');
    await expect(run('new', { resume: true })).rejects.toMatchObject({ message: containing('nothing to resume') });
  });

  it('refuses another teacher under the same name', async () => {
    const path = join(folder, 'teacher.onnx');
    await writeModel(dense, path);
    const given = { schedule: schedule.replace('ema: 0.9', `ema: 0.9, distillation: { teacher: ${JSON.stringify(path)} }`) }; // prettier-ignore
    await cutOff('cut', 1, 'aborted', given);
    await writeModel(
      edit(dense, (draft) => draft.replace('w1', weight('w1', [64, 32], 9))),
      path,
    );
    await expect(run('cut', { ...given, resume: true })).rejects.toMatchObject({ message: containing('had another teacher') }); // prettier-ignore
  });

  it('leaves one checkpoint, of a few times the bytes of the model', async () => {
    await cutOff('cut', 1, 'aborted');
    const first = (await stat(join(folder, 'cut', 'checkpoint.bin'))).size;
    await cutOff('cut', 1, 'aborted', { resume: true });
    const second = (await stat(join(folder, 'cut', 'checkpoint.bin'))).size;
    expect(second).toBeLessThan(first + 4096);
    expect((await readdir(join(folder, 'cut'))).filter((name) => name.startsWith('checkpoint'))).toHaveLength(1);
  });
});

describe('a frozen value', () => {
  it('comes back as it was, to the last bit', async () => {
    const path = join(folder, 'value');
    const shared = Float32Array.of(1, NaN, -0, Infinity);
    const value = {
      numbers: [1, -0, NaN, Infinity, 12n, null, undefined, 'text', true],
      nested: new Map<unknown, unknown>([['a', new Map([[1, shared]])], ['b', { $: 'number', is: 'mine' }]]), // prettier-ignore
      arrays: [shared.subarray(1, 3), BigInt64Array.of(5n), new Uint8Array(0), Float64Array.of(Math.PI)],
      set: new Set(['x']),
    };
    await writeFrozen(path, value);
    expect(await readFrozen(path)).toEqual(value);
    expect(Object.is(((await readFrozen(path)) as typeof value).numbers[1], -0)).toBe(true);
    await expect(writeFrozen(path, { f: () => 1 })).rejects.toThrow('a function cannot be kept');
    expect(await readFrozen(path)).toEqual(value);
    expect(await readFrozen(join(folder, 'none'))).toBeUndefined();
  });
});
