import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { batches } from '../../src/data/batch.ts';
import { parseDataConfig } from '../../src/data/config.ts';
import { fixedBatch } from '../../src/data/layout.ts';
import { openData } from '../../src/data/open.ts';
import { makeModel, makeNode, makeValue, type ModelParts } from '../../src/graph/build.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { describeValue, modelInputs } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { openMetrics } from '../../src/metrics/index.ts';
import { passes } from '../../src/passes/index.ts';
import type { RunReport } from '../../src/run/report.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { snr } from '../helpers/quality.ts';
import { runModel } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-inputs-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

const fast = `
version: 1
quantizers: { q: { class: DynamicQuantizer, bits_weights: 7 } }
policies: [ { quantizer: { instance_name: q }, epochs: [0] } ]
`;

/** What `qtool quantize` does with a model on random data, and the SQNR of the first float output between the written model and the float one. */
async function quantized(parts: ModelParts, random = ''): Promise<{ report: RunReport; db: number }> {
  const model = makeModel(parts);
  const config = parseDataConfig(`data: { kind: random, samples: 8${random} }`, 'd.yaml');
  const data = await openData(config, modelInputs(model));
  const report = await run({
    model,
    data,
    schedule: bindSchedule(parseSchedule(fast, 's.yaml', { passes }), { layers: layerFacts(model) }),
    scheduleText: fast,
    metrics: await openMetrics(data, model.graph.output.map(describeValue)),
    outDir: folder,
    ...{ force: true, measure: true, latency: false, batchSize: 4, threads: 1 },
    signal: new AbortController().signal,
    log: () => undefined,
  });
  const result = await readModel(join(folder, 'model.onnx'));
  let db = Infinity;
  const first = batches(data.validation, { batchSize: 1, fixedBatch: fixedBatch(modelInputs(model)), limit: 1 });
  for await (const { feeds } of first)
    for (const level of ['disabled', 'all'] as const) {
      const [float, got] = [await runModel(model, feeds, level), await runModel(result, feeds, level)];
      for (const [name, { type, data: wanted }] of Object.entries(float))
        if (type === 'float32') db = Math.min(db, snr(wanted as Float32Array, got[name]?.data as Float32Array));
    }
  return { report, db };
}

const weights = (name: string, seed: number, ...dims: number[]): ReturnType<typeof makeTensor> => {
  const length = dims.reduce((a, b) => a * b, 1);
  return makeTensor(name, 'float32', dims, noise(seed, length));
};
const dense = (x: string, y: string): Pick<ModelParts, 'nodes' | 'initializers'> => ({
  nodes: [makeNode('MatMul', [x, 'w'], [y])],
  initializers: [weights('w', 1, 16, 32)],
});
// 7 bits of weights and 8 of activations: about 40 dB on random numbers; a wrong scale or axis leaves less than 10.
const least = 25;

describe('legal inputs', () => {
  it('a size of -1 is free', async () => {
    const inputs = [makeValue('x', 'float32', [-1, 16])];
    const { db, report } = await quantized({ inputs, outputs: [makeValue('y', 'float32', [-1, 32])], ...dense('x', 'y') }); // prettier-ignore
    expect(db).toBeGreaterThan(least);
    expect(report.stages[0]?.changed).toHaveLength(1);
  });

  it('an input without a shape is fed by the shape in the config', async () => {
    const parts = { inputs: [makeValue('x', 'float32')], outputs: [makeValue('y', 'float32', ['N', 32])], ...dense('x', 'y') }; // prettier-ignore
    await expect(quantized(parts)).rejects.toThrow('the model declares no shape for its input "x"');
    expect((await quantized(parts, ', inputs: { x: { dims: [1, 16] } }')).db).toBeGreaterThan(least);
  });

  it('a scalar beside the data', async () => {
    const inputs = [makeValue('x', 'float32', ['N', 16]), makeValue('rate', 'int64', [])];
    const { nodes, initializers } = dense('x', 'm');
    const scaled = [...nodes, makeNode('Cast', ['rate'], ['r'], { to: 1 }), makeNode('Div', ['m', 'r'], ['y'])];
    const { db } = await quantized({ inputs, outputs: [makeValue('y', 'float32', ['N', 32])], nodes: scaled, ...(initializers ? { initializers } : {}) }, ', inputs: { rate: { value: 16000 } }'); // prettier-ignore
    expect(db).toBeGreaterThan(least);
  });

  it('a state whose batch is on axis 1', async () => {
    const { nodes, initializers } = dense('x', 'm');
    const { db } = await quantized({
      inputs: [makeValue('x', 'float32', ['B', 16]), makeValue('state', 'float32', [2, 'B', 32])],
      outputs: [makeValue('y', 'float32', [2, 'B', 32])],
      nodes: [...nodes, makeNode('Add', ['m', 'state'], ['y'])],
      ...(initializers ? { initializers } : {}),
    });
    expect(db).toBeGreaterThan(least);
  });

  it('a model that ends in ArgMax is judged by its classes', async () => {
    const { nodes, initializers } = dense('x', 'm');
    const { report } = await quantized({
      inputs: [makeValue('x', 'float32', ['N', 16])],
      outputs: [makeValue('y', 'int64', ['N'])],
      nodes: [...nodes, makeNode('ArgMax', ['m'], ['y'], { axis: 1, keepdims: 0 })],
      ...(initializers ? { initializers } : {}),
    });
    expect(report.baseline.metrics).toMatchObject([{ name: 'agreement', value: 100 }]);
    expect(report.result.measurement.metrics[0]?.value).toBeGreaterThan(60);
  });
});

describe('nothing to compress', () => {
  const said = 'there is nothing to compress: no stage found a layer that it could change';

  it('is said of a model without weights', async () => {
    const { report, db } = await quantized({
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      nodes: [makeNode('Relu', ['x'], ['y'])],
    });
    expect([report.result.status, report.notes, db]).toEqual(['finished', [said], Infinity]);
  });

  it('is not said of a layer whose first output is omitted: its weights are decoded at load', async () => {
    const { report, db } = await quantized({
      inputs: [makeValue('x', 'float32', [3, 1, 4])],
      outputs: [makeValue('h', 'float32', [1, 1, 5])],
      nodes: [makeNode('GRU', ['x', 'w', 'r'], ['', 'h'], { hidden_size: 5 }, { name: 'gru' })],
      initializers: [weights('w', 1, 1, 15, 4), weights('r', 2, 1, 15, 5)],
    });
    expect([report.result.status, report.notes]).toEqual(['finished', []]);
    // 7 bits of the weights, one scale a row.
    expect(db).toBeGreaterThan(30);
    expect(db).toBeLessThan(Infinity);
  });

  it('names what is quantized already', async () => {
    const { report } = await quantized({
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      nodes: [
        makeNode('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']),
        makeNode('MatMulInteger', ['q', 'w', 'z'], ['i'], {}, { name: 'product' }),
        makeNode('Cast', ['i'], ['f'], { to: 1 }),
        makeNode('Mul', ['f', 's'], ['y']),
      ],
      initializers: [
        makeTensor(
          'w',
          'int8',
          [4, 4],
          Int8Array.from({ length: 16 }, (_, i) => i),
        ),
      ],
    });
    expect(report.notes).toEqual([`${said}; already quantized: product`]);
  });

  it('is not said where something changed', async () => {
    const { report } = await quantized({ inputs: [makeValue('x', 'float32', ['N', 16])], outputs: [makeValue('y', 'float32', ['N', 32])], ...dense('x', 'y') }); // prettier-ignore
    expect(report.notes).not.toContain(said);
  });
});
