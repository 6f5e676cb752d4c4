import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { saturates } from '../../src/runtime/processor.ts';
import { given } from '../../src/util/must.ts';
import { floats } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { images } from './support.ts';

import { diagnosed, network, samples, text, parsed, width } from './diagnosed.ts';

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

  const followed = (by: string): string =>
    `${text.replace('policies:', `extensions: { b: { class: ${by} } }\npolicies:`)}  - { extension: { instance_name: b }, epochs: [1] }\n`;

  it('tries cures with what follows the quantizer', async () => {
    const yaml = followed('BiasCorrection');
    const { sentences, mended, told, quality } = await diagnosed(lacking, samples(), yaml);
    expect(told[1]?.[1]).toContain('trying');
    expect(sentences.find((one) => one.startsWith('tried on'))).toContain(' brings ');
    expect(parsed(mended!).stages.map((stage) => stage.class)).toEqual([
      'CrossLayerEqualization',
      'PostTrainLinearQuantizer',
      'BiasCorrection',
    ]);
    expect(await quality(mended!)).toBeGreaterThan((await quality(yaml)) + 1);
  });

  it('names the sample that takes a range, and is not misled by fewer samples, which lack it', async () => {
    const many = Array.from({ length: 96 }, (_, i) => {
      const data = noise(50 + i, width);
      if (i === 80) data[3] = 300;
      return { x: floats(data, [1, width]) };
    });
    const minmax = with8('PostTrainLinearQuantizer', ', bits_weights: 7, calibration: { method: minmax, samples: 96 }');
    const { sentences, mended, told, quality } = await diagnosed(network(), many, minmax);
    expect(sentences[1]).toMatch(/^a few calibration samples take the range: "x" was given .* 299, where 16 calibration samples reach from .*: calibration sample 81 holds 300$/); // prettier-ignore
    expect(told.map(([, what]) => what)).toContain('diagnosis: trying the schedule as it is');
    const tried = sentences.find((one) => one.startsWith('tried on'))!;
    expect(tried).toMatch(/^tried on 16 calibration samples, outputs at .*: calibration by percentile 99.9 brings /);
    expect(tried).not.toContain('calibrated on');
    expect(await quality(mended!)).toBeGreaterThan((await quality(minmax)) + 6);
  });

  it('compares with the schedule as it is on as few samples', async () => {
    const many = Array.from({ length: 96 }, (_, i) => ({ x: floats(noise(50 + i, width), [1, width]) }));
    const { sentences } = await diagnosed(lacking, many, text.replace('bits_weights: 7', 'bits_weights: 7, calibration: { method: minmax, samples: 96 }')); // prettier-ignore
    expect(sentences.find((one) => one.startsWith('tried on'))).toMatch(
      /^tried on 16 calibration samples, calibrated on 64, outputs at /,
    );
  });

  it('does not propose what the schedule has', async () => {
    const { told } = await diagnosed(lacking, samples(), text.replace('policies:', 'extensions: { e: { class: CrossLayerEqualization } }\npolicies:\n  - { extension: { instance_name: e }, epochs: [0] }')); // prettier-ignore
    expect(told.some(([, what]) => what.includes('Equalization'))).toBe(false);
  });

  it('tries nothing where the last stage is another pass, or a quantizer of float16', async () => {
    const other = await diagnosed(lacking, samples(), followed('FoldConstants'));
    // What float16 does is in no distance, but may be in the accuracy.
    const half = await diagnosed(network(), samples(), with8('Float16Quantizer'), 5);
    for (const { lines, told } of [other, half]) expect([lines, told.length]).toEqual([undefined, 1]);
    expect(other.sentences[2]).toBe('passes that change the model follow the quantizer, so no cure was tried');
    expect(half.sentences).toHaveLength(2);
    expect(other.sentences[0]).toMatch(/first fall/);
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
