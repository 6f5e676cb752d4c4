import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { ownErrors } from '../../src/analyze/own_error.ts';
import { passes } from '../../src/passes/index.ts';
import { diagnose } from '../../src/run/diagnosis.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { ParsedSchedule } from '../../src/schedule/types.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';
import { never, samplesOf } from './support.ts';

const width = 32;
type Scale = (row: number, column: number) => number;

/** Three layers of 32: `a`, Relu, `b`, Relu, `c`. What a scale does to one, another can take back. */
function network(scales: { readonly a?: Scale; readonly b?: Scale; readonly c?: Scale } = {}): Model {
  const matrix = (name: 'a' | 'b' | 'c', seed: number) =>
    makeTensor(
      `w_${name}`,
      'float32',
      [width, width],
      noise(seed, width * width, 0.3).map((v, i) => v * (scales[name]?.(Math.floor(i / width), i % width) ?? 1)),
    );
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', width])],
    outputs: [makeValue('y', 'float32', ['N', width])],
    initializers: [matrix('a', 1), matrix('b', 2), matrix('c', 3)],
    nodes: [
      makeNode('MatMul', ['x', 'w_a'], ['ha'], {}, { name: 'a' }),
      makeNode('Relu', ['ha'], ['ra']),
      makeNode('MatMul', ['ra', 'w_b'], ['hb'], {}, { name: 'b' }),
      makeNode('Relu', ['hb'], ['rb']),
      makeNode('MatMul', ['rb', 'w_c'], ['y'], {}, { name: 'c' }),
    ],
  });
}

const samples = (change: (i: number, data: Float32Array) => void = () => undefined): Feeds[] =>
  Array.from({ length: 16 }, (_, i) => {
    const data = noise(50 + i, width);
    change(i, data);
    return { x: floats(data, [1, width]) };
  });

// 7 bits, which no processor saturates.
const text = `version: 1
quantizers:
  q: { class: PostTrainLinearQuantizer, bits_weights: 7 }   # as asked
policies:
  - { quantizer: { instance_name: q }, epochs: [0] }
`;

const parsed = (yaml: string): ParsedSchedule => parseSchedule(yaml, 'schedule.yaml', { passes });

/** Runs the stages of a schedule, as a run would. */
async function compressed(float: Model, feeds: readonly Feeds[], yaml: string) {
  let [model, twin]: [Model, Model | undefined] = [float, undefined];
  for (const { pass, options } of bindSchedule(parsed(yaml), { layers: layerFacts(float) }).stages) {
    const result = await pass.apply(model, options, testContext({ calibration: feeds, reference: float, twin }));
    [model, twin] = [result.model, result.twin];
  }
  return { model, twin };
}

async function diagnosed(float: Model, feeds = samples()) {
  const { model, twin } = await compressed(float, feeds, text);
  const state = { model, twin, plan: new Map(), measurement: undefined, stages: [1] };
  const tools = {
    calibration: samplesOf(feeds),
    context: (stage: object) => testContext({ calibration: feeds, reference: float, ...stage }),
  };
  const asked = { schedule: parsed(text), scheduleText: text, metrics: [], signal: never, progress: () => undefined };
  const found = await diagnose(state, tools as never, asked);
  const quality = async (yaml: string): Promise<number> => {
    const now = (await compressed(float, feeds, yaml)).model;
    const all = await Promise.all(
      feeds.slice(1, 5).map(async (one) => [(await runModel(float, one)).y?.data, (await runModel(now, one)).y?.data]),
    );
    return Math.min(...all.map(([x, y]) => snr(x as Float32Array, y as Float32Array)));
  };
  return { model, twin, sentences: found?.diagnosis.sentences ?? [], mended: found?.diagnosis.schedule, quality };
}

