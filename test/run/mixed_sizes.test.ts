import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset, RunData } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { initializers } from '../../src/graph/query.ts';
import { floatData } from '../../src/graph/tensor.ts';
import { calibrators } from '../../src/numerics/calibrators.ts';
import { passes } from '../../src/passes/index.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';
import { optimizedOps, snr } from '../helpers/quality.ts';

/** A fully convolutional net: x [N, 3, H, W] → y [N, 4, H', W'], any size. */
const net = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', 3, 'H', 'W'])],
  outputs: [makeValue('y', 'float32', ['N', 4, 'h', 'w'])],
  initializers: [
    weight('w1', [8, 3, 3, 3], 1),
    weight('b1', [8], 2),
    weight('w2', [8, 8, 3, 3], 3),
    weight('w3', [4, 8, 1, 1], 4),
  ],
  nodes: [
    makeNode('Conv', ['x', 'w1', 'b1'], ['c1'], { pads: [1, 1, 1, 1], strides: [2, 2] }, { name: 'conv1' }),
    makeNode('Relu', ['c1'], ['r1'], {}, { name: 'relu1' }),
    makeNode('Conv', ['r1', 'w2'], ['c2'], { pads: [1, 1, 1, 1] }, { name: 'conv2' }),
    makeNode('Add', ['c2', 'r1'], ['a'], {}, { name: 'add' }),
    makeNode('Conv', ['a', 'w3'], ['y'], {}, { name: 'conv3' }),
  ],
});

/** Sizes come in turn, so that hardly two samples in a row go into one batch. */
const sizes = [
  [8, 8],
  [12, 20],
  [12, 20],
  [16, 6],
] as const;
const sampleAt = (i: number) => {
  const [h, w] = sizes[i % sizes.length] as readonly [number, number];
  return floats(noise(i, 3 * h * w), [1, 3, h, w]);
};
const dataset = (count: number): Dataset => ({
  info: { kind: 'module', source: 'mixed', samples: count, labelled: false, notes: [] },
  async *samples(limit = count) {
    for (let i = 0; i < Math.min(count, limit); i++) yield { id: String(i), feeds: { x: sampleAt(i) } };
  },
});

describe('images of mixed sizes', () => {
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-mixed-'))));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const quantized = async (method: string, more = '') => {
    const scheduleText = `version: 1\nquantizers:\n  q: { class: PostTrainLinearQuantizer, calibration: { method: ${method}${more} } }\n`;
    const schedule = bindSchedule(parseSchedule(scheduleText, 's.yaml', { passes }), { layers: layerFacts(net) });
    const data = {
      calibration: dataset(24),
      validation: dataset(4),
      notes: [],
      metrics: [],
      folder,
    } as never as RunData;
    const outDir = join(folder, method);
    const report = await run({
      ...{ model: net, data, schedule, scheduleText, outDir, signal: new AbortController().signal },
      ...{ metrics: [], force: true, measure: false, latency: false, batchSize: 4, log: () => undefined },
    });
    return { model: await readModel(join(outDir, 'model.onnx')), notes: report.stages[0]?.notes ?? [] };
  };

  it.each(calibrators.map((c) => c.name))('calibrate with %s, and the result runs in every size', async (method) => {
    const { model } = await quantized(method);
    expect(await optimizedOps(model)).toMatchObject({ QLinearConv: 3, QLinearAdd: 1 });
    for (const i of [0, 1, 3]) {
      const feeds = { x: sampleAt(i) };
      const [expected, got] = [await runModel(net, feeds), await runModel(model, feeds)];
      expect(got.y?.dims).toEqual(expected.y?.dims);
      // Methods that clip lose more than rounding to 8 bits does (35 dB here), none as much as half of the signal.
      expect(snr(expected.y?.data as Float32Array, got.y?.data as Float32Array)).toBeGreaterThan(8);
    }
  });

  it('take more passes within a memory limit, and come to the same', async () => {
    const [free, bound] = [await quantized('percentile'), await quantized('percentile', ', memory_limit: 0.001')];
    // The values of the first sample, 8 by 8, are 1.5 kB together.
    const passesTaken = Number(/calibration: (\d+) passes/.exec(bound.notes.join())?.[1]);
    expect(passesTaken).toBeGreaterThan(1);
    expect(free.notes.join()).not.toContain('passes');
    const scales = ({ graph }: typeof net) =>
      [...initializers(graph)]
        .filter(([name]) => name.endsWith('_scale'))
        .map(([name, t]) => [name, [...floatData(t)]]);
    expect(scales(bound.model)).toEqual(scales(free.model));
  });

  it('count the pixels of all sizes: minmax has exactly the extremes of all samples', async () => {
    const scale = floatData(initializers((await quantized('minmax')).model.graph).get('x_scale') as never)[0] as number;
    let [lo, hi] = [0, 0];
    for (let i = 0; i < 24; i++)
      for (const v of sampleAt(i).data as Float32Array) [lo, hi] = [Math.min(lo, v), Math.max(hi, v)];
    expect(scale).toBe(Math.fround((hi - lo) / 255));
  });
});
