import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { edit } from '../../src/graph/edit.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { ownErrors } from '../../src/analyze/own_error.ts';
import { passes } from '../../src/passes/index.ts';
import { diagnose } from '../../src/run/diagnosis.ts';
import { saturates } from '../../src/runtime/processor.ts';
import { given } from '../../src/util/must.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { ParsedSchedule } from '../../src/schedule/types.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';
import { images, never, samplesOf } from './support.ts';

const width = 32;
type Scale = (row: number, column: number) => number;

/** Three layers of 32: `a`, Relu, `b`, Relu, `c`. What a scale does to one, another can take back. */
function network(scales: { readonly a?: Scale; readonly b?: Scale; readonly c?: Scale } = {}): Model {
  const matrix = (name: 'a' | 'b' | 'c', seed: number) =>
    makeTensor(`w_${name}`, 'float32', [width, width], noise(seed, width * width, 0.3).map((v, i) => v * (scales[name]?.(Math.floor(i / width), i % width) ?? 1))); // prettier-ignore
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
  const { stages } = bindSchedule(parsed(yaml), { layers: layerFacts(float) });
  for (const { pass, options } of stages) {
    const result = await pass.apply(model, options, testContext({ calibration: feeds, reference: float, twin }));
    [model, twin] = [result.model, result.twin ?? twin];
  }
  return { model, twin, stages: stages.map(({ index }) => index) };
}