describe('diagnose', () => {
  it('names a value of which one channel takes the range, and mends it in 8 bits', async () => {
    const big = 4;
    const float = network({ a: (_, column) => (column === big ? 400 : 1), b: (row) => (row === big ? 1 / 400 : 1) });
    const { sentences, mended, quality } = await diagnosed(float);
    expect(sentences[0]).toMatch(/^the first fall is at b .*its input "ra"/);
    expect(sentences[1]).toMatch(/^channel 4 of "ra" reaches/);
    expect(mended).toContain('class: CrossLayerEqualization');
    expect(mended).toContain('# as asked');
    // The schedule as written does what was said of it: 7 bits of weights are worth 30 dB and more.
    expect(await quality(text)).toBeLessThan(15);
    expect(await quality(mended ?? '')).toBeGreaterThan(28);
  });

  it('names a last layer whose weights lose their small ones', async () => {
    const float = network({ b: (_, column) => (column === 7 ? 0.001 : 1), c: (row) => (row === 7 ? 300 : 1) });
    const { sentences, mended, quality } = await diagnosed(float);
    expect(sentences[0]).toMatch(/^the first fall is at c .*its weights/);
    expect(await quality(mended ?? '')).toBeGreaterThan((await quality(text)) + 10);
  });

  it('names an outlier of the input', async () => {
    const spike = samples((i, data) => void (i === 0 && (data[0] = 400)));
    const { sentences, mended, quality } = await diagnosed(network({ a: (row) => (row === 0 ? 0.01 : 1) }), spike);
    expect(sentences[0]).toMatch(/^the first fall is at a .*its input "x"/);
    expect(sentences[1]).toMatch(/channel 0 of "x" reaches 400|outlier/);
    expect(await quality(mended ?? '')).toBeGreaterThan((await quality(text)) + 10);
  });

  it('says of a model with nothing wrong that there is nothing', async () => {
    const { sentences, mended } = await diagnosed(network());
    expect(sentences).toEqual([expect.stringMatching(/^no layer stands out/)]);
    expect(mended).toBeUndefined();
  });
});

describe('ownErrors', () => {
  it('are what a layer adds to what it inherits', async () => {
    const feeds = samples();
    const { model, twin } = await diagnosed(
      network({ a: (_, c) => (c === 4 ? 400 : 1), b: (r) => (r === 4 ? 1 / 400 : 1) }),
    );
    const errors = await ownErrors(twin as Model, model, () => samplesOf(feeds)(16));
    const [a, b, c] = ['a', 'b', 'c'].map((name) => errors.find(({ layer }) => layer === name));
    expect([a?.inherited, a?.value]).toEqual([Infinity, 'x']);
    // The bad value is read by b, whose error c inherits and does not make: 7-bit weights alone are at some 35 dB.
    expect(a?.own).toBeGreaterThan(30);
    expect(b?.own).toBeLessThan(15);
    expect(b?.input).toBeLessThan(15);
    // Its row of small weights is rounded off as well.
    expect(b?.weights).toBeGreaterThan((b?.input ?? 0) + 3);
    // What it inherits is partly outside of its calibrated range, and clipped there.
    expect(c?.own).toBeGreaterThan((b?.own ?? 0) + 8);
    expect(c?.inherited).toBeLessThan(15);
  });

  it('follow a value through a Split to the part that is read', async () => {
    const float = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', width])],
      outputs: [makeValue('y', 'float32', ['N', width])],
      initializers: [
        makeTensor('w_a', 'float32', [width, width], noise(1, width * width, 0.3)),
        makeTensor('w_b', 'float32', [12, width], noise(2, 12 * width, 0.3)),
        makeTensor('parts', 'int64', [2], BigInt64Array.of(20n, 12n)),
      ],
      nodes: [
        makeNode('MatMul', ['x', 'w_a'], ['ha'], {}, { name: 'a' }),
        makeNode('Split', ['ha', 'parts'], ['left', 'right'], { axis: 1 }),
        makeNode('MatMul', ['right', 'w_b'], ['y'], {}, { name: 'b' }),
      ],
    });
    const { model, twin } = await diagnosed(float);
    const errors = await ownErrors(twin as Model, model, () => samplesOf(samples())(16));
    expect(errors.map(({ layer, value }) => [layer, value])).toEqual([
      ['a', 'x'],
      ['b', 'ha'],
    ]);
    for (const { own } of errors) expect(own).toBeGreaterThan(30);
  });
});
