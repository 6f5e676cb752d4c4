import { makeModel, makeNode, makeValue } from '../../../../src/graph/build.ts';
import { channelGroups } from '../../../../src/graph/channels.ts';
import { makeTensor } from '../../../../src/graph/tensor.ts';
import { channelPruner } from '../../../../src/passes/prune/structure/channel_pruner.ts';
import { costOf } from '../../../../src/passes/prune/structure/cost.ts';
import { images, redundantNet, dims, distance } from './networks.ts';
import { energyOf } from '../../../../src/numerics/energy.ts';
import { runModel, testContext } from '../../../helpers/context.ts';

const model = redundantNet();
const calibration = images(16);
const fresh = images(20).slice(18)[0] as (typeof calibration)[number];
const prune = (given: object) =>
  channelPruner.apply(
    model,
    channelPruner.options.parse({ samples: 128, ridge: 1e-8, ...given }),
    testContext({ calibration }),
  );
const inner = ['a', 'h'];

describe('ChannelPruner', () => {
  it('finds channels that repeat others, cuts them, and loses nothing', async () => {
    // 4 of 8 filters and 6 of 12 hidden units can go: what is left of a, b, h and fc is half, the stem is whole.
    const { model: cut, changed, notes } = await prune({ budget: { macs: 0.6 }, weights: inner });
    expect([dims(cut, 'a.weight'), dims(cut, 'b.weight')]).toEqual([
      [4, 6, 3, 3],
      [6, 4, 3, 3],
    ]);
    const [before, after] = [await runModel(model, fresh), await runModel(cut, fresh)];
    // The refitted weights are the sums of two float32 weights; nothing else is inexact.
    expect(distance(after, before)).toBeLessThan(1e-4);
    expect(changed.map((note) => note.text).join('\n')).toContain('8 → 4 channels');
    expect(notes?.find((note) => note.startsWith('MACs'))).toMatch(/\d+ → \d+ \((5[0-9]|60)\.\d %\)/);
  });

  it('is far off without the refit', async () => {
    const { model: cut } = await prune({ budget: { macs: 0.6 }, weights: inner, reconstruct: false });
    const [before, after] = [await runModel(model, fresh), await runModel(cut, fresh)];
    expect(distance(after, before)).toBeGreaterThan(0.1);
  });

  it.each([
    { budget: { macs: 0.5 } },
    { budget: { parameters: 0.4 } },
    { budget: { bytes: 0.4 }, allocation: 'layerwise' },
    { budget: { energy: 0.5 } },
    { budget: { macs: 0.5 }, allocation: 'uniform' },
    { budget: { macs: 0.5 }, criterion: 'l1' },
    { budget: { macs: 0.5 }, criterion: 'apoz', allocation: 'uniform' },
    { budget: { macs: 0.5 }, criterion: 'activation_mean', reconstruct: false, allocation: 'uniform' },
    { budget: { macs: 0.5 }, criterion: 'random', multiple: 2 },
  ])('meets %j, and the cost it foretells is the cost of the model it gives', async (given) => {
    const { model: cut } = await prune(given);
    const [unit, share] = Object.entries(given.budget)[0] as ['macs' | 'parameters' | 'bytes' | 'energy', number];
    const context = testContext({ calibration });
    const cost = async (m: typeof model): Promise<number> =>
      costOf(m, channelGroups(m, await context.shapes(m)), unit).total();
    expect(await cost(cut)).toBeLessThanOrEqual(share * (await cost(model)));
    for (const n of [1, 32]) {
      const x = { x: { type: 'float32' as const, dims: [n, 3, 8, 8], data: new Float32Array(n * 192).fill(0.1) } };
      expect((await runModel(cut, x)).y?.dims).toEqual([n, 5]);
    }
    if (given.multiple)
      expect([dims(cut, 'a.weight'), dims(cut, 'h.weight')].map((d) => (d[0] as number) % 2)).toEqual([0, 0]);
  });

  it('says what it left alone and why', async () => {
    const { skipped } = await prune({ budget: { macs: 0.9 }, weights: ['a'] });
    expect(skipped).toContainEqual({ layer: 'fc', text: 'cannot be cut: graph output "y"' });
    expect(skipped.find((note) => note.layer === 'stem')?.text).toContain('no entry of the pruner names it');
  });

  it('refuses a budget that cannot be met', async () => {
    await expect(prune({ budget: { macs: 0.001 } })).rejects.toMatchObject({
      code: 'schedule',
      message: expect.stringContaining('the budget cannot be met') as string,
    });
  });

  it('ramps over the epochs of its policy, the budget being of the model it saw first', async () => {
    const memory = new Map<string, unknown>();
    const o = channelPruner.options.parse({ budget: { macs: 0.5 }, samples: 16 });
    let now = model;
    const shares: string[] = [];
    for (const epoch of [0, 1, 2]) {
      const ctx = testContext({ calibration, memory, clock: { epoch, start: 0, end: 3, frequency: 1 } });
      now = (await channelPruner.apply(now, o, ctx)).model;
      const cost = async (m: typeof model) => costOf(m, channelGroups(m, await ctx.shapes(m)), 'macs').total();
      shares.push(((await cost(now)) / (await cost(model))).toFixed(2));
    }
    // 1 − (1 − 0.5)(1 − (1 − t)³) at t = 0, 0.5, 1: 1, 0.5625, 0.5. Whole channels only, and one of the stem is a sixth.
    expect(shares[0]).toBe('1.00');
    expect(Number(shares[1])).toBeLessThanOrEqual(0.5625);
    expect(Number(shares[1])).toBeGreaterThan(0.45);
    expect(Number(shares[2])).toBeLessThanOrEqual(0.5);
  });
});

