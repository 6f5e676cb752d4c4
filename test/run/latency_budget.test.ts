import { jest } from '@jest/globals';
import type { Model } from '../../src/graph/model.ts';
import { floatData } from '../../src/graph/tensor.ts';
import { openWorkshop, furnish, type Workshop } from '../cli/workshop.ts';
import { fakeIo } from '../cli/fake_io.ts';
import type { SensitivityReport } from '../../src/run/sensitivity.ts';

// Milliseconds cannot be told beforehand: here a run takes as long as the model has weights. What is tested is that measured
// times, and nothing else, decide which levels meet the target.
const weights = (model: Model): number => model.graph.initializer.reduce((sum, t) => sum + floatData(t).length, 0);
const timed: { batches: unknown; alike: boolean }[] = [];
jest.unstable_mockModule('../../src/runtime/time.ts', () => ({
  latency: (model: Model, whole: Model, _sample: unknown, options: { batches: unknown }) => {
    timed.push({ batches: options.batches, alike: model === whole });
    return Promise.resolve([{ batch: 1, ratio: weights(whole) / weights(model) }]);
  },
}));
const { main } = await import('../../src/cli/main.ts');

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

async function sensitivity(budget: string) {
  const io = fakeIo({ columns: 110 });
  const data = ['--data', shop.path('data.yaml'), '--data-root', shop.path('.'), '--json'];
  const what = ['--class', 'ChannelPruner', '--levels', '0.25,0.5', '--budget', budget];
  const code = await main(['sensitivity', shop.path('model.onnx'), ...data, ...what], io);
  return { code, err: io.err(), json: () => JSON.parse(io.out()) as SensitivityReport };
}

describe('qtool sensitivity --budget latency', () => {
  it('cuts as little as meets the measured time', async () => {
    const { code, json } = await sensitivity('latency=0.8');
    expect(code).toBe(0);
    const { curves, solution } = json();
    const [conv] = curves;
    // A quarter of the channels leaves more than 70 % and less than 80 % of the time, half of them far less.
    expect(conv?.points.map(({ costs }) => (costs.latency ?? 1) <= 0.8)).toEqual([true, true]);
    expect(solution).toMatchObject({ unit: 'latency', target: 0.8, levels: { 'conv.weight': 0.25 } });
    expect(solution?.costs.latency).toBe(conv?.points[0]?.costs.latency);
    expect(timed.length).toBeGreaterThanOrEqual(3);
    expect(timed.every(({ batches, alike }) => JSON.stringify(batches) === '[1]' && !alike)).toBe(true);
  });

  it('takes the next level where the first is not fast enough, and says so where none is', async () => {
    const { json } = await sensitivity('latency=0.6');
    expect(json().solution?.levels).toEqual({ 'conv.weight': 0.5 });
    const { code, err } = await sensitivity('latency=0.1');
    expect(code).toBe(2);
    expect(err).toContain('10.0 % of the latency cannot be reached with these levels');
  });
});
