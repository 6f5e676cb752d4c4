import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { metricConfigs, parseDataConfig } from '../../src/data/config.ts';
import { metricKinds, openMetrics } from '../../src/metrics/index.ts';
import type { Metric } from '../../src/metrics/metric.ts';
import { failure } from '../data/support.ts';
import { batch, float, run } from './support.ts';

const folder = mkdtempSync(join(tmpdir(), 'qtool-metrics-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open = async (
  metric: string,
  labelled = true,
  outputs?: Parameters<typeof openMetrics>[1],
): Promise<Metric[]> => {
  const config = parseDataConfig(`data: { kind: random }\n${metric}`, 'd.yaml');
  const info = { kind: 'random', source: 'x', samples: 1, labelled, notes: [] } as const;
  const data = { folder, modules: 'run', validation: { info, async *samples() {} } } as const;
  return openMetrics({ ...data, metrics: metricConfigs(config) }, outputs);
};
const names = async (...given: Parameters<typeof open>): Promise<string[]> => (await open(...given)).map(({ name }) => name); // prettier-ignore

describe('openMetrics', () => {
  it('makes every kind by its name', async () => {
    for (const { name } of metricKinds) expect(await names(`metric: ${name}`)).toEqual([name]);
    expect(await names('metric: [top1, { name: sqnr, output: y }]')).toEqual(['top1', 'sqnr']);
  });

  it('chooses by what the data has', async () => {
    expect(await names('')).toEqual(['top1', 'agreement', 'sqnr']);
    expect(await names('', false)).toEqual(['sqnr', 'cosine']);
    const classes = [{ type: 'int64', dims: ['N'] }] as const;
    expect(await names('', true, classes)).toEqual(['top1', 'agreement']);
    expect(await names('', false, classes)).toEqual(['agreement']);
    const others = [{ type: 'string', dims: ['N'] }, { type: 'int64', dims: [] }] as const; // prettier-ignore
    expect(await names('', false, others)).toEqual([]);
    expect(await names('', false, [...classes, { type: 'float16', dims: [] }])).toEqual(['sqnr', 'cosine']);
  });

  it('adds what a gate asks for and the data allows', async () => {
    const info = { kind: 'random', source: 'x', samples: 1, labelled: false, notes: [] } as const;
    const data = { metrics: [], folder, validation: { info, async *samples() {} } };
    const found = await openMetrics(data, [], ['agreement', 'top1', 'sqnr', 'agreement', 'unheard-of']);
    expect(found.map(({ name }) => name)).toEqual(['sqnr', 'cosine', 'agreement']);
  });

  it.each([
    ['metric: topp1', true, /d\.yaml:2:9 metric "topp1" is not known \(did you mean "top1"\?\); known: top1, top5/],
    [
      'metric: [sqnr, { name: top5, outptu: y }]',
      true,
      /d\.yaml:2:30 metric top5: outptu: unknown key \(did you mean "output"\?\)/,
    ],
    ['metric: { name: psnr, peak: -1 }', true, /d\.yaml:2:23 metric psnr: peak: must be more than 0, is -1/],
    ['metric: top1', false, /d\.yaml:2:9 metric top1 needs labels, and the validation data has none/],
    ['metric: ./none.mjs', true, /d\.yaml:2:9 the metric module "\.\/none\.mjs" does not exist/],
  ])('says what is wrong with %s', async (metric, labelled, expected) => {
    expect(await failure(() => open(metric, labelled))).toMatch(expected);
  });
});

describe('a metric module', () => {
  const input = { batch: batch(2), outputs: { y: float([2, 1], 1, 5) }, reference: { y: float([2, 1], 1, 2) } };
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return name;
  };

  it('is a metric, or a function of the options that makes one', async () => {
    const file = write(
      'worst.mjs',
      `export default ({ scale = 1 }) => ({
         unit: 'dB', higherIsBetter: false,
         start: () => 0,
         add(worst, { outputs, reference }) {
           outputs.y.data.forEach((v, i) => { worst = Math.max(worst, Math.abs(v - reference.y.data[i])); });
           return worst;
         },
         finish: (worst) => worst * scale,
       });`,
    );
    const [metric] = await open(`metric: { name: ${file}, scale: 10 }`);
    // Its own value of the float model's outputs is what it is compared with.
    const [facts, beside] = [
      { unit: 'dB', higherIsBetter: false, samples: 2 },
      { reference: 0, drop: 30 },
    ];
    expect(run(metric!, input)).toEqual({ name: 'worst', value: 30, ...facts, ...beside });
  });

  it.each([
    ['export default { start() {}, finish() {} }', /has no function "add"/],
    ['export const x = 1', /has no function "start"/],
    ['export default (', /the module does not load/],
  ])('says what is wrong with %s', async (text, expected) => {
    const name = write(`m${text.length}.mjs`, text);
    expect(await failure(() => open(`metric: ${name}`))).toMatch(expected);
  });

  it('must finish with a value', async () => {
    const name = write('empty.mjs', 'export default { start() {}, add() {}, finish: () => ({}) }');
    const [metric] = await open(`metric: ${name}`);
    expect(() => run(metric!, input)).toThrow(/metric empty finished without a value/);
  });
});
