import { readFile } from 'node:fs/promises';
import {
  bindSchedule,
  htmlReport,
  layerFacts,
  modelInputs,
  openData,
  openMetrics,
  parseSchedule,
  passes,
  plain,
  readModel,
  run,
  textReport,
  type RunEvent,
} from '../src/index.ts';
import { furnish, openWorkshop, type Workshop } from './cli/workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

describe('the library', () => {
  it('compresses a model with the functions that the package exports', async () => {
    const model = await readModel(shop.path('model.onnx'));
    const scheduleText = await readFile(shop.path('schedule.yaml'), 'utf8');
    const parsed = parseSchedule(scheduleText, 'schedule.yaml', { passes });
    const data = await openData(shop.path('data.yaml'), modelInputs(model));
    const events: RunEvent[] = [];
    const report = await run({
      model,
      schedule: bindSchedule(parsed, { layers: layerFacts(model) }),
      scheduleText,
      data,
      metrics: await openMetrics(data),
      outDir: shop.path('library'),
      force: false,
      measure: true,
      latency: false,
      batchSize: 8,
      signal: new AbortController().signal,
      log: (event) => events.push(event),
    });
    expect(report.result).toMatchObject({ status: 'finished', stages: [1] });
    expect(events.map((event) => event.kind)).toEqual(expect.arrayContaining(['phase', 'baseline', 'stage']));
    const written = await readModel(report.result.path!);
    expect(written.graph.node.map((node) => node.op_type)).toEqual(model.graph.node.map((node) => node.op_type));
    expect(textReport(report, { paint: plain, width: 120 })).toContain('prune/level');
    expect(htmlReport(report)).toContain('</html>');
  });
});
