import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openData } from '../../src/data/open.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { topK } from '../../src/metrics/topk.ts';
import { passes } from '../../src/passes/index.ts';
import { collectingOnce, fallBack, overridesText, withRaised, type Raised } from '../../src/run/fallback.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { testContext } from '../helpers/context.ts';
import { smallConvNet } from '../helpers/models.ts';

/** Points lost by each layer of a make-believe net in its asked width; 8 bits cost a tenth of that. */
const loss: Readonly<Record<string, number>> = { a: 0.1, b: 3, c: 0.2, d: 2, e: 0.1, f: 1 };

async function search(maxDrop: number, bits: number, { budget = Infinity, each = 1, base = 0 } = {}) {
  let clock = 0;
  const tried: Raised[] = [];
  const drop = (raised: Raised): number => {
    const left = (layer: string): number => {
      const to = raised[layer];
      return to === undefined ? 1 : to.bits_weights === null ? 0 : 0.1;
    };
    return Object.keys(loss).reduce((sum, layer) => sum + (loss[layer] as number) * left(layer), base);
  };
  const trial = (raised: Raised) => {
    const metric = { name: 'top1', value: 90 - drop(raised), reference: 90, drop: drop(raised), higherIsBetter: true };
    const measurement = { metrics: [{ ...metric, unit: '%', samples: 1000 }], bytes: 0, zeros: 0, latency: [] };
    return { raised, attempt: { measurement } };
  };
  const found = await fallBack(
    trial({}) as never,
    { metric: 'top1', maxDrop, relative: false, timeBudget: Number.isFinite(budget) ? budget : undefined },
    {
      layers: Object.keys(loss),
      bits,
      attempt: async (raised) => {
        clock += each;
        tried.push(raised);
        return trial(raised) as never;
      },
      damage: async (raised) => {
        clock += each;
        return drop(raised);
      },
      seconds: () => clock,
      progress: () => undefined,
    },
  );
  return { ...found, tried, names: Object.keys(found.raised).sort() };
}

describe('fallBack', () => {
  it('raises the fewest layers of most damage that let the gate hold', async () => {
    // 6.4 points are lost; without b and d 1.4, without f as well 0.4.
    expect((await search(1.5, 8)).names).toEqual(['b', 'd']);
    expect((await search(1, 8)).names).toEqual(['b', 'd', 'f']);
    expect((await search(1, 8)).raised['b']).toEqual({ bits_weights: null });
    expect((await search(10, 8)).tried).toEqual([]);
    expect((await search(10, 8)).notes).toEqual([]);
  });

  it('raises narrow layers to 8 bits first, and to float only where that is not enough', async () => {
    // In 8 bits b, d and f cost 0.6 together, the others 0.4.
    const { raised, passed } = await search(1, 4);
    expect(raised).toEqual({ b: { bits_weights: 8 }, d: { bits_weights: 8 }, f: { bits_weights: 8 } });
    expect(passed).toBe(true);
    // All in 8 bits cost 0.64: b must be in float.
    const more = await search(0.4, 4);
    expect(more.raised).toMatchObject({ b: { bits_weights: null }, a: { bits_weights: 8 } });
    expect(Object.values(more.raised).filter((r) => r.bits_weights === null)).toHaveLength(1);
  });

  it('takes the best so far when the time is up, and where nothing holds', async () => {
    // Damages may take half of the time, which is three of them; then there is time for two trials.
    const late = await search(0.01, 8, { budget: 4.5 });
    expect(late.tried).toHaveLength(2);
    expect(late.notes[0]).toContain('after 3 damages and 3 trials');
    expect(late.passed).toBe(false);
    expect(late.names.length).toBeGreaterThan(0);
    expect(late.notes[0]).toContain('the time budget is spent');
    const hopeless = await search(1, 8, { base: 2 });
    expect(hopeless.passed).toBe(false);
    expect(hopeless.names).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    expect(hopeless.notes[0]).toContain('does not hold either');
  });

  it('writes overrides that a schedule reads back as the same', async () => {
    const { raised, notes } = await search(1, 8);
    const text = overridesText({ ...raised, "it's/odd": { bits_weights: 8 } });
    const schedule = `version: 1\nquantizers:\n  q:\n    class: PostTrainLinearQuantizer\n    ${text}\n`;
    const { stages } = parseSchedule(schedule, 's.yaml', { passes });
    expect((stages[0]?.options as { overrides: unknown }).overrides).toEqual({
      ...raised,
      "it's/odd": { bits_weights: 8 },
    });
    expect(notes[1]).toBe(`the same again: ${overridesText(raised)}`);
  });

  it('goes before what the schedule says of layers, and leaves the rest of it', () => {
    const options = { bits_weights: 4, overrides: { 'b*': { bits_weights: 6 }, b: { per_channel: false }, '*': {} } };
    expect(Object.entries((withRaised(options, { b: { bits_weights: null } }) as typeof options).overrides)).toEqual([
      ['b', { per_channel: false, bits_weights: null }],
      ['b*', { bits_weights: 6 }],
      ['*', {}],
    ]);
  });

  it('collects each statistic of a value once', async () => {
    const asked: string[][] = [];
    const collect = async (_: unknown, wanted: ReadonlyMap<string, readonly unknown[]>) => {
      asked.push([...wanted.keys()]);
      return new Map([...wanted].map(([value, folds]) => [value, folds.map(() => `statistic of ${value}`)]));
    };
    const once = collectingOnce(testContext({ collect: collect as never, reference: smallConvNet() }), new Map());
    const fold = { name: 'minmax' } as never;
    const got = async (...values: string[]) =>
      Object.fromEntries(await once.collect(smallConvNet(), new Map(values.map((v) => [v, [fold]])), 8));
    await got('x', 'y');
    expect(await got('y', 'z')).toEqual({ y: ['statistic of y'], z: ['statistic of z'] });
    await once.collect(smallConvNet(), new Map([['x', [fold]]]), 16);
    expect(asked).toEqual([['x', 'y'], ['z'], ['x']]);
  });
});

