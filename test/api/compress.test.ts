import { existsSync } from 'node:fs';
import { mkdtemp, readFile, readdir } from 'node:fs/promises';
import {
  compress,
  decodeModel,
  edit,
  layers,
  makeTensor,
  readModel,
  z,
  type CompressOptions,
  type Pass,
  type RunEvent,
  type SampleGiven,
} from '../../src/index.ts';
import { furnish, openWorkshop, schedule, type Workshop } from '../cli/workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

/** Images in one colour: class `i % 4` is that channel, the last one none. */
const sample = (i: number): SampleGiven => ({
  feeds: {
    x: {
      dims: [1, 3, 8, 8],
      data: Float32Array.from({ length: 192 }, (_, k) => (k >> 6 === i % 4 ? 0.8 : 0.05) + i / 1000),
    },
  },
  label: i % 4,
});
const samples = Array.from({ length: 24 }, (_, i) => sample(i));
const pruned = (gate: object): CompressOptions['schedule'] => ({
  pruners: { light: { class: 'SparsityLevelParameterPruner', levels: { '*': 0.2 } } },
  policies: [{ pruner: { instance_name: 'light' }, epochs: [0], gate }],
});
const options = (): CompressOptions & { output?: undefined } => ({
  model: shop.path('model.onnx'),
  schedule: schedule(),
  data: samples,
  latency: false,
});

describe('what JavaScript does not check', () => {
  it.each<[string, object | undefined]>([
    ['an object of options is expected', undefined],
    ['"data" is missing', { model: 'a.onnx', schedule: 'int8' }],
    ['unknown option "limt" (did you mean "limit"?)', { model: 'a.onnx', schedule: 'int8', data: 'random', limt: 3 }],
    ['"limit" must be a whole number of at least 1', { model: 'a.onnx', schedule: 'int8', data: 'random', limit: -1 }],
  ])('is told: %s', async (message, given) => {
    await expect(compress(given as never)).rejects.toMatchObject({ code: 'usage', message: `compress: ${message}` });
  });
});

