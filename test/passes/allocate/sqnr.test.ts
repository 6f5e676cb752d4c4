import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, elementCount, makeTensor } from '../../../src/graph/tensor.ts';
import { plannedLayers } from '../../../src/passes/allocate/layers.ts';
import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { roundLayer, withRounded } from '../../../src/passes/allocate/rounded.ts';
import { sensitivityAllocator } from '../../../src/passes/allocate/sensitivity.ts';
import { sqnrAllocator } from '../../../src/passes/allocate/sqnr.ts';
import type { PassContext, PassResult, Plan } from '../../../src/passes/pass.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const calibration = [{ x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) }];
const context = (given: Partial<PassContext> = {}) => testContext({ calibration, ...given });
const float = smallConvNet();
const sqnr = (options: object, given = context(), model: Model = float): Promise<PassResult> =>
  sqnrAllocator.apply(model, sqnrAllocator.options.parse({ samples: 4, ...options }), given);
const wholes = [2, 3, 4, 5, 6, 7, 8];
const { layers } = plannedLayers(float, await context().shapes(float), {
  ...{ first: null, last: null, limits: {}, together: [], scales: 'mse', widths: null },
  quantizer: 'PostTrainLinearQuantizer',
});
const bitsOf = (plan: Plan | undefined): number[] =>
  [...(plan ?? []).values()].map(({ weights }) => (weights && 'bits' in weights ? weights.bits : NaN));
const log = (ratio: number): number => 10 * Math.log10(ratio);
const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);

/** Noise-to-signal ratio of each layer's weights at 2 to 8 bits. */
const weightNoise = layers.map((layer) => wholes.map((bits) => roundLayer(layer, bits, 'mse').noise));
/** How much of a layer's noise arrives at the output. */
async function gainAt(bits: number, scales: 'mse' | 'coded' = 'mse', list = layers): Promise<number[]> {
  const probe = await openProbe(context(), float, 4);
  const gains: number[] = [];
  for (const layer of list) {
    const rounded = roundLayer(layer, bits, scales);
    gains.push((await probe.noise(withRounded(float, new Map([[layer, rounded]])))) / rounded.noise);
  }
  return gains;
}
/** Least squares: slope and offset of dB over bits. */
function line(noises: readonly number[]): { slope: number; offset: number } {
  const dB = noises.map((n) => -log(n));
  const slope = sum(wholes.map((b, i) => (b - 5) * (dB[i] as number))) / sum(wholes.map((b) => (b - 5) ** 2));
  return { slope, offset: sum(dB) / 7 - slope * 5 };
}
const numbersIn = ({ changed }: PassResult, pattern: RegExp): number[] =>
  changed.map(({ text }) => Number(pattern.exec(text)?.[1]));

/** The least of `of` over all widths of all layers for which `fits`. */
function best(of: (picks: readonly number[]) => number, fits: (picks: readonly number[]) => boolean): number {
  let least = Infinity;
  for (let code = 0; code < 7 ** 4; code++) {
    const picks = [0, 1, 2, 3].map((i) => Math.floor(code / 7 ** i) % 7);
    if (fits(picks)) least = Math.min(least, of(picks));
  }
  return least;
}
const costOf = (picks: readonly number[]) => sum(picks.map((k, i) => (layers[i]?.parameters ?? 0) * (k + 2)));

