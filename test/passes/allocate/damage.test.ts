import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData } from '../../../src/graph/tensor.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import type { MetricResult } from '../../../src/metrics/metric.ts';
import { damageMeasure, damageTable } from '../../../src/passes/allocate/damage.ts';
import { remembered } from '../../../src/passes/allocate/remembered.ts';
import { plannedLayers } from '../../../src/passes/allocate/layers.ts';
import { counted, dB, planResult, prepareGround, type Ground } from '../../../src/passes/allocate/plan.ts';
import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { roundLayer, withRounded } from '../../../src/passes/allocate/rounded.ts';
import type { Rounder } from '../../../src/passes/allocate/rounder.ts';
import { sensitivityAllocator } from '../../../src/passes/allocate/sensitivity.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';

const float = smallConvNet();
const calibration = [{ x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) }];
const context = (given: Partial<PassContext> = {}) => testContext({ calibration, ...given });
const rules = { first: null, last: null, limits: {}, together: [] as string[], scales: 'mse', widths: null } as const;
const { layers } = plannedLayers(float, await context().shapes(float), {
  ...rules,
  quantizer: 'PostTrainLinearQuantizer',
});
const ground = (widths: readonly number[]): Ground => ({
  float,
  skipped: [],
  layers: layers.slice(0, 2).map((layer) => ({ ...layer, widths })),
});
/** Weights that are all the width, so that a measure can read off what was rounded. */
const told: Rounder = (layer, bits) =>
  Promise.resolve({ data: layer.weights.map(({ weight }) => floatData(weight.tensor).map(() => bits)), noise: 1 });
const settings = { damage: 'top1', samples: 4, rounding: 'nearest', scales: 'mse' };
const result = (more: Partial<MetricResult>): MetricResult => ({
  ...{ name: 'top1', value: 90, reference: 90, drop: 0, unit: '%', higherIsBetter: true, samples: 9 },
  ...more,
});

/** A run whose metric drops by `loss(bits)` where conv1 is told to have so many, by 0.25 where nothing is rounded. */
function metricOf(loss: (bits: number) => number, more: Partial<MetricResult> = {}) {
  const measured: number[] = [];
  const measure: PassContext['measure'] = (model) => {
    const [first, second] = ['conv1.weight', 'conv2.weight'].map((name) => {
      const tensor = initializers(model.graph).get(name);
      return tensor ? (floatData(tensor)[0] as number) : NaN;
    }) as [number, number];
    if (first >= 0.5 || second >= 0.5) measured.push(first >= 0.5 ? first : second);
    return Promise.resolve({
      metrics: [result({ drop: first >= 0.5 ? loss(first) : second >= 0.5 ? 1 : 0.25, ...more })],
    });
  };
  return { measured, measure };
}