describe('costOf', () => {
  it('counts MACs and parameters of the untouched model as one does by hand', async () => {
    const channels = channelGroups(model, await testContext({ calibration }).shapes(model));
    const macs = 64 * (6 * 3 * 9 + 8 * 6 * 9 + 6 * 8 * 9) + 12 * 96 + 5 * 12;
    const parameters = 6 * 27 + 6 + 8 * 54 + 8 + 6 * 72 + 6 + 12 * 96 + 12 + 5 * 12 + 5;
    expect(costOf(model, channels, 'macs').total()).toBe(macs);
    expect(costOf(model, channels, 'parameters').total()).toBe(parameters);
    expect(costOf(model, channels, 'bytes').total()).toBe(4 * parameters);
  });

  it('adds up energy as one does by hand: every weight from DRAM, what goes in and out of layers by SRAM, and the arithmetic', async () => {
    const channels = channelGroups(model, await testContext({ calibration }).shapes(model));
    const [macs, parameters] = (['macs', 'parameters'] as const).map((unit) => costOf(model, channels, unit).total());
    // Stem, a and b on 8 × 8 places, h behind the pooling, fc.
    const words = 64 * (3 + 6 + (6 + 8) + (8 + 6)) + (96 + 12) + (12 + 5);
    // Han et al. 2016, table 1: 0.9 + 3.7 pJ a multiply-accumulate, 640 and 5 pJ a word.
    expect(costOf(model, channels, 'energy').total()).toBeCloseTo(4.6 * macs! + 640 * parameters! + 5 * words, 3);
    const work = { macs: macs!, weights: parameters!, inputs: words, outputs: 0, weightBytes: 4, codeBytes: 4 };
    expect(costOf(model, channels, 'energy').total() / 1e6).toBeCloseTo(energyOf([work]).float.total, 9);
  });

  it('gives the energy of a cut as the cut model has it, and says it', async () => {
    const { model: cut, notes } = await prune({ budget: { energy: 0.6 } });
    const context = testContext({ calibration });
    const energy = async (m: typeof model) => costOf(m, channelGroups(m, await context.shapes(m)), 'energy').total();
    const [before, after] = [await energy(model), await energy(cut)];
    expect(after).toBeLessThanOrEqual(0.6 * before);
    expect(notes?.find((note) => note.startsWith('energy'))).toBe(`energy: ${(before / 1e6).toPrecision(4)} µJ → ${(after / 1e6).toPrecision(4)} µJ (${((100 * after) / before).toFixed(1)} %)`); // prettier-ignore
  });

  it('counts the MACs of one sample, whichever side the weights stand on', () => {
    // Two samples [6, 4] through a stored matrix on the right, then one on the left.
    const turned = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [2, 6, 4])],
      outputs: [makeValue('z', 'float32', [2, 3, 5])],
      initializers: [
        makeTensor('w', 'float32', [4, 5], new Float32Array(20)),
        makeTensor('a', 'float32', [3, 6], new Float32Array(18)),
      ],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y']), makeNode('MatMul', ['a', 'y'], ['z'])],
    });
    const shapes = new Map(
      [
        ['x', [2, 6, 4]] as const,
        ['w', [4, 5]] as const,
        ['a', [3, 6]] as const,
        ['y', [2, 6, 5]] as const,
        ['z', [2, 3, 5]] as const,
      ].map(([name, dims]) => [name, { type: 'float32' as const, dims: [...dims] }]),
    );
    expect(costOf(turned, channelGroups(turned, shapes), 'macs').total()).toBe(6 * 4 * 5 + 3 * 6 * 5);
  });
});

describe('levels of single layers', () => {
  it('cut the share asked for and nothing else', async () => {
    const { model: cut, notes } = await prune({ levels: { a: 0.5, h: 0.25 } });
    expect([dims(cut, 'a.weight')[0], dims(cut, 'h.weight')[0], dims(cut, 'stem.weight')[0]]).toEqual([4, 9, 6]);
    expect(notes?.some((note) => note.startsWith('parameters'))).toBe(true);
    // Half of a and a quarter of h only repeat what is left.
    expect(distance(await runModel(cut, fresh), await runModel(model, fresh))).toBeLessThan(1e-4);
  });

  it('are weaker on retry, and exclude a budget', () => {
    const o = channelPruner.options.parse({ levels: { a: 0.5 } });
    expect(channelPruner.strength!.at(o, 0.5).levels).toEqual({ a: 0.25 });
    expect(channelPruner.options.safeParse({ levels: { a: 0.5 }, budget: { macs: 0.5 } }).success).toBe(false);
    expect(channelPruner.options.safeParse({}).success).toBe(false);
  });
});