describe("Lin's allocation", () => {
  it.each([6, 'fitted'] as const)('has the real widths of the closed form for κ %s', async (kappa) => {
    const result = await sqnr({ budget: { weights: 5 }, gains: 'equal', kappa });
    const ideal = numbersIn(result, /ideal ([\d.]+)/);
    const fits = weightNoise.map((noises) => {
      const { slope, offset } = line(noises);
      return kappa === 6
        ? { slope: 6, offset: sum(noises.map((n, i) => -log(n) - 6 * (i + 2))) / 7 }
        : { slope, offset };
    });
    // All where noise times slope over cost is the same, as far as no end is reached: β = (10/κ)·log10(s·κ/ρ) + a constant of 1/κ.
    const level = fits.map(({ slope, offset }, i) =>
      Number(ideal[i]) === 8 || Number(ideal[i]) === 2
        ? NaN
        : slope * (ideal[i] as number) - log((10 ** (-offset / 10) * slope) / (layers[i]?.parameters ?? 0)),
    );
    const free = level.filter((v) => !Number.isNaN(v));
    expect(free.length).toBeGreaterThan(2);
    // The report rounds to 0.01 bit, which is 0.06 dB.
    for (const v of free) expect(Math.abs(v - (free[0] as number))).toBeLessThan(0.15);
    expect(sum(ideal.map((b, i) => b * (layers[i]?.parameters ?? 0))) / 904).toBeCloseTo(5, 1);
    numbersIn(result, /κ ([\d.]+) dB a bit/).forEach((v, i) => expect(v).toBeCloseTo(fits[i]?.slope ?? NaN, 1));
    expect(result.changed[0]?.text).not.toContain('gain');
  });

  it('has the best whole widths of the same model, of all combinations', async () => {
    for (const gains of ['equal', 'measured'] as const) {
      const gain = gains === 'equal' ? [1, 1, 1, 1] : await gainAt(3);
      const noiseAt = (picks: readonly number[]) =>
        sum(picks.map((k, i) => (weightNoise[i]?.[k] as number) * (gain[i] as number)));
      const result = await sqnr({ budget: { weights: 4 }, gains, probe_bits: 3 });
      const picks = bitsOf(result.plan).map((b) => b - 2);
      expect(costOf(picks)).toBeLessThanOrEqual(4 * 904);
      expect(noiseAt(picks)).toBeCloseTo(
        best(noiseAt, (p) => costOf(p) <= 4 * 904),
        10,
      );
      const expected = (-log(noiseAt(picks))).toFixed(1);
      expect(result.notes?.[1]).toBe(
        `${(costOf(picks) / 904).toFixed(2)} bits a weight; expected at the output ${expected} dB from weights alone`,
      );
      const own = picks.map((k, i) => weightNoise[i]?.[k] as number);
      numbersIn(result, /weights at ([-\d.]+) dB/).forEach((v, i) => expect(v).toBeCloseTo(-log(own[i] as number), 1));
      numbersIn(result, /at the output ([-\d.]+) dB/).forEach((v, i) =>
        expect(v).toBeCloseTo(-log((own[i] as number) * (gain[i] as number)), 1),
      );
      if (gains === 'measured')
        numbersIn(result, /gain ([-\d.]+) dB/).forEach((v, i) => expect(v).toBeCloseTo(log(gain[i] as number), 1));
    }
  });

  it('reaches an SQNR with widths none of which could be one less', async () => {
    const gain = await gainAt(4);
    const noiseAt = (picks: readonly number[]) =>
      sum(picks.map((k, i) => (weightNoise[i]?.[k] as number) * (gain[i] as number)));
    for (const target of [12, 20, 30]) {
      const picks = bitsOf((await sqnr({ target_sqnr: target })).plan).map((b) => b - 2);
      expect(-log(noiseAt(picks))).toBeGreaterThanOrEqual(target);
      for (const i of picks.keys())
        if ((picks[i] as number) > 0)
          expect(-log(noiseAt(picks.map((k, j) => k - Number(i === j))))).toBeLessThan(target);
    }
    await expect(sqnr({ target_sqnr: 90 })).rejects.toThrow('cannot be reached');
  });

  it('takes a gain between that at 1 bit and that at probe_bits below 2 bits, for coded steps', async () => {
    const coded = plannedLayers(float, await context().shapes(float), {
      ...{ first: null, last: null, limits: {}, together: [], scales: 'coded', widths: null },
      quantizer: 'PostTrainLinearQuantizer',
    }).layers;
    const [low, usual] = [await gainAt(1, 'coded', coded), await gainAt(4, 'coded', coded)];
    const said: [number, string | undefined][] = [];
    for (const [bits, part] of [
      [0.5, 1],
      [1, 1],
      [1.5, 0.5],
      [1.75, 0.25],
      [2, 0],
      [3, 0],
    ] as const) {
      const given = context({ progress: (done, doing) => said.push([done, doing]) });
      const gains = numbersIn(
        await sqnr({ budget: { weights: 8 }, scales: 'coded', widths: [bits] }, given),
        /gain ([-\d.]+)/,
      );
      gains.forEach((v, i) =>
        expect(v).toBeCloseTo(log((usual[i] as number) ** (1 - part) * (low[i] as number) ** part), 1),
      );
    }
    expect(said.slice(0, 4)).toEqual(['conv1', 'conv2', 'dw', 'fc'].map((name, i) => [i / 4, `gain of ${name}`]));
  });

  it('gives the least bits to weights without error, or that do not reach the output', async () => {
    // Codes of two bits hold −1, 0 and 1.
    const flat = edit(float, (draft) => {
      for (const [name, value] of [
        ['conv1.weight', 0.5],
        ['dw.weight', 0],
      ] as const) {
        const tensor = initializers(float.graph).get(name) as never;
        const data = new Float32Array(elementCount(dimsOf(tensor))).fill(value);
        draft.replace(name, makeTensor(name, 'float32', dimsOf(tensor), data));
      }
    });
    for (const kappa of ['fitted', 6]) {
      const { plan, changed } = await sqnr({ budget: { weights: 5 }, kappa }, context(), flat);
      const [first, , dw] = bitsOf(plan);
      expect([first, dw]).toEqual([2, 2]);
      expect(changed[0]?.text).toContain('weights at ∞ dB');
    }
  });

  it('measures gains once for all budgets', async () => {
    let computed = 0;
    const plain = context();
    const given = context({ compute: (...args) => (computed++, plain.compute(...args)) });
    await sqnr({ budget: { weights: 5 } }, given);
    expect(computed).toBe(4);
    await sqnr({ budget: { weights: 3 } }, given);
    expect(computed).toBe(4);
    for (const other of [{ probe_bits: 5 }, { scales: 'minmax' }, { samples: 3 }]) {
      const before = computed;
      await sqnr({ budget: { weights: 3 }, ...other }, given);
      expect(computed).toBe(before + 4);
    }
  });

  it.each([
    [{ gains: 'guessed' }, false],
    [{ kappa: 0 }, false],
    [{ kappa: 6.02 }, true],
    [{ kappa: 'fitted', gains: 'measured' }, true],
    [{ probe_bits: 1 }, false],
    [{ probe_bits: 2 }, true],
    [{ probe_bits: 8 }, true],
    [{ probe_bits: 9 }, false],
    [{ probe_bits: 2.5 }, false],
    [{ more: 1 }, false],
    [{ budget: { weights: 4 } }, false],
  ])('options %j: %s', (given, fits) => {
    expect(sqnrAllocator.options.safeParse({ target_sqnr: 20, ...given }).success).toBe(fits);
  });

  it('has defaults', () => {
    expect(sqnrAllocator.options.parse({ target_sqnr: 20 })).toMatchObject({
      ...{ gains: 'measured', kappa: 'fitted', probe_bits: 4 },
    });
  });
});

