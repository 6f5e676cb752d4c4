import type { Dataset, Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { modelHash } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { mse } from '../../src/metrics/mse.ts';
import { sealed, type AnyFold } from '../../src/numerics/fold.ts';
import { noStage, openInstruments, type Setting } from '../../src/run/context.ts';
import type { StatisticsFacts } from '../../src/run/statistics.ts';
import { version } from '../../src/util/version.ts';
import { floats } from '../helpers/context.ts';
import { containing, matching, never } from './support.ts';

/** x [batch, 2] × 3 → h, + `off` → y. */
const net = (off = 0, batch: number | string = 'N'): Model =>
  makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', [batch, 2])],
    outputs: [makeValue('y', 'float32', [batch, 2])],
    initializers: [
      makeTensor('three', 'float32', [], Float32Array.of(3)),
      makeTensor('off', 'float32', [], Float32Array.of(off)),
    ],
    nodes: [makeNode('Mul', ['x', 'three'], ['h']), makeNode('Add', ['h', 'off'], ['y'])],
  });
const float = net();

/** Samples [i, −i] for i from 1; what is asked of them is noted. */
function counting(count: number, fingerprint = true) {
  const asked: { limit: number | undefined; reuse: boolean | undefined }[] = [];
  const set: Dataset = {
    info: { kind: 'random', source: 'counting', samples: count, labelled: false, notes: [] },
    ...(fingerprint ? { fingerprint: (limit) => `counting to ${limit}` } : {}),
    async *samples(limit = count, reuse) {
      asked.push({ limit, reuse });
      for (let i = 1; i <= Math.min(count, limit); i++)
        yield { id: String(i), feeds: { x: floats(Float32Array.of(i, -i), [1, 2]) } };
    },
  };
  return { ...set, asked };
}

function opened(more: Partial<Setting> = {}, { model = float, samples = 7, fingerprint = true } = {}) {
  const [calibration, validation] = [counting(samples, fingerprint), counting(5)];
  const told: [number, string][] = [];
  const tools = openInstruments({
    ...{ reference: model, metrics: [mse()], batchSize: 3, threads: undefined, memoryLimit: undefined, signal: never },
    data: { calibration, validation, notes: [], metrics: [] } as never,
    progress: (done, text) => told.push([done, text]),
    ...more,
  });
  return { tools, told, calibration, validation, context: tools.context(noStage()) };
}
async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
/** All elements that were seen, in the order of the data. */
const seen = (reads?: 'elements'): AnyFold<Tensor, number[]> =>
  sealed({
    name: 'seen',
    ...(reads === undefined ? {} : { reads }),
    start: (): number[] => [],
    add: (list: number[], { data }: Tensor) => [...list, ...Array.from(data as Float32Array)],
    finish: (list: number[]) => list,
  });
const wanted = (reads?: 'elements') => new Map([['h', [seen(reads)]]]);
/** What `h` is on the first samples. */
const products = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => [3 * (i + 1), -3 * (i + 1)]).flat();

