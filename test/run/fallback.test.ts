import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Dataset } from '../../src/data/types.ts';
import { openData } from '../../src/data/open.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { topK } from '../../src/metrics/topk.ts';
import { passes } from '../../src/passes/index.ts';
import { collectingOnce, fallBack, overridesText, withRaised, type Raised } from '../../src/run/fallback.ts';
import { run } from '../../src/run/run.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, smallConvNet, weight } from '../helpers/models.ts';

/** Points lost by each layer of a make-believe net in its asked width; 8 bits cost a tenth of that. */
const loss: Readonly<Record<string, number>> = { a: 0.1, b: 3, c: 0.2, d: 2, e: 0.1, f: 1 };

/** `culprit`: a value that costs 5 points unless its reader reads it in 16 bits. */
async function search(
  maxDrop: number,
  bits: number,
  { budget = Infinity, each = 1, base = 0, readers = [] as string[], culprit = '' } = {},
) {
  let clock = 0;
  const tried: Raised[] = [];
  const told: [number, string][] = [];
  const drop = (raised: Raised): number => {
    const left = (layer: string): number => {
      const to = raised[layer]?.bits_weights;
      return to === undefined ? 1 : to === null || to === 16 ? 0 : 0.1;
    };
    const lost = culprit !== '' && raised[culprit]?.bits_activations !== 16 ? 5 : 0;
    return Object.keys(loss).reduce((sum, layer) => sum + (loss[layer] as number) * left(layer), base + lost);
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
      readers,
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
      progress: (done, text) => told.push([done, text]),
    },
  );
  return { ...found, tried, told, names: Object.keys(found.raised).sort() };
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
    // Values are not touched where weights do.
    expect((await search(1, 4, { readers: Object.keys(loss) })).raised).toEqual(raised);
    // All in 8 bits cost 0.64: b must be in float.
    const more = await search(0.4, 4);
    expect(more.raised).toMatchObject({ b: { bits_weights: null }, a: { bits_weights: 8 } });
    expect(Object.values(more.raised).filter((r) => r.bits_weights === null)).toHaveLength(1);
  });

  it('frees a value that no layer in float alone would free', async () => {
    const readers = Object.keys(loss);
    // 6.4 points of the weights, 5 of what enters c.
    const one = await search(6.5, 8, { readers, culprit: 'c' });
    expect(one.raised).toEqual({ c: { bits_activations: 16 } });
    expect(one.passed).toBe(true);
    // With c's own weights raised as well it gets 16 bits: in float it would read the value as it was.
    const both = await search(0.05, 8, { readers, culprit: 'c' });
    expect(both).toMatchObject({ passed: true, raised: { c: { bits_weights: 16, bits_activations: 16 } } });
    expect(overridesText(one.raised)).toBe("overrides: { 'c': { bits_activations: 16 } }");
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

  it('raises nothing where the gate holds already', async () => {
    // All layers lose 6.4 points together.
    const { tried, raised, passed, notes, told } = await search(6.5, 8);
    expect([tried, raised, passed, notes, told]).toEqual([[], {}, true, [], []]);
    expect((await search(6.3, 8)).tried.length).toBeGreaterThan(0);
  });

  it('tells of each damage and each trial, and how far it is', async () => {
    const { told, tried, why, notes } = await search(1, 8, { readers: ['c'], culprit: 'c' });
    const texts = told.map(([, text]) => text);
    expect(texts.filter((text) => text.includes('damage of'))).toEqual(
      ['a', 'b', 'what enters c', 'c', 'd', 'e', 'f'].map((what) => `fallback: damage of ${what}`),
    );
    expect(texts.slice(7)).toHaveLength(tried.length);
    for (const text of texts.slice(7)) expect(text).toMatch(/^fallback: \d of 7 layers and values raised$/);
    const shares = told.map(([done]) => done);
    expect(shares.every((done) => done >= 0 && done < 1)).toBe(true);
    // Within the damages and within the trials it only rises.
    for (const part of [shares.slice(0, 7), shares.slice(7)]) expect(part).toEqual([...part].sort((a, b) => a - b));
    expect(why).toMatch(/^\d of 6 layers raised: top1 drop /);
    expect(notes[0]).toMatch(/, after 7 damages and \d trials$/);
    expect((await search(1, 8)).told.at(-1)?.[1]).toMatch(/of 6 layers raised$/);
  });

  it('tries the four of most damage first', async () => {
    const { tried } = await search(0.5, 8);
    expect(Object.keys(tried[0]!)).toEqual(['b', 'd', 'f', 'c']);
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
  const narrow = 'WeightOnlyQuantizer, bits_weights: 2';
  const text = (asked: string, cls = narrow): string => `version: 1
quantizers:
  q: { class: ${cls} }
policies:
  - quantizer: { instance_name: q, fallback: { ${asked} } }
    epochs: [0]
`;
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-fallback-'))));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  // FormatQuantizer has no widths to raise to, only float.
  it.each([narrow, 'FormatQuantizer, format: int2'])(
    'brings a 2-bit net within the gate, and its note makes the same net again (%s)',
    async (cls) => {
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
      const report = await ran(text('metric: top1, max_drop: 1', cls));
      const [stage] = report.stages;
      expect(stage?.attempts[0]?.measurement?.metrics[0]?.drop).toBeGreaterThan(1);
      expect(report.result.measurement.metrics[0]?.drop).toBeLessThanOrEqual(1);
      expect(stage?.verdict).toBe('retried');
      const again = /the same again: (.*)/.exec(stage?.notes.join('\n') ?? '')?.[1] ?? '';
      const same = await ran(
        `version: 1\nquantizers:\n  q:\n    class: ${cls.replace(', ', '\n    ')}\n    ${again}\n`,
      );
      expect(same.result.measurement).toEqual(report.result.measurement);
      // Not all of it became float.
      expect(report.result.measurement.bytes).toBeLessThan(report.baseline.bytes * 0.95);
    },
  );

  it('is checked before it runs', () => {
    const parse = (asked: string, cls?: string) =>
      parseSchedule(text(asked, cls), 's.yaml', {
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

describe('a value with one channel that dwarfs the others', () => {
  // conv1 makes channel 0 of its output 500 times as large, and conv2 does not read it: the other channels have hardly a code.
  const [w1, w2] = [noise(1, 8 * 3 * 9, 0.3), noise(2, 8 * 8 * 9, 0.2)];
  w1.subarray(0, 27).forEach((v, i) => (w1[i] = 500 * v));
  for (let out = 0; out < 8; out++) for (let k = 0; k < 9; k++) w2[out * 72 + k] = 0;
  const conv = (n: number, x: string, y: string) =>
    makeNode('Conv', [x, `w${n}`], [y], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }, { name: `conv${n}` });
  const model = makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 8, 8, 8])],
    nodes: [
      conv(1, 'x', 'c1'),
      makeNode('Relu', ['c1'], ['r1']),
      conv(2, 'r1', 'c2'),
      makeNode('Relu', ['c2'], ['r2']),
      conv(3, 'r2', 'c3'),
      makeNode('Relu', ['c3'], ['r3']),
      conv(4, 'r3', 'y'),
    ],
    initializers: [
      makeTensor('w1', 'float32', [8, 3, 3, 3], w1),
      makeTensor('w2', 'float32', [8, 8, 3, 3], w2),
      weight('w3', [8, 8, 3, 3], 3, 0.2),
      weight('w4', [8, 8, 3, 3], 4, 0.2),
    ],
  });
  const set: Dataset = {
    info: { kind: 'random', source: 'noise', samples: 8, labelled: false, notes: [] },
    async *samples(limit = 8) {
      for (let i = 0; i < Math.min(8, limit); i++)
        yield { id: String(i), feeds: { x: floats(noise(i, 192), [1, 3, 8, 8]) } };
    },
  };
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-fallback-'))));
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const ran = async (min: number) => {
    // 7 bits cannot saturate on any processor.
    const scheduleText = `version: 1
quantizers:
  q: { class: PostTrainLinearQuantizer, bits_weights: 7 }
policies:
  - quantizer: { instance_name: q, fallback: { metric: sqnr, min: ${min} } }
    epochs: [0]
`;
    const schedule = bindSchedule(parseSchedule(scheduleText, 's.yaml', { passes }), { layers: layerFacts(model) });
    return run({
      ...{ model, schedule, scheduleText, outDir: folder, signal: new AbortController().signal, metrics: [sqnr()] },
      ...{ data: { calibration: set, validation: set, notes: [], metrics: [], folder, batchSize: 4 }, batchSize: 4 },
      ...{ force: true, measure: true, latency: false, log: () => undefined },
    });
  };

  it('is found: its reader alone is raised', async () => {
    const { stages, result } = await ran(25);
    expect(stages[0]?.attempts[0]?.measurement?.metrics[0]?.value).toBeLessThan(20);
    expect(stages[0]?.verdict).toBe('retried');
    expect(stages[0]?.notes.join('\n')).toContain("overrides: { 'conv2': { bits_activations: 16 } }");
    expect(result.measurement.metrics[0]?.value).toBeGreaterThan(25);
  });

  it('is no success where only the float model holds', async () => {
    const { stages, result, warnings } = await ran(200);
    expect(stages[0]).toMatchObject({
      verdict: 'undone',
      why: 'fallback found nothing that holds but the float model: no layer can stay quantized',
    });
    expect(result.stages).toEqual([]);
    expect(warnings).toEqual([expect.stringMatching(/^the quantizer \(1 q\) was undone, so the result is the float model: fallback found nothing/)]); // prettier-ignore
  });
});