async function diagnosed(
  float: Model,
  feeds = samples(),
  yaml = text,
  drop = 0,
  later?: readonly Feeds[],
  saturated?: boolean,
) {
  // prettier-ignore
  const { model, twin, stages } = await compressed(float, feeds, yaml);
  const top1 = { name: 'top1', value: 90 - drop, reference: 90, drop, dropInterval: 1, unit: '%' };
  const measurement = drop === 0 ? undefined : { metrics: [top1] };
  const state = { model, twin, plan: new Map(), measurement: measurement as never, stages };
  const asked: number[] = [];
  const told: [number, string][] = [];
  const tools = {
    calibration: samplesOf(feeds, asked),
    calibrationSamples: feeds.length,
    unseen: later && { samples: later.length, batches: samplesOf(later) },
    context: (stage: object) => testContext({ calibration: feeds, reference: float, ...stage }),
  };
  const progress = (done: number, what: string): void => void told.push([done, what]);
  const metrics = [{ name: 'top1' }] as never;
  const found = await diagnose(state, tools as never, { schedule: parsed(yaml), scheduleText: yaml, metrics, signal: never, progress, saturated }); // prettier-ignore
  const quality = async (again: string): Promise<number> => {
    const now = (await compressed(float, feeds, again)).model;
    const all = await Promise.all(feeds.slice(1, 5).map(async (one) => [(await runModel(float, one)).y?.data, (await runModel(now, one)).y?.data])); // prettier-ignore
    return Math.min(...all.map(([x, y]) => snr(x as Float32Array, y as Float32Array)));
  };
  const { sentences = [], schedule: mended, yaml: lines } = found?.diagnosis ?? {};
  return { model, twin, found, sentences, mended, lines, quality, asked, told };
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

  it('names errors that grow between layers, and the layer that would have to make none', async () => {
    // A phase: what a layer gives is added up, and a Sin of many turns taken of it.
    const plain = network();
    const float = edit(plain, (draft) => {
      const [last] = draft.nodes().filter(({ name }) => name === 'c');
      const axis = draft.add('axis', makeTensor('', 'int64', [], BigInt64Array.of(1n)));
      const turns = draft.add('turns', makeTensor('', 'float32', [], Float32Array.of(20)));
      draft.addNode(makeNode('CumSum', ['rb', axis], ['sum']));
      draft.addNode(makeNode('Mul', ['sum', turns], ['phase'], {}, { name: 'phase' }));
      draft.addNode(makeNode('Sin', ['phase'], ['wave']));
      draft.update(given(last, 'c'), { input: ['wave', 'w_c'] });
    });
    const { sentences, mended } = await diagnosed(float);
    expect(sentences[0]).toMatch(/^errors grow between the layers: what "c" reads is at -?\d.*\(Relu, CumSum, Mul, Sin\) magnifies them$/); // prettier-ignore
    expect(sentences[1]).toContain("'b': { bits_weights: float }");
    expect(mended === undefined || /b: \{ bits_weights: float \}/.test(mended)).toBe(true);
    // Without the phase errors add up and no more.
    expect((await diagnosed(plain)).sentences[0]).toMatch(/^no layer stands out/);
  });

  // What c lacks is in its weights, at any width of 8 bits and less.
  const lacking = network({ b: (_, column) => (column === 7 ? 0.001 : 1), c: (row) => (row === 7 ? 300 : 1) });
  const with8 = (cls: string, more = '') => `version: 1\nquantizers:\n  q: { class: ${cls}${more} }\n`;

  it('says that sums saturate where this processor lets them, and only of what may be their doing', async () => {
    const vnni = (sentences: readonly string[]): boolean => sentences.some((one) => one.includes('VNNI'));
    const { sentences } = await diagnosed(lacking, samples(), with8('PostTrainLinearQuantizer', ', bits_weights: 8'));
    expect(sentences[0]).toMatch(/at c .*its weights/);
    expect(vnni(sentences)).toBe(await saturates());
    expect(vnni((await diagnosed(lacking)).sentences)).toBe(false);
    const big = network({ a: (_, column) => (column === 4 ? 400 : 1), b: (row) => (row === 4 ? 1 / 400 : 1) });
    const input = await diagnosed(big, samples(), with8('PostTrainLinearQuantizer', ', bits_weights: 8'));
    expect(input.sentences[0]).toMatch(/at b .*its input/);
    // 7 bits are never proposed without a word of why.
    expect(vnni(input.sentences)).toBe(input.lines?.includes('bits_weights: 7') ?? false);
    const dynamic = await diagnosed(lacking, samples(), with8('DynamicQuantizer', ', bits_weights: 8'));
    expect(dynamic.sentences[0]).toMatch(/at c .*its weights/);
    expect(vnni(dynamic.sentences)).toBe(false);
  });

  it('tries 7 bits of a sound net too whose sums are known to saturate, and only them', async () => {
    const bytes = with8('PostTrainLinearQuantizer', ', bits_weights: 8, per_channel: false');
    const told = async (known: boolean): Promise<string> => (await diagnosed(network(), samples(), bytes, 0, undefined, known)).sentences.join('\n'); // prettier-ignore
    const [known, not] = [await told(true), await told(false)];
    expect(known).toMatch(/^no layer stands out/);
    if (await saturates()) {
      expect(known).toContain('no VNNI');
      expect(known).toMatch(/tried on 16 calibration samples.*weights of 7 bits/);
    } else expect(known).toBe(not);
    expect(not).not.toMatch(/VNNI|tried/);
  });

  it('tries everything with 7 bits where a larger error hides whether sums saturate', async () => {
    const big = network({ a: (_, column) => (column === 4 ? 400 : 1), b: (row) => (row === 4 ? 1 / 400 : 1) });
    const { sentences } = await diagnosed(big, samples(), with8('PostTrainLinearQuantizer', ', bits_weights: 8'), 0, undefined, false); // prettier-ignore
    expect(sentences.join('\n').includes('weights of 7 bits and CrossLayerEqualization')).toBe(await saturates());
  });

  it('tries on the samples there are, and not what takes as long as a run', async () => {
    const { sentences } = await diagnosed(lacking, samples().slice(0, 8));
    const tried = sentences.find((one) => one.startsWith('tried on'));
    expect(tried).toMatch(/^tried on 8 calibration samples/);
    expect(tried).not.toContain('AdaRound');
  });

  it('says nothing where no layer can be compared', async () => {
    expect((await diagnosed(network(), samples(), with8('PostTrainLinearQuantizer', ", overrides: { '*': { bits_weights: float } }"))).found).toBeUndefined(); // prettier-ignore
    const pruned = `version: 1\npruners: { p: { class: SparsityLevelParameterPruner, levels: { '*': 0.5 } } }\npolicies: [ { pruner: { instance_name: p }, epochs: [0] } ]\n`;
    expect((await diagnosed(network(), samples(), pruned)).found).toBeUndefined();
  });

  it('tries nothing where the last stage is no quantizer, or of float16', async () => {
    const then = `${text.replace('policies:', 'extensions: { b: { class: BiasCorrection } }\npolicies:')}  - { extension: { instance_name: b }, epochs: [1] }\n`;
    const quantizer = await diagnosed(lacking, samples(), then);
    // What float16 does is in no distance, but may be in the accuracy.
    const half = await diagnosed(network(), samples(), with8('Float16Quantizer'), 5);
    for (const { lines, told } of [quantizer, half]) expect([lines, told.length]).toEqual([undefined, 1]);
    expect(quantizer.sentences[2]).toMatch(
      /^passes follow the quantizer, so no cure was tried: what is left is more bits .* by a fallback .*int8-accurate$/,
    );
    expect(half.sentences).toHaveLength(2);
    expect(quantizer.sentences[0]).toMatch(/first fall/);
    expect(half.sentences[0]).toMatch(/^no layer stands out: own errors of /);
  });

  it('looks at 16 samples, and tells what it does', async () => {
    const { asked, told } = await diagnosed(lacking);
    expect(new Set(asked)).toEqual(new Set([16]));
    expect(told[0]).toEqual([0, expect.stringContaining('own errors')]);
    expect(told.slice(1).every(([, what]) => what.includes('trying'))).toBe(true);
  });

  it('says that nothing helped where many layers are as bad', async () => {
    // One of twelve: without it the error is 0.4 dB less, and what the first adds to is amplified by none.
    const depth = 12;
    const chain = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', width])],
      outputs: [makeValue('y', 'float32', ['N', width])],
      initializers: Array.from({ length: depth }, (_, i) => makeTensor(`w${i}`, 'float32', [width, width], noise(20 + i, width * width, 0.3))), // prettier-ignore
      nodes: Array.from({ length: depth }, (_, i) =>
        makeNode(
          'MatMul',
          [i === 0 ? 'x' : `h${i}`, `w${i}`],
          [i === depth - 1 ? 'y' : `h${i + 1}`],
          {},
          { name: `l${i}` },
        ),
      ),
    });
    const { sentences, lines } = await diagnosed(chain, samples(), with8('WeightOnlyQuantizer', ', bits_weights: 3'));
    expect(sentences[0]).toMatch(/^no layer stands out: /);
    expect(sentences[2]).toMatch(/nothing helped: overrides/);
    expect(lines).toBeUndefined();
  });

  it('looks at the channels of images', async () => {
    const float = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32', ['N', 8, 8, 8])],
      initializers: ['a', 'b', 'c'].map((name, i) => {
        const inner = i === 0 ? 3 : 8;
        const values = noise(i + 1, 64 * inner * (8 / 64), 0.3);
        const scaled = values.map((v, at) => (name === 'a' && Math.floor(at / inner) === 5 ? 400 * v : name === 'b' && at % inner === 5 ? v / 400 : v)); // prettier-ignore
        return makeTensor(`w_${name}`, 'float32', [8, inner, 1, 1], scaled);
      }),
      nodes: [
        makeNode('Conv', ['x', 'w_a'], ['ha'], {}, { name: 'a' }),
        makeNode('Relu', ['ha'], ['ra']),
        makeNode('Conv', ['ra', 'w_b'], ['hb'], {}, { name: 'b' }),
        makeNode('Relu', ['hb'], ['rb']),
        makeNode('Conv', ['rb', 'w_c'], ['y'], {}, { name: 'c' }),
      ],
    });
    const { sentences } = await diagnosed(float, images, text);
    expect(sentences[0]).toMatch(/^the first fall is at b .*its input "ra"/);
    expect(sentences[1]).toMatch(/^channel 5 of "ra" reaches .* its 8 channels/);
  });

  // What reads `rb` rounds it to 256 steps: where some values lie beyond, these are worse than all the rounding.
  const plain = network();
  const calibrated = (more: string): string => text.replace('bits_weights: 7', `bits_weights: 7, calibration: { ${more} }`); // prettier-ignore
  const larger = samples((_, data) => void data.forEach((value, i) => (data[i] = 3 * value)));

  it('names a range that cuts values off of the very samples it was chosen on', async () => {
    const { sentences, mended, quality } = await diagnosed(plain, samples(), calibrated('method: percentile, percentile: 90')); // prettier-ignore
    expect(sentences[1]).toMatch(/^clipping: calibration by "percentile" gave ".*" the range .* cuts off \d+(\.\d+)? % of its values/); // prettier-ignore
    expect(mended).toContain('method: minmax');
    expect(await quality(mended ?? '')).toBeGreaterThan((await quality(calibrated('method: percentile, percentile: 90'))) + 10); // prettier-ignore
  });

  it('names samples that were too few: others lie beyond the ranges that hold all of these', async () => {
    const { sentences, lines } = await diagnosed(plain, samples(), text, 0, larger);
    expect(sentences[0]).toMatch(/^the first fall is at a .*its input "x".*on validation samples/);
    expect(sentences[1]).toMatch(/^too few calibration samples, .*by 16 of them "x" was given the range .*on 16 validation samples it reaches/); // prettier-ignore
    expect(sentences[2]).toMatch(/^all 16 calibration samples were used: give more, by `--samples`/);
    expect([sentences.length, lines]).toEqual([3, undefined]);
  });

  it('takes more of the calibration samples where the data has them', async () => {
    const growing = [...samples(), ...larger];
    const two = calibrated('samples: 2');
    for (const later of [undefined, larger]) {
      const { sentences, mended, quality } = await diagnosed(plain, growing, two, 0, later);
      expect(sentences[1]).toMatch(/^too few calibration samples, .*by 2 of them "/);
      expect(sentences[2]).toMatch(/^32 calibration samples are there, 2 were used/);
      expect(sentences[3]).toMatch(/all 32 calibration samples brings/);
      expect(mended).toContain('samples: 32');
      expect(await quality(mended ?? '')).toBeGreaterThan(28);
    }
  });

  it('says nothing of samples where others are as good', async () => {
    const { sentences } = await diagnosed(plain, samples(), text, 0, samples().slice(3, 9));
    expect(sentences).toEqual([expect.stringMatching(/^no layer stands out/)]);
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
    expect(errors.map(({ layer, value }) => `${layer} ${value}`)).toEqual(['a x', 'b ha']);
    for (const { own } of errors) expect(own).toBeGreaterThan(30);
  });
});
