import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { callOf } from '../../src/cli/call.ts';
import { quantize, type QuantizeOptions } from '../../src/cli/commands/quantize.ts';
import { main } from '../../src/cli/main.ts';
import type { RunOptions } from '../../src/run/run.ts';
import type { RunReport } from '../../src/run/report.ts';
import { QtoolError } from '../../src/util/error.ts';
import { report } from '../report/sample.ts';
import { fakeIo, type FakeIo } from './fake_io.ts';
import { furnish, openWorkshop, writeImages, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

const options = (changed: Partial<QuantizeOptions> = {}): QuantizeOptions => ({
  schedule: shop.path('schedule.yaml'),
  data: shop.path('data.yaml'),
  output: shop.path('out'),
  measure: true,
  latency: true,
  ...changed,
});

/** `qtool quantize` with a runner that only remembers what it was asked. */
async function withFake(
  changed: Partial<QuantizeOptions & { json: boolean }> = {},
  work: (asked: RunOptions, io: FakeIo) => Promise<RunReport> = async () => report,
) {
  const io = fakeIo();
  const seen: RunOptions[] = [];
  const code = await quantize(
    shop.path('model.onnx'),
    options(changed),
    await callOf(io, { json: changed.json === true }),
    async (asked) => {
      seen.push(asked);
      return work(asked, io);
    },
  );
  return { io, code, asked: seen[0]! };
}

const ending = (status: RunReport['result']['status']): RunReport => ({
  ...report,
  result: { ...report.result, status },
});

describe('qtool quantize', () => {
  it.each<[RunReport['result']['status'], number]>([
    ['finished', 0],
    ['stopped', 1],
    ['cancelled', 130],
  ])('ends a run that is %s with %i', async (status, code) => {
    expect((await withFake({}, async () => ending(status))).code).toBe(code);
  });

  it('hands on what it was asked for', async () => {
    const { asked } = await withFake({
      force: true,
      measure: false,
      latency: false,
      batchSize: 5,
      threads: 1,
      limit: 7,
      samples: 3,
    });
    expect(asked).toMatchObject({ force: true, measure: false, latency: false, batchSize: 5, threads: 1 });
    expect(asked.data.validation.info.samples).toBe(7);
    expect(asked.data.calibration.info.samples).toBe(3);
    expect(asked.metrics.map((metric) => metric.name)).toEqual(['top1']);
    expect(asked.schedule.stages.map((stage) => stage.instance)).toEqual(['light']);
    expect(asked.scheduleText).toMatch(/^version: 1\n/);
    expect(asked.outDir).toBe(shop.path('out'));
  });

  it('holds the schedule within the target, and writes down which', async () => {
    await shop.write('int8.yaml', 'version: 1\nquantizers:\n  q: { class: PostTrainLinearQuantizer }\n');
    const { asked } = await withFake({ schedule: shop.path('int8.yaml'), target: 'node-x64-avx2' });
    expect(asked.schedule.stages[0]?.options).toMatchObject({ bits_weights: 7 });
    expect(asked.scheduleText).toMatch(/^# made with --target node-x64-avx2\nversion: 1\n/);
    expect(asked.schedule.notes.join()).toContain('bits_weights 8 → 7');
    await expect(withFake({ target: 'node-x64-avx3' })).rejects.toMatchObject({
      hint: 'give a YAML file, or one of: auto, node-arm64, node-x64-avx2, node-x64-vnni, web-wasm, webgpu',
    });
  });

  it('knows the command of the schedule that the diagnosis mends: all that shapes the result, in another folder', async () => {
    const { asked } = await withFake({ preprocess: '0..1', samples: 3, force: true, latency: false, json: true });
    const [out, model] = [shop.path('out'), shop.path('model.onnx')];
    const line = asked.mendedCommand ?? '';
    for (const part of [
      `qtool quantize ${model} `,
      `--schedule ${out}/mended.yaml`,
      `--output ${out}-mended`,
      '--preprocess 0..1',
      '--samples 3',
      `--data ${shop.path('data.yaml')}`,
    ])
      // prettier-ignore
      expect(line).toContain(part);
    expect(line).not.toMatch(/--force|--json/);
    expect((await withFake({ target: 'node-x64-vnni' })).asked.mendedCommand).toContain('--target node-x64-vnni');
  });

  it('takes the batch size of the data config, else 32', async () => {
    expect((await withFake()).asked.batchSize).toBe(32);
    await shop.write('batch.yaml', 'data: { kind: image-folder, path: images }\npreprocess: 0..1\nbatch_size: 6\n');
    expect((await withFake({ data: shop.path('batch.yaml') })).asked.batchSize).toBe(6);
  });

  it('prints the report on stdout and progress on stderr', async () => {
    const { io } = await withFake({}, async ({ log }) => {
      log({ kind: 'phase', text: 'float baseline' });
      return report;
    });
    expect(io.err()).toBe('float baseline\n');
    expect(io.out()).toContain('446,301 bytes, 25.9 % of float');
    expect(io.out()).not.toContain('float baseline');
  });

  it('prints one JSON object with --json', async () => {
    const { io } = await withFake({ json: true });
    expect(JSON.parse(io.out())).toMatchObject({ format: 1, result: { status: 'finished' } });
  });

  it('renders the HTML for the run folder', async () => {
    const { asked } = await withFake();
    expect(asked.render?.(report).html).toMatch(/^<!doctype html>/);
  });

  it('aborts the run at Ctrl-C and reports what it reached', async () => {
    const { code, io } = await withFake({}, async ({ signal }, terminal) => {
      terminal.interrupt();
      return ending(signal.aborted ? 'cancelled' : 'finished');
    });
    expect(code).toBe(130);
    expect(io.out()).toContain('cancelled; the best model so far');
  });

  it('with --dry-run prints the plan, runs nothing and writes nothing', async () => {
    const { io, code, asked } = await withFake({ dryRun: true, output: shop.path('dry') });
    expect(asked).toBeUndefined();
    expect(code).toBe(0);
    expect(io.out()).toMatch(/1 +0 +light +prune\/level +top1 may drop 1, else undo/);
    expect(existsSync(shop.path('dry'))).toBe(false);
  });

  it('refuses a gate on a metric that is not measured', async () => {
    // Without labels no accuracy can be.
    await expect(withFake({ data: 'random' })).rejects.toThrow(/top1 cannot be measured on this data; what can: /);
  });

  it('lets a bug through with its stack and exit 70', async () => {
    await expect(
      withFake({}, () => {
        throw new TypeError('cannot read x of undefined');
      }),
    ).rejects.toThrow(TypeError);
  });
});

describe('qtool quantize, for real', () => {
  it('compresses, measures, and leaves the five files', async () => {
    const io = fakeIo();
    const out = shop.path('real');
    const args = ['--schedule', shop.path('schedule.yaml'), '--data', shop.path('data.yaml'), '-o', out];
    const code = await main(['quantize', shop.path('model.onnx'), ...args, '--json', '--no-latency'], io);
    expect(io.err()).not.toMatch(/bug/);
    expect(code).toBe(0);
    for (const file of ['model.onnx', 'report.json', 'report.html', 'schedule.yaml', 'qtool.log'])
      expect([file, existsSync(`${out}/${file}`)]).toEqual([file, true]);
    const printed = JSON.parse(io.out()) as RunReport;
    expect(printed.stages.map((stage) => stage.verdict)).toEqual(['kept']);
    // The classifier is right on all of its images, before and after.
    expect(printed.baseline.metrics[0]).toMatchObject({ name: 'top1', value: 100 });
    expect(printed.result.measurement.zeros).toBeGreaterThan(0);
  });
});

describe('qtool quantize, interrupted or failing', () => {
  /** Runs for real; `at` is the text on stderr that Ctrl-C follows. */
  async function run(changed: { data?: string; schedule?: string; at?: RegExp }) {
    const terminal = fakeIo();
    const io = {
      ...terminal,
      stderr: (text: string) => {
        terminal.stderr(text);
        if (changed.at?.test(text)) terminal.interrupt();
      },
    };
    const out = shop.path(`broken${runs++}`);
    const [schedule, data] = [shop.path(changed.schedule ?? 'two.yaml'), shop.path(changed.data ?? 'data.yaml')];
    const args = [
      'quantize',
      shop.path('model.onnx'),
      '--schedule',
      schedule,
      '--data',
      data,
      '-o',
      out,
      '--no-latency',
    ];
    const code = await main(args, io);
    return { code, out, text: terminal.out(), err: terminal.err() };
  }
  let runs = 0;

  beforeAll(async () => {
    const two = `version: 1
pruners:
  first: { class: SparsityLevelParameterPruner, levels: { conv: 0.1 } }
quantizers:
  last: { class: PostTrainLinearQuantizer }
policies:
  - pruner: { instance_name: first }
    epochs: [0]
  - quantizer: { instance_name: last }
    epochs: [1]
`;
    await shop.write('two.yaml', two);
    await writeImages(shop, 'spoilt', 4);
    await shop.write('spoilt/b_green/2.png', Buffer.from('89504e470d0a1a0a0000', 'hex'));
    const sets = (calibration: string) => `calibration: { kind: image-folder, path: ${calibration} }
validation: { kind: image-folder, path: images }
transforms: { scale: 1/255 }
`;
    await shop.write('calibration.yaml', sets('spoilt'));
    await shop.write('only_quantize.yaml', two.replace(/pruners:\n.*\n/, '').replace(/ {2}- pruner.*\n.*\n/, ''));
  });

  it('keeps the best model so far when it is stopped after a stage', async () => {
    const { code, out, text } = await run({ at: /1 first: kept/ });
    expect(code).toBe(130);
    expect(text).toContain('cancelled; the best model so far');
    const report = JSON.parse(await readFile(`${out}/report.json`, 'utf8')) as RunReport;
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [1] });
    expect(existsSync(`${out}/model.onnx`)).toBe(true);
  });

  it('leaves no model when it is stopped before any stage: the float model is no result', async () => {
    const { code, out, err } = await run({ at: /float baseline/ });
    expect(code).toBe(130);
    expect(err).not.toMatch(/bug/);
    const report = JSON.parse(await readFile(`${out}/report.json`, 'utf8')) as RunReport;
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [], measurement: { metrics: [] } });
    expect((await readdir(out)).filter((file) => file.includes('.onnx'))).toEqual([]);
  });

  it('leaves nothing behind when the first stage meets bad data', async () => {
    const { code, out, err } = await run({ data: 'calibration.yaml', schedule: 'only_quantize.yaml' });
    expect(code).toBe(2);
    expect(err).toMatch(/b_green\/2\.png: /);
    expect(existsSync(out)).toBe(false);
  });

  it('gives what the stages before made another name when a later one meets bad data', async () => {
    const { code, out, err } = await run({ data: 'calibration.yaml' });
    expect(code).toBe(2);
    const files = await readdir(out);
    expect(files.filter((file) => file.includes('.onnx'))).toEqual(['model.partial.onnx']);
    expect(err).toMatch(/note: failed: .*What stage 1 made is kept as .*model\.partial\.onnx; it is no result/);
    const report = JSON.parse(await readFile(`${out}/report.json`, 'utf8')) as RunReport;
    expect(report.result).toMatchObject({ status: 'failed', stages: [1], path: `${out}/model.partial.onnx` });
    expect(report.warnings[0]).toContain('it is no result');
  });
});

describe('errors of the command line', () => {
  it('say with --json on stdout what is wrong, as well as on stderr', async () => {
    const io = fakeIo();
    const code = await main(['eval', shop.path('none.onnx'), '--data', 'random', '--json'], io);
    expect(code).toBe(2);
    expect(JSON.parse(io.out())).toMatchObject({ error: { code: 'model', at: shop.path('none.onnx') } });
    expect(io.err()).toContain('none.onnx');
  });

  it('are QtoolErrors of their own code in process', async () => {
    await expect(withFake({ schedule: 'no-such-schedule' })).rejects.toMatchObject({ code: 'usage' });
    await expect(withFake({ data: shop.path('nowhere') })).rejects.toBeInstanceOf(QtoolError);
  });
});
