import { main } from '../../src/cli/main.ts';
import { edit } from '../../src/graph/edit.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor, tensorData } from '../../src/graph/tensor.ts';
import type { CompareReport } from '../../src/run/compare.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  const model = await readModel(shop.path('model.onnx'));
  const old = model.graph.initializer.find(({ name }) => name === 'fc.weight')!;
  const rounded = Float32Array.from(tensorData(old) as Float32Array, (x) => Math.round(x));
  const changed = edit(model, (draft) =>
    draft.replace('fc.weight', makeTensor('fc.weight', 'float32', [4, 4], rounded)),
  );
  await writeModel(changed, shop.path('rounded.onnx'));
});
afterAll(() => shop.remove());

async function compare(second: string, ...more: string[]) {
  const io = fakeIo({ columns: 80 });
  const paths = ['model.onnx', second].map((name) => shop.path(name));
  const code = await main(['compare', ...paths, '--data', shop.path('data.yaml'), '--limit', '16', ...more], io);
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) as CompareReport };
}

describe('qtool compare', () => {
  it('names the layer where two models part, with its own error', async () => {
    const { code, json } = await compare('rounded.onnx', '--no-latency', '--json');
    expect(code).toBe(0);
    const report = json();
    const [conv, fc] = ['conv', 'fc'].map((name) => report.layers.find(({ layer }) => layer === name));
    expect(conv?.sqnr).toBe('Infinity');
    expect(report.first).toMatchObject({ layer: 'fc', op: 'Gemm' });
    // Nothing is inherited, so that both columns hold the same error.
    expect(fc?.inherited).toBe('Infinity');
    expect(fc?.own).toBeCloseTo(fc?.sqnr ?? NaN, 1);
    expect(report.measurement.metrics.map(({ name }) => name)).toEqual([
      ...['top1', 'agreement', 'sqnr', 'cosine', 'largest difference'],
    ]);
  });

  it('tells the own error of weights that are stored in float16', async () => {
    const given = ['--schedule', 'fp16', '--data', shop.path('data.yaml'), '-o', shop.path('half'), '--no-latency'];
    expect(await main(['quantize', shop.path('model.onnx'), ...given], fakeIo())).toBe(0);
    const { json } = await compare('half/model.onnx', '--no-latency', '--json');
    const conv = json().layers.find(({ layer }) => layer === 'conv');
    // 0.01 has no exact float16; ten bits of mantissa leave some 60 to 90 dB.
    expect(conv?.own).toBeGreaterThan(50);
    expect(conv?.own).toBeLessThan(120);
  });

  it('finds nothing between a model and itself', async () => {
    const { code, out } = await compare('model.onnx', '--no-latency');
    expect(code).toBe(0);
    expect(out).toMatch(/100\.0 % of the first's bytes, top1 is the same, .* equal\s+outputs/s);
    expect(out).toContain('no layer that both have differs by more than float32 rounding');
  });

  it('fits 80 columns, and times the pair', async () => {
    const { out } = await compare('rounded.onnx');
    expect(out.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(out).toMatch(/× its speed at\s+batch 1/);
    const told = out.replace(/\s+/g, ' ');
    const [, ratio = '', low = '', high = '', unsure] =
      /([\d.]+)× its speed at batch 1 \(([\d.]+) to ([\d.]+)(: not surely faster)?\)/.exec(told) ?? [];
    expect([Number(low), Number(ratio), Number(high)].sort((a, b) => a - b)).toEqual([low, ratio, high].map(Number));
    // No word that the note of the same speeds does not bear out; at either side of the bound by rounding both may stand.
    if (Number(low) < 1.01 && Number(high) > 1.01) expect(unsure).toBeDefined();
    expect(out).toMatch(/^they part at fc \(Gemm\), whose output is at [\d.]+ dB/m);
  });

  it.each<[string, [string, number[]], [string, string], RegExp]>([
    ['an input of another shape', ['x', [3, 4, 4]], ['y', 'scores'], /the inputs differ: "x" is float32\[N, 3, 8, 8\]/],
    [
      'an input of another name',
      ['image', [3, 8, 8]],
      ['y', 'scores'],
      /the inputs differ: "x" is .* none in the second/,
    ],
    ['other outputs', ['x', [3, 8, 8]], ['y', 'y'], /the second model has no output "scores"; it has y/],
  ])('%s is one line and exit 2', async (_name, [input, dims], [, output], message) => {
    const other = makeModel({
      inputs: [makeValue(input, 'float32', ['N', ...dims])],
      outputs: [makeValue(output, 'float32', ['N', ...dims])],
      nodes: [makeNode('Relu', [input], [output], {}, { name: 'relu' })],
      initializers: [],
    });
    await writeModel(other, shop.path('other.onnx'));
    const { code, out, err } = await compare('other.onnx');
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
    expect(err.trimEnd().split('\n')).toHaveLength(2);
  });
});
