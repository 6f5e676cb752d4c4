import { readFile } from 'node:fs/promises';
import type { PassesReport } from '../../src/cli/commands/passes.ts';
import { main } from '../../src/cli/main.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { passes } from '../../src/passes/index.ts';
import { earlyExit } from '../../src/passes/train/early_exit.ts';
import type { EvalReport } from '../../src/report/eval.ts';
import type { InspectReport } from '../../src/report/inspect.ts';
import { floats, testContext } from '../helpers/context.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

/** The model with a branch behind its convolution, at whose threshold no sample leaves. */
async function withExit(model: Model): Promise<Model> {
  const calibration = [{ x: floats(new Float32Array(192), [1, 3, 8, 8]) }];
  const lesson = { step: 0, passing: false, gradients: () => { throw new Error('not asked for'); } }; // prettier-ignore
  const options = earlyExit.options.parse({ exits: [{ at: 'conv', threshold: 0 }] });
  return (await earlyExit.apply(model, options, testContext({ calibration, lesson }))).model;
}

async function qtool(...args: string[]) {
  const io = fakeIo({ columns: 110 });
  const code = await main(args, io);
  return { code, out: io.out(), err: io.err(), json: <T>() => JSON.parse(io.out()) as T };
}

describe('qtool', () => {
  it('without arguments shows its help and exits 2', async () => {
    const { code, out, err } = await qtool();
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(/Usage: qtool/);
  });

  it('--help and --version exit 0 and write to stdout', async () => {
    const help = await qtool('--help');
    expect([help.code, help.err]).toEqual([0, '']);
    for (const command of ['quantize', 'eval', 'inspect', 'sensitivity', 'check', 'passes'])
      expect(help.out).toContain(`  ${command} `);
    expect((await qtool('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('takes for no option twice what is its value, of many values, or no option', async () => {
    const said = async (...argv: string[]): Promise<string> => {
      const io = fakeIo();
      await main(argv, io);
      return io.err();
    };
    expect(await said('eval', 'm.onnx', '--reference', '--reference', '--data', 'none')).not.toContain('twice');
    expect(await said('simulate', 'm.onnx', '--data', 'none', '--sweep', 'nf4', '--sweep', 'int4')).not.toContain('twice'); // prettier-ignore
    expect(await said('report', '--', '-o', '-o')).not.toContain('twice');
  });

  it.each<[string, string[], RegExp]>([
    ['an unknown command', ['quantise'], /^qtool: unknown command 'quantise' \(Did you mean quantize\?\)\n {2}hint: /],
    [
      'an unknown option',
      ['inspect', 'm.onnx', '--jsno'],
      /^qtool: unknown option '--jsno' \(Did you mean --json\?\)\n/,
    ],
    [
      'an option given twice',
      ['eval', 'm.onnx', '--data', 'a', '--limit=3', '--limit', '4'],
      /^qtool: option '--limit <n>' is given twice\n/,
    ],
    ['one of them short', ['report', 'r', '-oa', '--output', 'b'], /^qtool: option '-o, --output <file>' is given twice\n/], // prettier-ignore
    ['an option of nothing', ['report', 'out', '-o', ''], /^qtool: -o, --output <file> is empty\n {2}hint: /],
    ['an argument of nothing', ['report', 'out', ''], /^qtool: an argument is empty\n {2}hint: /],
    ['a missing argument', ['inspect'], /^qtool: missing required argument 'model'\n/],
    ['a missing option', ['eval', 'm.onnx'], /^qtool: required option '--data <config or folder>' not specified\n/],
    [
      'a number that is none',
      ['eval', 'm.onnx', '--data', 'x', '--limit', '1.5'],
      /'1\.5' is invalid\. .*whole number of at least 1/,
    ],
    ['an empty number', ['eval', 'm.onnx', '--data', 'x', '--limit', ''], /whole number/],
  ])('%s is one line and exit 2', async (_name, args, message) => {
    const { code, out, err } = await qtool(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
    expect(err.trimEnd().split('\n')).toHaveLength(2);
  });

  it('takes --allow-modules wherever it takes data, and runs them there', async () => {
    const { commands } = buildProgram(fakeIo(), '0', () => undefined);
    const has = (flag: string) => commands.filter(({ options }) => options.some(({ long }) => long === flag));
    expect(has('--data').length).toBeGreaterThan(8);
    expect(has('--allow-modules').map((one) => one.name())).toEqual(has('--data').map((one) => one.name()));
    await shop.write('made.mjs', "export default Array.from({ length: 9 }, () => ({ feeds: { x: { dims: [1, 3, 8, 8], data: new Float32Array(192) } } }));"); // prettier-ignore
    const data = [shop.path('model.onnx'), '--data', shop.path('made.mjs')];
    expect((await qtool('bench', ...data, '--seconds', '0')).err).toContain('Give --allow-modules');
    expect((await qtool('bench', ...data, '--seconds', '0', '--batch', '1', '--allow-modules')).code).toBe(0);
    const begun = await qtool('init', ...data, '--allow-modules', '-o', shop.path('begun'));
    const command = begun.out.trimEnd().split('\n').at(-1)!.split(' ').slice(1);
    expect(await qtool(...command, '--no-latency', '--quiet')).toMatchObject({ code: 0, err: '' });
  });

  it.each([
    ['--scale', '0'],
    ['--scale', 'Infinity'],
    ['--scale', '0/255'],
    ['--scale', 'NaN'],
    ['--std', '1,0,1'],
    ['--std', 'NaN'],
    ['--mean', 'Infinity'],
    ['--exit-threshold', '0.4,'],
    ['--exit-threshold', '-1'],
    ['--exit-threshold', 'half'],
  ])('refuses %s %s', async (flag, value) => {
    const { code, err } = await qtool('eval', 'm.onnx', '--data', 'x', flag, value);
    expect([code, err]).toEqual([2, expect.stringMatching(/is invalid\. It must be/)]);
  });

  it.each(['quantize', 'sensitivity', 'simulate', 'init', 'pack'])(
    '%s finds a folder that cannot be before any work',
    async (name) => {
      const model = shop.path('model.onnx');
      const data = ['--data', shop.path('data.yaml')];
      const own: Record<string, string[]> = {
        quantize: ['--schedule', 'int8', ...data],
        sensitivity: data,
        simulate: [...data, '--weights', 'nf4'],
      };
      const inside = shop.path('model.onnx', 'x');
      for (const output of [inside, ...(name === 'pack' ? [] : [model])]) {
        const { code, err } = await qtool(name, model, ...(own[name] ?? []), '-o', output);
        expect([code, err]).toEqual([
          2,
          `qtool: ${model}: is a file, where a folder has to be\n  hint: name a folder\n`,
        ]);
      }
    },
  );

  it('says usage errors in JSON too', async () => {
    const { out, code } = await qtool('eval', 'm.onnx', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'usage' } });
  });
});

describe('qtool quantize, stopped with nothing kept', () => {
  it.each([
    [4, false],
    [8, true],
  ])('of %i bits says one thing, and names a schedule that is nearer only where it is', async (bits, advice) => {
    const text = `quantizers: { q: { class: PostTrainLinearQuantizer, bits_weights: ${bits}, bits_activations: 8 } }\npolicies:\n  - { quantizer: { instance_name: q }, epochs: [0], gate: { metric: sqnr, min: 150, on_fail: stop } }\n`;
    const file = await shop.write(`stop${bits}.yaml`, text);
    const config = await shop.write(
      'two.yaml',
      (await readFile(shop.path('data.yaml'), 'utf8')).replace('top1', '[top1, sqnr]'),
    );
    const data = ['--data', config, '-o', shop.path(`stopped${bits}`), '--no-latency', '--quiet'];
    const { code, out } = await qtool('quantize', shop.path('model.onnx'), '--schedule', file, ...data);
    expect(code).toBe(1);
    expect(out).toMatch(/^! the quantizer \(1 q\) was refused, so no model is written: /);
    expect(out).not.toContain('is the float model');
    // A table of results would be one of the float model's.
    expect(out).not.toMatch(/^metric +float +result/m);
    expect(out.includes('int8-accurate')).toBe(advice);
    expect(out.trimEnd().split('\n').at(-1)).toBe('stopped; no stage was kept, and no model is written');
  });
});

describe('qtool inspect', () => {
  it('counts what the classifier has', async () => {
    const { code, json } = await qtool('inspect', shop.path('model.onnx'), '--data', shop.path('data.yaml'), '--json');
    expect(code).toBe(0);
    const report = json<InspectReport>();
    expect(report.inputs).toEqual([{ name: 'x', type: 'float32', dims: ['N', 3, 8, 8] }]);
    expect(report.outputs[0]?.dims).toEqual(['N', 4]);
    // Conv: 4·3·3·3 weights + 4; 8·8 places · 4 · 27. Gemm: 4·4 weights + 4; 16 products.
    expect(report.layers.map(({ layer, params, macs }) => [layer, params, macs])).toEqual([
      ['conv', 112, 6912],
      ['fc', 20, 16],
    ]);
    expect([report.params, report.macs]).toEqual([132, 6928]);
    // Rows 0 to 2 of the Conv hold one weight each of 27: 78 zeros, among 108 + 16 weights.
    expect(report.zeros).toBeCloseTo(78 / 124, 10);
    expect(report.ops).toEqual({ Conv: 1, Relu: 1, GlobalAveragePool: 1, Flatten: 1, Gemm: 1 });
  });

  it('prints a row a layer and the totals', async () => {
    const { out, err } = await qtool('inspect', shop.path('model.onnx'), '--data', shop.path('data.yaml'));
    expect(err).toBe('');
    expect(out).toMatch(/^conv +Conv +1×4×8×8 +112 +6,912 +448 B +72\.2 %$/m);
    expect(out).toContain('132 parameters, 6,928 multiply-accumulates a sample, 62.9 % of the weights are zero');
    expect(out.split('\n').filter((line) => line.length > 110)).toEqual([]);
  });
});

describe('qtool inspect on free axes', () => {
  it('takes them as 16 where no data shows them, and says so', async () => {
    const free = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 'T', 3])],
      outputs: [makeValue('y', 'float32', ['N', 'T', 2])],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'dense' })],
      initializers: [makeTensor('w', 'float32', [3, 2], new Float32Array(6).fill(1))],
    });
    await writeModel(free, shop.path('free.onnx'));
    const { json } = await qtool('inspect', shop.path('free.onnx'), '--json');
    const report = json<InspectReport>();
    expect(report.layers).toMatchObject([{ layer: 'dense', output: [1, 16, 2], macs: 16 * 3 * 2 }]);
    expect(report.notes[0]).toMatch(/free axis "T" was taken as 16/);
  });
});

