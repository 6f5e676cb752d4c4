import { compress, evaluate, type CompressOptions } from '../../src/index.ts';
import { fakeIo } from '../cli/fake_io.ts';
import { furnish, openWorkshop, type Workshop } from '../cli/workshop.ts';
import { main } from '../../src/cli/main.ts';

let shop: Workshop;
/** Every module says here that it ran. */
const ran = globalThis as { modulesRun?: string[] };
const says = (name: string): string => `(globalThis.modulesRun ??= []).push('${name}');\n`;

beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  const any = 'parse: (v) => v, safeParse: (data) => ({ success: true, data })';
  await shop.write('pass.mjs', `${says('pass')}export default {
    options: { ${any} },
    apply: (model, options) => Promise.resolve({ model, changed: [{ layer: 'conv', text: 'by ' + options.by }], skipped: [] }),
  };`); // prettier-ignore
  await shop.write('none.mjs', 'export default { apply() {} };');
  await shop.write('metric.mjs', `${says('metric')}export default { start: () => 0, add: (n, { batch }) => n + batch.count, finish: (n) => n };`); // prettier-ignore
  await shop.write('data.mjs', `${says('data')}const one = (i) => ({ feeds: { x: { dims: [1, 3, 8, 8], data: new Float32Array(192).fill(i / 9) } }, label: i % 4 });
    export default Array.from({ length: 9 }, (_, i) => one(i));`); // prettier-ignore
  await shop.write('own.yaml', own('./pass.mjs'));
  await shop.write('metric.yaml', `data: { kind: image-folder, path: images }\ntransforms: { scale: 1/255 }\nmetric: metric.mjs\n`); // prettier-ignore
  await shop.write('module.yaml', 'data: { kind: module, path: data.mjs }\n');
});
beforeEach(() => delete ran.modulesRun);
afterAll(() => shop.remove());

const own = (path: string): string =>
  `extensions:\n  mine: { class: ${path}, by: 2 }\npolicies:\n  - extension: { instance_name: mine }\n    epochs: [0]\n`;
const options = (): CompressOptions & { output?: undefined } => ({
  model: shop.path('model.onnx'),
  schedule: shop.path('own.yaml'),
  data: shop.path('data.yaml'),
  latency: false,
});
const qtool = async (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> => {
  const io = fakeIo();
  const code = await main(args, io);
  return { code, stdout: io.out(), stderr: io.err() };
};

describe('modules that a schedule or a data config names', () => {
  it('run where they are allowed: a pass, a metric, data', async () => {
    const allowed = { ...options(), allowModules: true };
    const { report } = await compress(allowed);
    expect(report.stages[0]).toMatchObject({ pass: './pass.mjs', class: './pass.mjs', changed: [{ text: 'by 2' }] });
    const { measurement } = await evaluate({ ...allowed, data: shop.path('metric.yaml') });
    expect(measurement.metrics).toMatchObject([{ name: 'metric', value: 48 }]);
    const beside = await evaluate({ ...allowed, data: shop.path('metric.yaml'), reference: shop.path('model.onnx') });
    expect(beside.measurement.metrics).toMatchObject([{ name: 'metric', value: 48 }]);
    expect((await evaluate({ ...allowed, data: shop.path('data.mjs') })).data).toMatchObject({ samples: 9 });
    expect(new Set(ran.modulesRun)).toEqual(new Set(['pass', 'metric', 'data']));
  });

  it.each([
    [{}, 'schedule', /own\.yaml:2:18/],
    [{ schedule: 'int8', data: 'metric.yaml' }, 'data', /metric\.yaml:3:9/],
    [{ schedule: 'int8', data: 'module.yaml' }, 'data', /module\.yaml:1:/],
  ])('are refused where they are not (%#)', async (given, code, at) => {
    const data = shop.path('data' in given ? given.data : 'data.yaml');
    await expect(compress({ ...options(), ...given, data })).rejects.toMatchObject({
      code,
      at: expect.stringMatching(at) as string,
      message: expect.stringMatching(/is a module: code/) as string,
      hint: expect.stringContaining('--allow-modules') as string,
    });
    expect(ran.modulesRun).toBeUndefined();
  });

  it('are never run by check and --dry-run', async () => {
    const checked = await qtool('check', shop.path('own.yaml'), '--model', shop.path('model.onnx'));
    expect(checked).toMatchObject({ code: 0, stdout: expect.stringContaining('./pass.mjs') as string });
    const dry = ['quantize', shop.path('model.onnx'), '--schedule', shop.path('own.yaml'), '-o', shop.path('o'), '--dry-run', '--allow-modules']; // prettier-ignore
    expect(await qtool(...dry, '--data', shop.path('metric.yaml'))).toMatchObject({ code: 0 });
    const refused = await qtool(...dry, '--data', shop.path('module.yaml'));
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('a dry run runs none') as string });
    expect(ran.modulesRun).toBeUndefined();
  });

  it.each([
    ['./gone.mjs', 'the module "./gone.mjs" does not exist'],
    ['./none.mjs', 'has no "options" of a pass'],
  ])('must be there and be a pass: %s', async (path, message) => {
    const schedule = await shop.write('bad.yaml', own(path));
    await expect(compress({ ...options(), schedule, allowModules: true })).rejects.toMatchObject({
      code: 'schedule',
      message: expect.stringContaining(message) as string,
    });
  });

  it('are named where their result is none', async () => {
    await shop.write('empty.mjs', `import { z } from '${new URL('../../node_modules/zod/index.js', import.meta.url).href}';\nexport default { options: z.object({}), apply: async () => ({ model: null }) };\n`); // prettier-ignore
    const schedule = await shop.write('bad.yaml', own('./empty.mjs'));
    await expect(compress({ ...options(), schedule, allowModules: true })).rejects.toMatchObject({
      code: 'schedule',
      message: "the module's apply gave no { model, changed, skipped }",
      at: shop.path('empty.mjs'),
    });
  });
});
