import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { modelBytes } from '../../../src/graph/file.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import { opset } from '../../../src/graph/query.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { formats } from '../../../src/numerics/formats/index.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { initializerBytes } from '../../../src/passes/encode/store.ts';
import { packed } from '../../../src/passes/allocate/format_bytes.ts';
import { formatChoices, formatCosts } from '../../../src/passes/allocate/choices.ts';
import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { sensitivityAllocator } from '../../../src/passes/allocate/sensitivity.ts';
import { sqnrAllocator } from '../../../src/passes/allocate/sqnr.ts';
import type { Plan } from '../../../src/passes/pass.ts';
import { weightRows } from '../../../src/passes/quantize/format_weights.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';

/** Layers of as many weights; the second has those of the first twice as large and the other way round, so that their codes are alike. */
const chain = (count: number): Model =>
  makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 40])],
    outputs: [makeValue(`h${count}`, 'float32', ['N', 40])],
    initializers: Array.from({ length: count }, (_, i) => {
      const own = noise(i === 1 ? 1 : i + 1, 1600);
      return makeTensor(`w${i}`, 'float32', [40, 40], i === 1 ? own.reverse().map((v) => 2 * v) : own);
    }),
    nodes: Array.from({ length: count }, (_, i) =>
      makeNode('MatMul', [i === 0 ? 'x' : `h${i}`, `w${i}`], [`h${i + 1}`], {}, { name: `layer${i}` }),
    ),
  });
const three = chain(3);
const context = (more: object = {}) =>
  testContext({ calibration: [{ x: floats(noise(9, 16 * 40), [16, 40]) }], reference: three, ...more });
const weightFormats = formats.map(({ name }) => name).filter((name) => !writtenFormat.parse(name).notWeights);
const list = ['ternary', 'int3', 'codebook:bits=3', 'int4', 'nf4', 'codebook', 'int8'];

/** The file that a schedule with FormatQuantizer and WeightEncoder ends with. */
async function fileOf(model: Model, options: object, plan: Plan = new Map()): Promise<number> {
  const ctx = context({ plan });
  const { model: held } = await formatQuantizer.apply(model, formatQuantizer.options.parse(options), ctx);
  return modelBytes(await packed(held, ctx));
}

describe('the bytes that a weight is said to take in a format', () => {
  it.each(weightFormats)('are those by which the file grows with one more layer: %s', async (format) => {
    const { layers: all } = layers(chain(1));
    const costs = await formatCosts(all, [writtenFormat.parse(format)], 13, context());
    const [one, two] = [await fileOf(chain(1), { format }), await fileOf(chain(2), { format })];
    const float = async (count: number): Promise<number> =>
      modelBytes(await packed(chain(count), context(), { forms: [] }));
    // What the float file grows by is the node and 1,600 floats.
    const node = (await float(2)) - (await float(1)) - initializerBytes('w0', 'float32', [40, 40]);
    // Names of one letter or of two.
    expect(Math.abs(two - one - node - (costs.get('w0')?.[0]?.bytes ?? NaN))).toBeLessThanOrEqual(16);
  });

  it('add up to the file of a plan: none is paid twice, nothing is left out', async () => {
    const { plan, notes } = await sensitivityAllocator.apply(
      three,
      sensitivityAllocator.options.parse({
        ...{ quantizer: 'FormatQuantizer', formats: list, budget: { bytes: 2200 }, samples: 16 },
      }),
      context(),
    );
    const said = Number(/about (\d+) bytes/.exec(notes?.join() ?? '')?.[1]);
    const file = await fileOf(three, {}, plan);
    expect(said).toBeLessThanOrEqual(2200);
    // What decoders share, such as the table of the bits of all bytes, is paid once and in no layer's price.
    expect(file).toBeGreaterThan(said - 100);
    expect(file).toBeLessThan(said + 700);
  });
});

describe('formats that a layer may get', () => {
  it('are one at least', () => {
    const none = { quantizer: 'FormatQuantizer', formats: [], budget: { weights: 6 } };
    expect(() => sensitivityAllocator.options.parse(none)).toThrow('name at least one format');
  });

  it('are all of them where outputs are measured, else those that none beats in bytes and error of the weights', async () => {
    const [layer] = layers(three).layers;
    const parsed = list.map((text) => writtenFormat.parse(text));
    const costs = await formatCosts([layer!], parsed, opset(three), context());
    const all = formatChoices([layer!], costs, true);
    const best = formatChoices([layer!], costs, false);
    expect([...all.values()].map(({ label }) => label).sort()).toEqual(parsed.map(({ label }) => label).sort());
    expect(best.size).toBeLessThan(all.size);
    const noises = [...best.values()].map((format) => {
      const rows = weightRows(layer!);
      return formatCodes(format, rows, {}).values.reduce((sum, v, i) => sum + (v - rows.data[i]!) ** 2, 0);
    });
    expect(noises).toEqual([...noises].sort((a, b) => b - a));
    expect([...best.keys()]).toEqual([...best.keys()].sort((a, b) => a - b));
  });

  it('make a better model than widths in as few bytes', async () => {
    const quality = async (formats: string[], rounding: string) => {
      const result = await sensitivityAllocator.apply(
        three,
        sensitivityAllocator.options.parse({
          ...{ quantizer: 'FormatQuantizer', formats, budget: { weights: 6 }, samples: 16, rounding },
        }),
        context(),
      );
      return (await openProbe(context(), three, 16)).noise(result.preview!);
    };
    const widths = list.filter((name) => name.startsWith('int'));
    for (const rounding of ['nearest', 'descent'])
      expect(await quality(list, rounding)).toBeLessThan(await quality(widths, rounding));
  });

  it('are measured once for all budgets', async () => {
    const memory = new Map<string, unknown>();
    let packs = 0;
    const ctx = (): object => ({
      memory,
      progress: (_: number, what = '') => (packs += / in (int|nf4)/.test(what) ? 1 : 0),
    });
    for (const weights of [8, 7])
      await sqnrAllocator.apply(
        three,
        sqnrAllocator.options.parse({ quantizer: 'FormatQuantizer', formats: ['int3', 'nf4'], budget: { weights } }),
        context(ctx()),
      );
    expect(packs).toBe(6);
  });

  it('are rounded by descent as FormatQuantizer will', async () => {
    const options = { quantizer: 'FormatQuantizer', formats: ['int3', 'nf4'], samples: 16, rounding: 'descent' };
    const planned = await sensitivityAllocator.apply(
      three,
      sensitivityAllocator.options.parse({ ...options, budget: { weights: 6 } }),
      context(),
    );
    const held = await formatQuantizer.apply(
      three,
      formatQuantizer.options.parse({ rounding: 'descent', samples: 16 }),
      context({ plan: planned.plan }),
    );
    const probe = await openProbe(context(), three, 16);
    const [seen, made] = [await probe.noise(planned.preview!), await probe.noise(held.model)];
    // The same codes: what is left is the order of float additions.
    expect(made / seen).toBeCloseTo(1, 3);
  });
});
