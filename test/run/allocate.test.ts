import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openData } from '../../src/data/open.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { initializers, modelInputs } from '../../src/graph/query.ts';
import { tensorData } from '../../src/graph/tensor.ts';
import { agreement } from '../../src/metrics/agreement.ts';
import { passes } from '../../src/passes/index.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-allocate-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

const text = `
version: 1
allocators:
  bits: { class: SqnrAllocator, budget: { weights: 2 }, gains: equal, scales: minmax }
quantizers:
  ptq: { class: PostTrainLinearQuantizer }
policies:
  - { allocator: { instance_name: bits }, epochs: [0], gate: { metric: agreement, max_drop: 2, on_fail: retry } }
  - { quantizer: { instance_name: ptq }, epochs: [1], gate: none }
`;

describe('run: a plan that costs too much', () => {
  it('is judged by rounded weights, gets a larger budget by retry, and is what the quantizer does', async () => {
    const model = await readModel(join(root, 'examples/mnist/lenet-300-100.onnx'));
    const data = await openData(join(root, 'configs/mnist.yaml'), modelInputs(model), {
      calibrationSamples: 64,
      validationSamples: 200,
    });
    const schedule = bindSchedule(parseSchedule(text, 's.yaml', { passes }), { layers: layerFacts(model) });
    const report = await run({
      ...{ model, data, schedule, outDir: folder, signal: new AbortController().signal },
      ...{ scheduleText: text, metrics: [agreement()], force: true, measure: true, latency: false, batchSize: 64 },
      log: () => undefined,
    });
    const [allocate, quantize] = report.stages;
    expect(allocate?.verdict).toBe('retried');
    expect(allocate?.attempts[0]).toMatchObject({ strength: 'mean 2.00 bits', passed: false });
    expect(allocate?.measurement?.metrics[0]?.drop).toBeLessThanOrEqual(2);
    // The weights themselves are as they were: the file has not changed.
    expect(allocate?.measurement?.bytes).toBe(report.baseline.bytes);
    expect(quantize?.verdict).toBe('kept');
    const planned = Object.fromEntries(
      (allocate?.changed ?? []).map((note) => [note.layer, Number(/^(\d) bits/.exec(note.text)?.[1])]),
    );
    const quantized = await readModel(join(folder, 'model.onnx'));
    const tensors = initializers(quantized.graph);
    const widest = Object.values(planned).map((bits) => 2 ** (bits - 1) - 1);
    const stored = ['fc1', 'fc2', 'fc3'].map((name) =>
      (tensorData(tensors.get(`${name}.weight_quantized`) as never) as Int8Array).reduce(
        (most, code) => Math.max(most, Math.abs(code)),
        0,
      ),
    );
    expect(stored).toEqual(widest);
    expect(Math.min(...Object.values(planned))).toBeGreaterThanOrEqual(2);
    expect(JSON.parse(await readFile(join(folder, 'report.json'), 'utf8'))).toMatchObject({
      result: { stages: [1, 2] },
    });
  });
});