describe('compress', () => {
  it('gives the model as bytes and leaves nothing on disk', async () => {
    const temporary = process.env['TMPDIR'];
    process.env['TMPDIR'] = await mkdtemp(shop.path('tmp-'));
    try {
      const events: RunEvent[] = [];
      const { model, report } = await compress({ ...options(), onProgress: (event) => events.push(event) });
      expect(await readdir(process.env['TMPDIR'])).toEqual([]);
      expect(report.result).toMatchObject({ status: 'finished', stages: [1], path: undefined });
      expect(report.baseline.metrics[0]).toMatchObject({ name: 'top1', value: 100 });
      const zeros = (bytes: Uint8Array): number =>
        layers(decodeModel(bytes)).layers.reduce((sum, { weight }) => sum + weight.rows().filter((w) => w === 0).length, 0); // prettier-ignore
      expect(zeros(model)).toBeGreaterThan(zeros(await readFile(shop.path('model.onnx'))));
      expect(new Set(events.map(({ kind }) => kind))).toEqual(new Set(['phase', 'progress', 'baseline', 'stage']));
    } finally {
      if (temporary === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = temporary;
    }
  });

  it('takes a model and a schedule in any form to the same bytes', async () => {
    const path = shop.path('model.onnx');
    const { model } = await compress(options());
    const forms: Partial<typeof options>[] = [
      { model: await readFile(path) },
      { model: await readModel(path) },
      { schedule: shop.path('schedule.yaml') },
      { schedule: pruned({ metric: 'top1', max_drop: 1, on_fail: 'undo' }) },
    ] as Partial<typeof options>[];
    for (const form of forms) expect((await compress({ ...options(), ...form })).model).toEqual(model);
  });

  it('takes samples in any form to the same report', async () => {
    const { report } = await compress(options());
    const held = async function* (): AsyncGenerator<SampleGiven> {
      yield* samples;
    };
    for (const data of [held, held(), new Set(samples), () => Promise.resolve(samples)]) {
      const other = await compress({ ...options(), data });
      expect(other.report.data).toEqual(report.data);
      expect(other.report.result.measurement).toEqual(report.result.measurement);
    }
    const apart = await compress({ ...options(), data: { calibration: samples.slice(8), validation: samples.slice(0, 8) } }); // prettier-ignore
    expect(apart.report.data).toMatchObject({ calibration: { samples: 16 }, validation: { samples: 8 }, notes: [] });
  });

  it('writes into a folder', async () => {
    const { path, report } = await compress({ ...options(), data: shop.path('data.yaml'), output: shop.path('out') });
    expect(path).toBe(shop.path('out', 'model.onnx'));
    expect(report.result.path).toBe(path);
    for (const name of ['model.onnx', 'report.json', 'report.html']) expect(existsSync(shop.path('out', name))).toBe(true); // prettier-ignore
  });

  it('takes a data config as an object', async () => {
    const data = { data: { kind: 'image-folder', path: shop.path('images') }, transforms: { scale: '1/255' }, metric: 'top1' }; // prettier-ignore
    const { report } = await compress({ ...options(), data });
    expect(report.data.validation.kind).toBe('image-folder');
    await expect(compress({ ...options(), data: { ...data, metrik: 'top1' } })).rejects.toMatchObject({
      code: 'data',
      message: expect.stringContaining('metrik') as string,
    });
  });

  it('measures what it is asked for, also by a metric of the caller', async () => {
    const mean = {
      name: 'mean',
      start: () => 0,
      add: (state: number, { batch }: { batch: { count: number } }) => state + batch.count,
      finish: (state: number) => state,
    };
    const { report } = await compress({ ...options(), metrics: [mean, { name: 'sqnr', output: 'scores' }] });
    // The gate asks for top1 besides.
    expect(report.baseline.metrics.map(({ name }) => name)).toEqual(['mean', 'sqnr', 'top1']);
    expect(report.baseline.metrics[0]).toMatchObject({ value: 20, drop: 0 });
  });

  it('applies a pass of the caller', async () => {
    const half: Pass<{ by: number }> = {
      ...{ name: 'half', section: 'extensions', classes: ['Halver'], summary: 'scale weights', source: 'this test' },
      options: z.strictObject({ by: z.number() }),
      apply: (model, { by }) =>
        Promise.resolve({
          model: edit(model, (draft) => {
            for (const { weight } of layers(model).layers)
              draft.replace(weight.tensor.name, makeTensor('w', 'float32', weight.dims, weight.fromRows(weight.rows().map((w) => w * by)))); // prettier-ignore
          }),
          changed: [{ layer: 'conv', text: `times ${by}` }],
          skipped: [],
        }),
    };
    const own = 'extensions:\n  h: { class: Halver, by: 0.5 }\npolicies:\n  - extension: { instance_name: h }\n    epochs: [0]\n'; // prettier-ignore
    const { model, report } = await compress({ ...options(), schedule: own, passes: [half] });
    expect(report.stages[0]).toMatchObject({ pass: 'half', changed: [{ text: 'times 0.5' }] });
    const first = layers(decodeModel(model)).layers[0]!.weight.rows();
    const before = layers(await readModel(shop.path('model.onnx'))).layers[0]!.weight.rows();
    expect(first).toEqual(before.map((w) => w * 0.5));
    await expect(compress({ ...options(), schedule: own })).rejects.toMatchObject({ code: 'schedule' });
  });

  it('rejects with the reason of the signal, before it starts and in the middle', async () => {
    const reason = new Error('enough');
    await expect(compress({ ...options(), signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const onProgress = ({ kind }: RunEvent): void => {
      if (kind === 'stage') controller.abort(reason);
    };
    await expect(compress({ ...options(), onProgress, signal: controller.signal })).rejects.toBe(reason);
  });

  it('says which gate stopped a run that made nothing', async () => {
    const gate = { metric: 'top1', min: 101, on_fail: 'stop' };
    await expect(compress({ ...options(), schedule: pruned(gate) })).rejects.toMatchObject({ code: 'gate', message: expect.stringContaining('top1') as string }); // prettier-ignore
  });

  it.each([
    [[{}], 'this is not a sample'],
    [Array(9).fill({ feeds: { y: { dims: [1], data: Float32Array.of(1) } } }), 'model input "x"'],
    [{ calibration: samples, validation: 3 }, 'data.validation is no iterable of samples'],
    [() => 3, 'the data is not an iterable of samples'],
    [[], 'has no samples'],
  ])('refuses data that is none (%#)', async (data, message) => {
    await expect(compress({ ...options(), data: data as never })).rejects.toMatchObject({
      code: 'data',
      message: expect.stringContaining(message) as string,
    });
  });
});
