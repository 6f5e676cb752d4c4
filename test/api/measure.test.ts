import {
  analyze,
  compare,
  compress,
  evaluate,
  htmlReport,
  inspect,
  plain,
  textReport,
  type UserMetric,
} from '../../src/index.ts';
import { compareText } from '../../src/report/compare.ts';
import { evalText } from '../../src/report/eval.ts';
import { furnish, openWorkshop, schedule, type Workshop } from '../cli/workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

const given = (): { model: string; data: string } => ({ model: shop.path('model.onnx'), data: shop.path('data.yaml') });

/** Images whose labels are one too high. */
const shifted = () => ({
  model: shop.path('model.onnx'),
  data: Array.from({ length: 60 }, (_, i) => ({
    feeds: { x: { dims: [1, 3, 8, 8], data: new Float32Array(192).map((_, k) => (k >> 6 === i % 3 ? 0.8 : 0.1)) } },
    label: (i % 3) + 1,
  })),
});
const yellow = { ...plain, yellow: (text: string): string => `<${text}>` };

describe('the calls that only look', () => {
  it('inspects', async () => {
    expect(await inspect(given())).toMatchObject({
      ops: { Conv: 1, Gemm: 1 },
      layers: [{ layer: 'conv' }, { layer: 'fc' }],
      params: 4 * 27 + 4 + 16 + 4,
    });
  });

  it('evaluates alone and against a reference', async () => {
    const alone = await evaluate({ ...given(), latency: false });
    expect(alone.measurement).toMatchObject({ metrics: [{ name: 'top1', value: 100 }], latency: [] });
    const metrics = ['sqnr'];
    const beside = await evaluate({ ...given(), reference: shop.path('model.onnx'), metrics, latency: false });
    expect(beside.measurement.metrics).toMatchObject([{ name: 'sqnr', value: Infinity, drop: 0 }]);
  });

  it("evaluates a caller's fold without a reference too, as far as it needs none", async () => {
    const own: UserMetric<number> = { name: 'm', start: () => 0, add: (n, { outputs }) => n + outputs['scores']!.dims[0]!, finish: (n) => n }; // prettier-ignore
    const compares: UserMetric<number> = { ...own, name: 'c', add: (n, { reference }) => n + reference['scores']!.dims[0]! }; // prettier-ignore
    const alone = await evaluate({ ...given(), metrics: [own, { ...compares, needs: 'reference' }], latency: false });
    const [first, ...others] = alone.measurement.metrics;
    expect([first, others]).toEqual([{ name: 'm', value: 48, unit: '', higherIsBetter: true, samples: 48 }, []]);
    expect(alone.notes).toContain('c: not measured without --reference');
    const message = 'metric c compares with a float model, and none is given';
    await expect(evaluate({ ...given(), metrics: [compares], latency: false })).rejects.toMatchObject({ message });
    const beside = { ...given(), reference: given().model, metrics: [own, compares], latency: false };
    expect((await evaluate(beside)).measurement.metrics).toMatchObject([{ value: 48, reference: 48 }, { value: 48, reference: 48 }]); // prettier-ignore
  });

  it.each([
    ['evaluate', () => evaluate({ ...shifted(), latency: false }), 'the model is at chance'],
    [
      'evaluate with a reference',
      () => evaluate({ ...shifted(), reference: given().model, latency: false }),
      'the reference itself is at chance',
    ],
    [
      'compare',
      () => compare({ a: given().model, b: given().model, data: shifted().data, latency: false }),
      'the first model itself is at chance',
    ],
  ] as const)('%s says first that labels are wrong', async (_name, call, text) => {
    const report = await call();
    const [first] = report.warnings;
    expect(first).toMatch(new RegExp(`^${text}: 0\\.00 % top1, where guessing gives 25\\.00 %; .*labels`));
    const printed = 'where' in report ? compareText(report, yellow, 400) : evalText(report, yellow, 400);
    expect(printed.split('\n')[0]).toBe(`<! ${first}>`);
  });

  it('analyzes', async () => {
    const { proposal, path, bits, diagnosis } = await analyze({ ...given(), bits: 8 });
    expect(path).toBe(shop.path('model.onnx'));
    expect(bits).toBe(8);
    expect(proposal.map(({ layer }) => layer)).toEqual(['conv', 'fc']);
    // Of what the plainest schedule would make of it.
    expect(diagnosis?.sentences[0]).toMatch(/^(the first fall is at|no layer stands out)/);
  });

  it('compares, and renders what it measured', async () => {
    const { model, report } = await compress({ ...given(), schedule: schedule(), latency: false });
    const { model: a, data } = given();
    const { layers, measurement } = await compare({ a, b: model, data, latency: false });
    expect(layers.map(({ layer }) => layer)).toEqual(expect.arrayContaining(['conv', 'fc']));
    expect(measurement.metrics.map(({ name }) => name)).toContain('sqnr');
    const same = await compare({ a, b: a, data, latency: false });
    expect(same.first).toBeUndefined();
    expect(textReport(report, { paint: plain, width: 120 })).toContain('prune/level');
    expect(htmlReport(report)).toContain('</html>');
  });

  it('ends with the reason of the signal', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    const { model: a, data } = given();
    for (const call of [
      () => evaluate({ ...given(), signal }),
      () => analyze({ ...given(), signal }),
      () => compare({ a, b: a, data, signal }),
    ])
      // prettier-ignore
      await expect(call()).rejects.toBe(signal.reason);
  });
});