describe('openInstruments', () => {
  it('cuts calibration data into batches, as many samples as are asked for', async () => {
    const { tools } = opened();
    expect((await all(tools.calibration(5))).map(({ ids }) => ids)).toEqual([['1', '2', '3'], ['4', '5']]); // prettier-ignore
    // A model of a fixed batch gets that, filled up.
    const fixed = opened({}, { model: net(0, 4) }).tools;
    expect((await all(fixed.calibration(5))).map(({ count, size }) => [count, size])).toEqual([[4, 4], [1, 4]]); // prettier-ignore
  });

  it('gives a first batch of validation data for timing, and says where there is none', async () => {
    const { feeds } = { feeds: await opened().tools.sample() };
    expect([...(feeds['x']?.data as Float32Array)]).toEqual([1, -1, 2, -2, 3, -3]);
    const data = { calibration: counting(1), validation: counting(0) };
    await expect(opened({ data: data as never }).tools.sample()).rejects.toMatchObject({
      ...{ code: 'data', message: 'the dataset is empty' },
      hint: containing('limits'),
    });
  });

  it('measures models against the float one on all validation data, and says how far it is', async () => {
    const { tools, told, context } = opened();
    expect(await tools.measure(net(0.5))).toMatchObject([{ name: 'mse', value: 0.25, samples: 5 }]);
    expect(told).toEqual([[0.6, 'measuring'], [1, 'measuring']]); // prettier-ignore
    expect(await context.measure(net(2))).toMatchObject({ metrics: [{ value: 4 }] });
    const stopped = opened({ signal: AbortSignal.abort() });
    await expect(stopped.tools.measure(float)).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('the context of a pass', () => {
  it('is the state of its stage, and of the run', async () => {
    const { tools, told } = opened();
    const stage = { ...noStage(), plan: new Map([['a', {}]]), twin: net(1), memory: new Map([['n', 1]]) };
    const context = tools.context(stage);
    expect(context).toMatchObject({ reference: float, clock: { epoch: 0, start: 0, end: 1, frequency: 1 } });
    expect([context.plan, context.twin, context.memory, context.signal]).toEqual([stage.plan, stage.twin, stage.memory, never]); // prettier-ignore
    expect([context.plan, context.memory].map((map) => map === stage.plan || map === stage.memory)).toEqual([true, true]); // prettier-ignore
    expect(noStage()).toMatchObject({ plan: new Map(), twin: undefined, memory: new Map() });
    context.progress(0.5, 'pruning');
    context.progress(0.75);
    expect(told).toEqual([[0.5, 'pruning'], [0.75, 'working']]); // prettier-ignore
  });

  it('infers the shapes of a model once, from one sample', async () => {
    const { context, calibration } = opened();
    const both = await Promise.all([context.shapes(float), context.shapes(float)]);
    expect(both.map((shapes) => shapes.get('h')?.dims)).toEqual([[1, 2], [1, 2]]); // prettier-ignore
    expect(calibration.asked).toEqual([{ limit: 1, reuse: false }]);
    await context.shapes(net(1));
    expect(calibration.asked).toHaveLength(2);
  });

  it('captures values, and computes', async () => {
    const { context, tools } = opened();
    const found = await all(context.capture(float, ['h'], 4));
    expect(found.flatMap(({ h }) => [...(h?.data as Float32Array)])).toEqual(products(4));
    const stopped = opened({ signal: AbortSignal.abort() }).context;
    await expect(all(stopped.capture(float, ['h']))).rejects.toMatchObject({ code: 'cancelled' });
    const given = { x: floats(Float32Array.of(1, 2), [1, 2]) };
    expect([...((await context.compute(net(1), given))['y']?.data as Float32Array)]).toEqual([4, 7]);
    await tools.close();
  });
});

describe('collect', () => {
  it('folds values of as many samples as are asked for, and says how far it is', async () => {
    const { context, told, calibration } = opened();
    expect(await context.collect(float, wanted())).toEqual(new Map([['h', [products(7)]]]));
    expect(told.map(([done]) => done)).toEqual([3 / 7, 6 / 7, 1]);
    expect(new Set(told.map(([, text]) => text))).toEqual(new Set(['collecting statistics']));
    // Whoever folds is done with a batch when the next but one comes.
    expect(calibration.asked.filter(({ reuse }) => reuse)).not.toEqual([]);
    told.splice(0);
    expect(await context.collect(float, wanted(), 4)).toEqual(new Map([['h', [products(4)]]]));
    expect(told.map(([done]) => done)).toEqual([3 / 4, 1]);
    const stopped = opened({ signal: AbortSignal.abort() }).context;
    await expect(stopped.collect(float, wanted())).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('says how many passes it takes within the memory that it may use', async () => {
    const plans: [number, number][] = [];
    const planned = (passes: number, bytes: number): void => void plans.push([passes, bytes]);
    const two = new Map([...wanted(), ['y', [seen()]]]);
    // A sample of each of the two values has 8 bytes.
    await opened().context.collect(float, two, 2, undefined, { planned });
    await opened().context.collect(float, two, 2, undefined, { planned, memoryLimit: 8 });
    await opened({ memoryLimit: 8 }).context.collect(float, two, 2, undefined, { planned });
    await opened({ memoryLimit: 8 }).context.collect(float, two, 2, undefined, { planned, memoryLimit: 1e6 });
    expect(plans.map(([passes]) => passes)).toEqual([1, 2, 2, 1]);
    expect(plans[1]![1]).toBe(8);
  });

  const recalled = async (more: Partial<Setting>, samples?: number, elements?: number, given = {}) => {
    const facts: (StatisticsFacts & { readonly keeping: unknown })[] = [];
    const kept = new Map([['h', [[42]]]]);
    const statistics = { recall: async (of: StatisticsFacts, keeping: unknown) => (facts.push({ ...of, keeping }), kept) }; // prettier-ignore
    const { context } = opened({ statistics: statistics as never, ...more }, given);
    const keeping = { options: ['seen'], plain: (list: unknown) => list, schema: undefined as never };
    const result = await context.collect(float, wanted(), samples, elements, { keeping });
    return { facts: facts[0], recalled: result === (kept as unknown), keeping };
  };

  it('asks for what was kept under everything that it depends on', async () => {
    const { facts, recalled: known, keeping } = await recalled({ threads: 1, memoryLimit: 1000 }, 4, 6);
    expect(known).toBe(true);
    expect(facts?.keeping).toBe(keeping);
    expect(facts).toMatchObject({
      ...{ model: modelHash(float), data: 'counting to 4', samples: 4, wanted: [['h', ['seen']]] },
      // 6 elements over 4 samples are 2 a sample.
      options: { threads: 1, elements: 2, memoryLimit: 1000, batchSize: 3 },
      tool: { qtool: version, onnxruntime: matching(/^\d+\.\d+/), machine: containing(`${process.platform} ${process.arch} `) }, // prettier-ignore
    });
    const plain = (await recalled({})).facts;
    expect(JSON.parse(JSON.stringify(plain?.options))).toEqual({ batchSize: 3 });
    expect([plain?.samples, plain?.data]).toEqual([7, 'counting to undefined']);
    // No more than there are; over all of them.
    const more = (await recalled({}, 20, 15)).facts;
    expect([more?.samples, more?.options['elements']]).toEqual([7, 3]);
    expect((await recalled({}, 4, 6, { model: net(0, 2) })).facts?.options).toMatchObject({ batchSize: 2 });
  });

  it('collects anew where nothing is kept, or the data has no fingerprint', async () => {
    expect((await recalled({}, 4, undefined, { fingerprint: false })).recalled).toBe(false);
    expect((await recalled({ statistics: undefined })).recalled).toBe(false);
    const never = { recall: () => Promise.reject(new Error('asked')) };
    const { context } = opened({ statistics: never as never });
    expect(await context.collect(float, wanted(), 1)).toEqual(new Map([['h', [products(1)]]]));
  });

  it('of no samples says so, and divides by nothing', async () => {
    const { context } = opened({}, { samples: 0 });
    await expect(context.collect(float, wanted(), undefined, 5)).rejects.toMatchObject({ code: 'data' });
  });
});