describe('qtool eval', () => {
  const data = () => ['--data', shop.path('data.yaml')];

  it('measures a model alone, without comparing it to itself', async () => {
    const { code, json } = await qtool('eval', shop.path('model.onnx'), ...data(), '--json', '--no-latency');
    expect(code).toBe(0);
    const report = json<EvalReport>();
    expect(report.measurement.metrics).toHaveLength(1);
    expect(report.measurement.metrics[0]).toMatchObject({ name: 'top1', value: 100, samples: 48 });
    expect(report.measurement.metrics[0]).not.toHaveProperty('drop');
    expect(report.data).toMatchObject({ kind: 'image-folder', labelled: true, samples: 48 });
  });

  it('says which metrics need a reference, and measures them with one', async () => {
    await shop.write(
      'all.yaml',
      'data: { kind: image-folder, path: images }\npreprocess: 0..1\nmetric: [top1, sqnr]\n',
    );
    const args = ['eval', shop.path('model.onnx'), '--data', shop.path('all.yaml'), '--no-latency', '--limit', '8'];
    expect((await qtool(...args)).out).toContain('sqnr: not measured without --reference');
    const { out } = await qtool(...args, '--reference', shop.path('model.onnx'));
    expect(out).toMatch(/^sqnr dB +∞/m);
    expect(out).toMatch(/^top1 % .* 0\.00 ±/m);
  });

  it('says where samples leave a model with early exits, by its thresholds or others', async () => {
    const path = shop.path('exits.onnx');
    await writeModel(await withExit(await readModel(shop.path('model.onnx'))), path);
    const args = ['eval', path, ...data(), '--no-latency'];
    const report = (await qtool(...args, '--json')).json<EvalReport>();
    expect(report.exits).toMatchObject({ samples: 48, exits: [{ output: 'exit_0', threshold: 0 }, { samples: 48 }] });
    expect(report.measurement.metrics).toMatchObject([{ name: 'top1', value: 100 }]);
    const { out } = await qtool(...args, '--exit-threshold', '9');
    expect(out).toMatch(/^exit_0 +9 +48 +100\.00 %/m);
    const { err } = await qtool('eval', shop.path('model.onnx'), ...data(), '--exit-threshold', '0.4');
    expect(err).toContain('the model has no early exits');
    expect((await qtool(...args, '--exit-threshold', '1,2')).err).toContain('2 thresholds are given');
  });

  it('times both models where a reference is given', async () => {
    const { json } = await qtool(
      'eval',
      shop.path('model.onnx'),
      ...data(),
      '--limit',
      '4',
      '--json',
      '--reference',
      shop.path('model.onnx'),
    );
    const { latency } = json<EvalReport>().measurement;
    expect(latency.map((one) => one.batch)).toEqual([1, 32]);
    expect(latency.every((one) => one.milliseconds > 0 && one.ratio > 0)).toBe(true);
  });
});