describe('a schedule with a fallback', () => {
  const text = (asked: string): string => `version: 1
quantizers:
  q: { class: WeightOnlyQuantizer, bits_weights: 2 }
policies:
  - quantizer: { instance_name: q, fallback: { ${asked} } }
    epochs: [0]
`;
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-fallback-'))));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('brings a 2-bit net within the gate, and its note makes the same net again', async () => {
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const model = await readModel(join(root, 'examples/mnist/lenet-300-100.onnx'));
    const data = await openData(join(root, 'configs/mnist.yaml'), modelInputs(model), {
      calibrationSamples: 64,
      validationSamples: 300,
    });
    const ran = async (scheduleText: string) => {
      const schedule = bindSchedule(parseSchedule(scheduleText, 's.yaml', { passes }), { layers: layerFacts(model) });
      return run({
        ...{ model, data, schedule, scheduleText, outDir: folder, signal: new AbortController().signal },
        ...{ metrics: [topK(1)], force: true, measure: true, latency: false, batchSize: 64, log: () => undefined },
      });
    };
    const report = await ran(text('metric: top1, max_drop: 1'));
    const [stage] = report.stages;
    expect(stage?.attempts[0]?.measurement?.metrics[0]?.drop).toBeGreaterThan(1);
    expect(report.result.measurement.metrics[0]?.drop).toBeLessThanOrEqual(1);
    expect(stage?.verdict).toBe('retried');
    const again = /the same again: (.*)/.exec(stage?.notes.join('\n') ?? '')?.[1] ?? '';
    const same = await ran(
      `version: 1\nquantizers:\n  q:\n    class: WeightOnlyQuantizer\n    bits_weights: 2\n    ${again}\n`,
    );
    expect(same.result.measurement).toEqual(report.result.measurement);
    // Not all of it became float.
    expect(report.result.measurement.bytes).toBeLessThan(report.baseline.bytes / 2);
  });

  it('is checked before it runs', () => {
    const parse = (asked: string, cls = 'WeightOnlyQuantizer') =>
      parseSchedule(text(asked).replace('WeightOnlyQuantizer, bits_weights: 2', cls), 's.yaml', {
        passes,
        metrics: [{ name: 'top1' }],
      });
    expect(() => parse('metric: top1')).toThrow('max_drop');
    expect(() => parse('metric: topl, max_drop: 1')).toThrow('did you mean');
    expect(() => parse('metric: top1, max_drop: 1, time: 4')).toThrow('time_budget');
    expect(parse("metric: top1, max_drop: '2%', time_budget: 60").stages[0]?.fallback).toEqual({
      metric: 'top1',
      maxDrop: 0.02,
      relative: true,
      timeBudget: 60,
    });
  });
});
