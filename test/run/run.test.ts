import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openData } from '../../src/data/open.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { zeroShare } from '../../src/analyze/zero_share.ts';
import { topK } from '../../src/metrics/topk.ts';
import { passes } from '../../src/passes/index.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-run-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Two pruning stages: the second ruins LeNet-300-100. */
const ruinous = (onFail: string): string => `
version: 1
pruners:
  mild: { class: SparsityLevelParameterPruner, levels: { '*': 0.3 } }
  harsh: { class: SparsityLevelParameterPruner, levels: { '*': 0.99 } }
policies:
  - { pruner: { instance_name: mild }, epochs: [0], gate: { metric: top1, max_drop: 1, on_fail: stop } }
  - { pruner: { instance_name: harsh }, epochs: [1], gate: { metric: top1, max_drop: 1, on_fail: ${onFail} } }
`;

async function pruned(onFail: string, signal = new AbortController().signal) {
  const model = await readModel(join(root, 'examples/mnist/lenet-300-100.onnx'));
  const data = await openData(join(root, 'configs/mnist.yaml'), modelInputs(model), {
    calibrationSamples: 16,
    validationSamples: 200,
  });
  const text = ruinous(onFail);
  const schedule = bindSchedule(parseSchedule(text, 's.yaml', { passes }), { layers: layerFacts(model) });
  const outDir = join(folder, onFail);
  const report = await run({
    ...{ model, data, schedule, outDir, signal },
    ...{ scheduleText: text, metrics: [topK(1)], force: true, measure: true, latency: false, batchSize: 64 },
    log: () => undefined,
  });
  return { report, zeros: report.result.path ? zeroShare(await readModel(report.result.path)) : NaN, outDir };
}

describe('run: a second stage that ruins accuracy', () => {
  it('undo ends with the model of the first stage', async () => {
    const { report, zeros, outDir } = await pruned('undo');
    expect(report.stages.map((s) => s.verdict)).toEqual(['kept', 'undone']);
    expect(report.result).toMatchObject({ status: 'finished', stages: [1] });
    expect(zeros).toBeCloseTo(0.3, 3);
    expect(report.result.measurement).toEqual(report.stages[0]?.measurement);
    expect(JSON.parse(await readFile(join(outDir, 'report.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(report)));
  });

  it('stop ends the run there, with the best model on disk', async () => {
    const { report, zeros } = await pruned('stop');
    expect(report.stages.map((s) => s.verdict)).toEqual(['kept', 'stopped']);
    expect(report.result.status).toBe('stopped');
    expect(zeros).toBeCloseTo(0.3, 3);
  });

  it('retry ends at a sparsity that passes', async () => {
    const { report, zeros } = await pruned('retry');
    const [, second] = report.stages;
    expect(second?.verdict).toBe('retried');
    expect(second?.attempts).toHaveLength(7);
    expect(report.result.measurement.metrics[0]?.drop).toBeLessThanOrEqual(1);
    expect(zeros).toBeGreaterThan(0.5);
    expect(zeros).toBeLessThan(0.99);
  });

  it('warn goes on with the ruined model, and says so', async () => {
    const { report, zeros } = await pruned('warn');
    expect(report.stages.map((s) => s.verdict)).toEqual(['kept', 'warned']);
    expect(report.result.measurement.metrics[0]?.drop).toBeGreaterThan(1);
    expect(zeros).toBeCloseTo(0.99, 2);
  });

  it('an interrupt keeps what was reached', async () => {
    const stopper = new AbortController();
    stopper.abort();
    const { report } = await pruned('undo', stopper.signal);
    expect(report.result.status).toBe('cancelled');
  });
});