describe('allocation by sensitivity', () => {
  const sensitivity = (options: object, given = context()) =>
    sensitivityAllocator.apply(float, sensitivityAllocator.options.parse({ samples: 4, ...options }), given);

  it('meets a target at the least cost of all combinations', async () => {
    const probe = await openProbe(context(), float, 4);
    const damage: number[][] = [];
    for (const layer of layers) {
      const row: number[] = [];
      for (const bits of wholes) {
        const own = await probe.noise(withRounded(float, new Map([[layer, roundLayer(layer, bits, 'mse')]])));
        row.push(Math.min(own, row.at(-1) ?? Infinity));
      }
      damage.push(row);
    }
    const noiseAt = (picks: readonly number[]) => sum(picks.map((k, i) => damage[i]?.[k] as number));
    const { plan, changed, notes } = await sensitivity({ target_sqnr: 22 });
    const picks = bitsOf(plan).map((b) => b - 2);
    expect(-log(noiseAt(picks))).toBeGreaterThanOrEqual(22);
    expect(costOf(picks)).toBe(best(costOf, (p) => -log(noiseAt(p)) >= 22));
    // All damages of a layer, the one that is taken marked.
    expect(changed[3]?.text).toBe(
      `${picks[3]! + 2} bits: 40 parameters; ${wholes
        .map((w, k) => `${k === picks[3] ? '▸' : ''}${w}: ${(-log(damage[3]?.[k] as number)).toFixed(1)} dB`)
        .join(', ')}`,
    );
    expect(notes?.[1]).toBe(
      `${(costOf(picks) / 904).toFixed(2)} bits a weight; expected at the output ${(-log(noiseAt(picks))).toFixed(1)} dB from weights alone`,
    );
  });

  it('says what cannot be', async () => {
    await expect(sensitivity({ target_sqnr: 90 })).rejects.toMatchObject({
      code: 'schedule',
      message: expect.stringMatching(
        /an SQNR of 90\.0 dB cannot be reached: the widths allowed give \d+\.\d dB$/,
      ) as string,
    });
    const metric = {
      name: 'top1',
      value: 1,
      reference: 1,
      drop: 0,
      unit: '%',
      higherIsBetter: true,
      samples: 4,
    } as const;
    const given = context({ measure: () => Promise.resolve({ metrics: [metric] }) });
    await expect(sensitivity({ target_sqnr: 20, damage: 'top1' }, given)).rejects.toThrow('not with damage: top1');
  });
});
