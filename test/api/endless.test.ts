import { compress, evaluate, type SampleGiven } from '../../src/index.ts';
import { furnish, openWorkshop, type Workshop } from '../cli/workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

const one = (i: number): SampleGiven => ({
  feeds: { x: { dims: [1, 3, 8, 8], data: new Float32Array(192).fill((i % 7) / 7) } },
  label: 3,
});
let asked = 0;
async function* later(): AsyncGenerator<SampleGiven> {
  for (let i = 0; ; i++) {
    await Promise.resolve();
    asked += 1;
    yield one(i);
  }
}
function* atOnce(): Generator<SampleGiven> {
  for (let i = 0; ; i++) {
    asked += 1;
    yield one(i);
  }
}
beforeEach(() => (asked = 0));

describe.each([
  ['a function', later],
  ['a function that never waits', atOnce],
  ['an iterable', { [Symbol.asyncIterator]: later }],
  ['an iterable that never waits', { [Symbol.iterator]: atOnce }],
])('%s without end', (_name, data) => {
  const model = (): string => shop.path('model.onnx');

  it('is read to the limit', async () => {
    const { data: info } = await evaluate({ model: model(), data, limit: 20, latency: false });
    expect(info.samples).toBe(20);
    expect(asked).toBeLessThan(70);
    const sets = { calibration: data, validation: data };
    const { report } = await compress({ model: model(), schedule: 'int8', data: sets, limit: 9, samples: 8, latency: false }); // prettier-ignore
    expect([report.data.calibration.samples, report.data.validation.samples]).toEqual([8, 9]);
  });

  it('is left when the signal fires', async () => {
    for (const call of [
      evaluate,
      (options: object) => compress({ ...options, model: model(), data, schedule: 'int8' }),
    ]) {
      const signal = AbortSignal.timeout(100);
      const failure: unknown = await call({ model: model(), data, signal }).catch((error: unknown) => error);
      expect(failure).toBe(signal.reason);
      expect(failure).toBeDefined();
    }
  });
});
