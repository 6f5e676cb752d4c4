import { main } from '../../src/cli/main.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import { writeModel } from '../../src/graph/file.ts';
import type { BenchReport } from '../../src/report/bench.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

async function bench(...args: string[]) {
  const io = fakeIo({ columns: 80 });
  const code = await main(['bench', ...args, '--seconds', '0'], io);
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) as BenchReport };
}

/** y = x, in a type that a process of its own has to be given. */
async function copyOf(type: DType, dims: (number | string)[]): Promise<string> {
  const model = makeModel({
    inputs: [makeValue('x', type, dims)],
    outputs: [makeValue('y', type, dims)],
    nodes: [makeNode('Identity', ['x'], ['y'])],
    initializers: [],
  });
  await writeModel(model, shop.path(`${type}.onnx`));
  return shop.path(`${type}.onnx`);
}

describe('qtool bench', () => {
  it('measures several models in turn', async () => {
    const path = shop.path('model.onnx');
    const { code, json } = await bench(path, path, '--data', shop.path('data.yaml'), '--batch', '1,4', '--json');
    expect(code).toBe(0);
    const { models, threads } = json();
    expect(threads).toBe(1);
    expect(models).toHaveLength(2);
    for (const { bytes, loadMilliseconds, batches } of models) {
      expect(bytes).toBeGreaterThan(0);
      expect(loadMilliseconds).toBeGreaterThan(0);
      expect(batches.map(({ batch }) => batch)).toEqual([1, 4]);
      for (const { p50, p90, perSecond, runs } of batches) {
        expect(p50).toBeGreaterThan(0);
        expect(p90).toBeGreaterThanOrEqual(p50);
        expect(perSecond).toBeGreaterThan(0);
        expect(runs).toBeGreaterThanOrEqual(5);
      }
    }
    expect(models[0]?.batches[0]?.runs).toBe(models[1]?.batches[0]?.runs);
  });

  it('prints tables of 80 columns', async () => {
    const { out } = await bench(shop.path('model.onnx'), shop.path('model.onnx'), '--batch', '2');
    expect(out).toMatch(/^model +size +load +memory$/m);
    expect(out).toMatch(/^model +batch +p50 +p90 +per second +speed$/m);
    expect(out.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });

  it.each<[DType, (number | string)[]]>([
    ['int64', ['N', 'T']],
    ['float16', ['N', 4]],
    ['bool', ['N', 4]],
    ['float64', [2, 4]],
  ])('feeds %s%j', async (type, dims) => {
    const { code, err } = await bench(await copyOf(type, dims), '--batch', '1', '--quiet');
    expect([code, err]).toEqual([0, '']);
  });

  it('says that a fixed batch leaves other sizes out, and only then', async () => {
    const path = await copyOf('float64', [2, 4]);
    expect((await bench(path, '--batch', '1,8')).err).toContain(
      'a model takes batches of 2 only: other sizes are left out',
    );
    expect((await bench(path, '--batch', '2')).err).not.toContain('left out');
  });

  it('refuses models of other inputs, and batch sizes that are none', async () => {
    const other = await bench(shop.path('model.onnx'), await copyOf('float32', ['N', 7]));
    expect([other.code, other.out]).toEqual([2, '']);
    expect(other.err).toMatch(/the inputs differ: "x" is float32\[N, 3, 8, 8\]/);
    const sizes = await bench(shop.path('model.onnx'), '--batch', '1,x');
    expect(sizes.code).toBe(2);
    expect(sizes.err).toMatch(/--batch takes whole numbers of at least 1, not "1,x"/);
  });
});