describe('the table of damages', () => {
  it('holds that of a format beside a lesser one that is exact', async () => {
    const { measure } = metricOf((bits) => (bits === 1.5 ? 0.25 : 1.25));
    const held = new Map([1.5, 2.5].map((bits) => [bits, writtenFormat.parse('int4')]));
    const asked = ground([1.5, 2.5]);
    const formats = { ...asked, layers: asked.layers.slice(0, 1).map((layer) => ({ ...layer, formats: held })) };
    expect((await damageTable(float, formats, settings, told, context({ measure }))).damage).toEqual([[0, 1]]);
  });

  it('measures whole widths and the ends, is a line in dB between them, and never rises with the width', async () => {
    const { measured, measure } = metricOf((bits) => (bits === 5 ? 99.25 : 0.25 + 100 * 4 ** -bits));
    const said: [number, string | undefined][] = [];
    const given = context({ measure, progress: (done, doing) => said.push([done, doing]) });
    const widths = [2.5, 2.75, 3, 3.5, 4, 5, 5.5, 5.75];
    const table = await damageTable(float, ground(widths), settings, told, given);
    expect(measured.map((b) => Math.round(b * 4) / 4)).toEqual([2.5, 3, 4, 5, 5.75, 2.5, 3, 4, 5, 5.75]);
    const [row, flat] = table.damage as [number[], number[]];
    // At 5 bits it was measured to be worse than at 4: that is noise.
    const law = widths.map((b) => 100 * 4 ** -(b === 5 ? 4 : b));
    [0, 1, 2, 3, 4, 5, 7].forEach((k) => expect(row[k]).toBeCloseTo(law[k] as number, 6));
    // Two thirds of the way from 5 to 5.75 bits.
    expect(row[6]).toBeCloseTo((law[5] as number) ** (1 / 3) * (law[7] as number) ** (2 / 3), 6);
    expect(flat).toEqual(widths.map(() => 0.75));
    expect(said.map(([done]) => done)).toEqual(Array.from({ length: 10 }, (_, k) => k / 10));
    expect(said[0]?.[1]).toBe('conv1 at 2.5 bits');
  });

  it('is a plain line where a damage is not above 0', async () => {
    const { measure } = metricOf((bits) => (bits === 2 ? 1.25 : bits === 3 ? 0.25 : -0.75));
    const { damage } = await damageTable(float, ground([2, 2.25, 3, 3.5, 4]), settings, told, context({ measure }));
    expect(damage[0]).toEqual([1, 0.75, 0, -0.5, -1]);
  });

  it('does not measure what rounding does not change', async () => {
    const { measured, measure } = metricOf(() => 5);
    const exact: Rounder = async (layer, bits) => ({ ...(await told(layer, bits)), noise: bits === 2 ? 1 : 0 });
    const { damage } = await damageTable(float, ground([2, 3]), settings, exact, context({ measure }));
    expect(damage).toEqual([
      [4.75, 0],
      [0.75, 0],
    ]);
    expect(measured).toEqual([2, 2]);
  });

  it('is kept for the same model, layers and settings', async () => {
    const { measured, measure } = metricOf(() => 5);
    const given = context({ measure });
    const table = await damageTable(float, ground([2, 3]), settings, told, given);
    expect(await damageTable(float, ground([2, 3]), settings, told, given)).toBe(table);
    expect(measured).toHaveLength(4);
    let seen = measured.length;
    for (const changed of [{ damage: 'top1 ' }, { samples: 5 }, { rounding: 'descent' }, { scales: 'minmax' }]) {
      const more: Partial<PassContext> = {
        measure: async (model) => ({ metrics: [...(await measure(model)).metrics, result({ name: 'top1 ' })] }),
        memory: given.memory,
      };
      await damageTable(float, ground([2, 3]), { ...settings, ...changed }, told, context(more));
      // Each of them is kept instead of what was before.
      expect(measured.length).toBe((seen += 4));
    }
    for (const again of [smallConvNet(), float]) {
      await damageTable(again, ground([2, 3]), settings, told, given);
      expect(measured.length).toBe((seen += 4));
    }
    await damageTable(float, ground([2, 4]), settings, told, given);
    expect(measured.length).toBe(seen + 4);
  });
});

describe('what was measured before', () => {
  it('is found in the memory of the pass or in the cache of the stage, and stored in both', async () => {
    let measured = 0;
    const ask = (memory: Map<string, unknown>, cache?: Map<string, unknown>) =>
      remembered(context({ memory, ...(cache ? { cache } : {}) }), 'name', float, [], ground([2]).layers, () =>
        Promise.resolve(++measured),
      );
    const [memory, cache] = [new Map<string, unknown>(), new Map<string, unknown>()];
    expect([await ask(memory, cache), await ask(memory), await ask(new Map(), cache)]).toEqual([1, 1, 1]);
    const [fresh, empty] = [new Map<string, unknown>(), new Map<string, unknown>()];
    expect([await ask(fresh, cache), await ask(fresh), await ask(fresh, empty), await ask(new Map(), empty)]).toEqual([
      1, 1, 1, 1,
    ]);
    expect(await ask(new Map())).toBe(2);
  });
});

describe('measures of damage', () => {
  it('are the noise at the outputs', async () => {
    const measure = await damageMeasure(context(), float, 'output', 4);
    const [layer] = layers as [(typeof layers)[number]];
    const rounded = withRounded(float, new Map([[layer, roundLayer(layer, 2, 'mse')]]));
    expect(await measure.of(rounded)).toBe(await (await openProbe(context(), float, 4)).noise(rounded));
    expect([measure.text(0.01), measure.sum(0.001)]).toEqual([
      '20.0 dB',
      'expected at the output 30.0 dB from weights alone',
    ]);
  });

  it.each<[string, Partial<MetricResult>, number, string, string]>([
    ['points', { unit: '%', drop: 1.5 }, 1.5, '1.50 points', 'drop'],
    ['dB', { unit: 'dB', drop: 3 }, 3, '3.00 dB', 'drop'],
    ['plain numbers', { unit: '', drop: 0.25 }, 0.25, '0.25', 'drop'],
    ['noise', { unit: 'dB', reference: Infinity, value: 20, drop: Infinity }, 0.01, '1.0e-2 of the signal', 'noise'],
  ])('are the drop of a metric in %s, beside what the float model has', async (_, more, expected, text, word) => {
    const perfect = result({ ...more, drop: 0, value: more.reference ?? 90 });
    const measure = await damageMeasure(
      context({ measure: (model) => Promise.resolve({ metrics: [model === float ? perfect : result(more)] }) }),
      float,
      'top1',
      4,
    );
    expect(await measure.of(smallConvNet())).toBe(expected);
    expect(measure.text(expected)).toBe(text);
    expect(measure.sum(expected)).toBe(`expected ${word} of top1 ${text} from weights alone`);
  });

  it('are refused where they are not measured, with those that are', async () => {
    const { measure } = metricOf(() => 1);
    await expect(damageMeasure(context({ measure }), float, 'top5', 4)).rejects.toMatchObject({
      code: 'schedule',
      message: expect.stringContaining('"top5" is not measured') as string,
      hint: 'measured are: output, top1',
    });
  });
});