describe('qtool check', () => {
  it('prints the plan of a good schedule', async () => {
    const { code, out } = await qtool('check', shop.path('schedule.yaml'), '--model', shop.path('model.onnx'));
    expect(code).toBe(0);
    expect(out).toMatch(/^1 +0 +light +prune\/level +top1 may drop 1, else undo +levels: \{\*: 0\.2\}$/m);
  });

  it('gives the plan as JSON', async () => {
    const { json } = await qtool('check', shop.path('schedule.yaml'), '--json');
    expect(json()).toMatchObject({
      stages: [{ index: 1, instance: 'light', pass: 'prune/level', epoch: 0, options: { levels: { '*': 0.2 } } }],
    });
  });

  it('finds what is wrong, with its place', async () => {
    await shop.write(
      'bad.yaml',
      'version: 1\npruners:\n  a: { class: SparsityLevelPruner, levels: {} }\npolicies: []\n',
    );
    const { code, err } = await qtool('check', shop.path('bad.yaml'));
    expect(code).toBe(2);
    expect(err).toMatch(/bad\.yaml:3:\d+.*SparsityLevelPruner.*did you mean "SparsityLevelParameterPruner"/s);
  });

  it('proposes the nearest name of a schedule that comes with qtool', async () => {
    const { code, err } = await qtool('check', 'no-such-schedule');
    expect(code).toBe(2);
    expect(err).toMatch(/^qtool: no-such-schedule: no such schedule.*\n {2}hint: give a YAML file/);
  });
});