describe('the result of an allocator', () => {
  const o = sensitivityAllocator.options.parse({ budget: { weights: 4 } });

  it('is the model as it was, with the plan, the preview, and a sentence a layer', async () => {
    const given = await prepareGround(float, o, context());
    const named: Ground = {
      ...given,
      layers: given.layers.map((layer, i) => (i === 0 ? { ...layer, nodes: ['conv1', 'more'], rule: 'why' } : layer)),
    };
    const bits = [2, 3, 4, 8];
    const round: Rounder = (layer, b) => Promise.resolve(roundLayer(layer, b, 'mse'));
    const got = await planResult(float, named, bits, round, (layer, i) => `${layer.name} ${i}`, ['note']);
    expect(got.model).toBe(float);
    expect([...(got.plan ?? [])].map(([name, { weights }]) => [name, weights?.kind === 'int' && weights.bits])).toEqual(
      [
        ['conv1', 2],
        ['more', 2],
        ['conv2', 3],
        ['dw', 4],
        ['fc', 8],
      ],
    );
    expect(got.changed).toEqual([
      { layer: 'conv1, more', text: '2 bits: conv1 0 (why)' },
      { layer: 'conv2', text: '3 bits: conv2 1' },
      { layer: 'dw', text: '4 bits: dw 2' },
      { layer: 'fc', text: '8 bits: fc 3' },
    ]);
    // 216·2 + 576·3 + 72·4 + 40·8 bits, all of them whole bytes.
    expect(got.notes).toEqual(['mean 3.06 bits a weight: 346 bytes of packed weights, at 8 bits 904', 'note']);
    const stored = initializers((got.preview ?? float).graph);
    for (const [i, layer] of given.layers.entries())
      for (const [k, { weight }] of layer.weights.entries())
        expect(floatData(stored.get(weight.tensor.name) as never)).toEqual(
          roundLayer(layer, bits[i] as number, 'mse').data[k],
        );
  });

  it('is refused for a model that is quantized, or has nothing to plan', async () => {
    await expect(prepareGround(float, o, context({ twin: float }))).rejects.toMatchObject({
      code: 'schedule',
      message: 'the model is quantized already',
      hint: expect.stringContaining('before the quantizer') as string,
    });
    const up = makeNode('ConvTranspose', ['x', 'w'], ['y'], {}, { name: 'up' });
    const other = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [3, 4, 2, 2], 1)],
      nodes: [up],
    });
    await expect(prepareGround(other, o, context())).rejects.toMatchObject({
      code: 'schedule',
      hint: expect.stringMatching(/^up: .*ConvTranspose/) as string,
    });
    const relu = { ...float.graph.node[1], input: ['x'], output: ['y'] } as (typeof float.graph.node)[number];
    const { graph } = float;
    const bare = { ...float, graph: { ...graph, node: [relu], initializer: [] } };
    await expect(prepareGround(bare, o, context())).rejects.toThrow('no layer that the quantizer could store');
  });

  it('writes numbers so that they can be read', () => {
    expect(counted({ ...layers[0], parameters: 1234567 } as never)).toBe('1,234,567 parameters');
    expect([dB(0), dB(0.5), dB(1e-4)]).toEqual(['∞ dB', '3.0 dB', '40.0 dB']);
  });
});

describe('outputs that are no numbers', () => {
  /** Its output through a Log: none where the sum is negative. */
  const logged = edit(float, (draft) => {
    const last = draft.nodes().at(-1)!;
    draft.update(last, { output: ['sum'] });
    draft.addNode(makeNode('Log', ['sum'], ['y']));
  });

  it('of the float model end the work, with their name', async () => {
    await expect(openProbe(context(), logged, 4)).rejects.toThrow(
      /^the output "y" of the float model holds NaN on calibration samples/,
    );
  });

  it('of a candidate are a damage beyond all others, and still a number', async () => {
    const probe = await openProbe(context(), float, 4);
    expect(await probe.error(logged)).toEqual({ noise: 1e30, along: 0 });
  });
});