describe('qtool passes', () => {
  it('lists every class with its file', async () => {
    const { code, out } = await qtool('passes');
    expect(code).toBe(0);
    expect(passes.length).toBeGreaterThan(0);
    const flat = out.replace(/\s+/g, ' ');
    for (const pass of passes) expect(flat).toContain(`(${pass.name})`);
  });

  it('shows one with its options, as text and as JSON', async () => {
    const { out } = await qtool('passes', 'SparsityLevelParameterPruner');
    expect(out).toMatch(/source code +src\/passes\/prune\/level\.ts/);
    const { json } = await qtool('passes', 'prune/level', '--json');
    const [pass] = json<PassesReport>().passes;
    expect(pass?.options.map((option) => option.name)).toContain('levels');
  });

  it('proposes the nearest class', async () => {
    const { code, err } = await qtool('passes', 'SparsityLevelParameterPrunner');
    expect(code).toBe(2);
    expect(err).toContain('did you mean "SparsityLevelParameterPruner"?');
  });

  it('describes every pass: a schema that JSON Schema can say, a summary, a source', async () => {
    const { json } = await qtool('passes', '--json');
    for (const pass of json<PassesReport>().passes) {
      expect([pass.name, pass.summary !== '', pass.source !== '']).toEqual([pass.name, true, true]);
      expect(Array.isArray(pass.options)).toBe(true);
    }
  });
});
