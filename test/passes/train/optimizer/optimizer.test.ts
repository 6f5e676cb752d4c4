import { readFileSync } from 'node:fs';
import { dynamicTree } from '../../../../src/numerics/formats/dynamic_tree.ts';
import type { OptimizerKind } from '../../../../src/passes/train/kinds.ts';
import { adam, adamScalars } from '../../../../src/passes/train/optimizer/adam.ts';
import { eightBit, rounded } from '../../../../src/passes/train/optimizer/eight_bit.ts';
import { optimizerKinds } from '../../../../src/passes/train/optimizer/index.ts';
import { sgd } from '../../../../src/passes/train/optimizer/sgd.ts';
import {
  accumulated, accumulation, averageDecay, averaged, clippedByValue,
} from '../../../../src/passes/train/optimizer/wrap.ts'; // prettier-ignore
import { floats } from '../../../helpers/context.ts';
import fc from '../../../helpers/fc.ts';
import { noise } from '../../../helpers/models.ts';
import { apart, evaluate, trajectory } from '../graph.ts';

const golden = JSON.parse(readFileSync(new URL('../goldens/optimizers.json', import.meta.url), 'utf8')) as {
  readonly dims: number[];
  readonly start: number[];
  readonly rates: number[];
  readonly gradients: number[][];
  readonly cases: readonly { readonly name: string; readonly options: Record<string, unknown>; readonly steps: number[][] }[];
}; // prettier-ignore
const { dims, start, rates, gradients } = golden;

const kindOf = (name: string): OptimizerKind => optimizerKinds.find((kind) => kind.name === name)!;

describe('an optimizer', () => {
  it.each(golden.cases.map((one) => [one.name, JSON.stringify(one.options), one] as const))(
    "%s %s goes PyTorch's way",
    async (name, _, { options, steps }) => {
      const kind = kindOf(name);
      const o = kind.options.parse(options);
      const scalars = (t: number) => kind.scalars(o, rates[t - 1]!, t);
      for (const found of await trajectory(kind.make(o), start, dims, gradients, scalars))
        // Seven steps in float32 against float64.
        found.forEach(({ parameter }, i) => expect(apart(parameter, steps[i]!)).toBeLessThan(2e-6));
    },
  );

  it('lets biases be, unless all is to decay', async () => {
    const after = async (decay_all: boolean) =>
      (await trajectory(sgd({ weight_decay: 0.5, decay_all }), [1, -2], [2], [[0, 0]], () => ({ lr: 0.1 })))[0]![0]!.parameter; // prettier-ignore
    expect(await after(false)).toEqual([1, -2]);
    expect(apart(await after(true), [0.95, -1.9])).toBeLessThan(1e-6);
  });

  it('has a learning rate, and says what does not go together', () => {
    expect(optimizerKinds.map(({ name, options }) => [name, options.parse({})])).toMatchObject([
      ['sgd', { lr: 0.01, momentum: 0, weight_decay: 0 }],
      ['adam', { lr: 1e-3, betas: [0.9, 0.999], weight_decay: 0 }],
      ['adamw', { lr: 1e-3, weight_decay: 0.01 }],
    ]);
    const refused = kindOf('sgd').options.safeParse({ nesterov: true });
    expect(refused.error?.issues[0]?.message).toBe("Nesterov's momentum needs a momentum above 0");
    expect(kindOf('adam').options.safeParse({ lr: 0 }).success).toBe(false);
    expect(kindOf('adam').options.safeParse({ betas: [0.9, 1] }).success).toBe(false);
  });

  it('held by value sees no gradient beyond it', async () => {
    for (const [step] of await trajectory(clippedByValue(sgd(), 0.5), [0, 0, 0], [3], [[2, -0.25, -3]], () => ({
      lr: 1,
    })))
      // prettier-ignore
      expect(step!.parameter).toEqual([-0.5, 0.25, 0.5]);
  });
});

describe('accumulated gradients', () => {
  const adamOf = (every: number, steps: number) => (t: number) => {
    const fed = accumulation(t, every, steps);
    return { ...fed, ...adamScalars(0.1, Math.ceil(t / every)) };
  };

  it('update by their mean, every few steps, and by what is left at the end', async () => {
    const [every, steps] = [3, 7];
    const means = [[0, 1, 2], [3, 4, 5], [6]].map((list) => gradients[0]!.map((_, j) => list.reduce((sum, i) => sum + gradients[i]![j]!, 0) / list.length)); // prettier-ignore
    const plain = await trajectory(adam(), start, dims, means, (t) => adamScalars(0.1, t));
    const found = await trajectory(accumulated(adam()), start, dims, gradients, adamOf(every, steps));
    for (const [level, list] of found.entries()) {
      const updates = [2, 5, 6];
      for (const [i, step] of updates.entries()) {
        // Sums in another order.
        expect(apart(list[step]!.parameter, plain[level]![i]!.parameter)).toBeLessThan(1e-5);
        expect(list[step]!.slots['gradients']).toEqual(start.map(() => 0));
      }
      // In between everything stands still, bit for bit.
      expect(list[0]!.parameter).toEqual(Array.from(Float32Array.from(start)));
      expect(list[4]!.parameter).toEqual(list[2]!.parameter);
      expect(list[4]!.slots['mean']).toEqual(list[2]!.slots['mean']);
      expect(list[4]!.slots['square']).toEqual(list[2]!.slots['square']);
    }
  });

  it('say when they update', () => {
    expect([1, 2, 3, 4, 5].map((step) => accumulation(step, 2, 5))).toEqual([
      { apply: 0, portion: 0.5 }, { apply: 1, portion: 0.5 }, { apply: 0, portion: 0.5 }, { apply: 1, portion: 0.5 }, { apply: 1, portion: 1 },
    ]); // prettier-ignore
  });

  it('forget a sum that is no number once it was applied', async () => {
    const [found] = await trajectory(accumulated(sgd()), [1], [1], [[NaN], [1]], (t) => ({ lr: 1, apply: t === 1 ? 1 : 0, portion: 1 })); // prettier-ignore
    expect(found![1]!.slots['gradients']).toEqual([1]);
  });
});

describe('the average of weights', () => {
  it('is the weighted mean of what they were', async () => {
    const decay = 0.7;
    const found = await trajectory(averaged(sgd({ momentum: 0.5 })), start, dims, gradients, (t) => ({ lr: 0.3, average_decay: averageDecay(decay, t) })); // prettier-ignore
    for (const list of found)
      for (const t of [1, 2, 5, 7]) {
        const shares = Array.from({ length: t }, (_, i) => decay ** (t - 1 - i));
        const whole = shares.reduce((a, b) => a + b, 0);
        const mean = start.map((_, j) => shares.reduce((sum, share, i) => sum + share * list[i]!.parameter[j]!, 0) / whole);
        expect(apart(list[t - 1]!.slots['average']!, mean)).toBeLessThan(1e-6);
      }
  }); // prettier-ignore
});

describe('8-bit states', () => {
  const round = async (x: Float32Array, signed: boolean, block: number) =>
    (await evaluate((w, input) => new Map([['y', rounded(w, input('x', [x.length]), signed, block)]]), { x: floats(x, [x.length]) })).map((found) => found['y']!); // prettier-ignore

  it('are the nearest levels of the format, times the largest of each block', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 999 }), fc.integer({ min: 1, max: 700 }), fc.boolean(), fc.integer({ min: -12, max: 3 }), async (seed, count, signed, power) => {
        const fine = noise(seed + 1, count, 1);
        const x = noise(seed, count, 1).map((v, i) => {
          const spread = v * 10 ** (power + 7 * Math.min(0, fine[i]!));
          return signed ? spread : Math.abs(spread);
        });
        const levels = dynamicTree.set({ block: 256 }, signed).levels;
        for (const found of await round(x, signed, 64))
          for (let from = 0; from < count; from += 64) {
            const part = x.subarray(from, from + 64);
            const largest = part.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
            part.forEach((value, i) => {
              const best = levels.reduce((a, b) => (Math.abs(value - b * largest) < Math.abs(value - a * largest) ? b : a));
              const [error, least] = [Math.abs(found[from + i]! - value), Math.abs(best * largest - value)];
              // Where two levels are equally near, float32 may take either.
              expect(error - least).toBeLessThanOrEqual(1e-6 * Math.abs(value));
              expect(Math.min(...levels.map((level) => Math.abs(level * largest - found[from + i]!)))).toBeLessThanOrEqual(2e-7 * largest * Math.abs(best) + 1e-45);
            });
          }
      }),
      { numRuns: 12 },
    );
  }); // prettier-ignore

  it('hold each level as it is, zeros too', async () => {
    for (const signed of [true, false]) {
      const levels = dynamicTree.set({ block: 256 }, signed).levels;
      for (const found of await round(levels, signed, 256)) expect(found).toEqual(Array.from(levels));
    }
    for (const found of await round(new Float32Array(9), true, 4)) expect(found.every((v) => v === 0)).toBe(true);
  });

  it('train as float32 ones nearly do; small parameters keep float32', async () => {
    const count = 64;
    const wanted = noise(3, count, 1);
    const steps = 12;
    // Gradients of a quadratic bowl that do not depend on the way: those of a fixed drift with noise.
    const drift = Array.from({ length: steps }, (_, t) => Array.from(noise(20 + t, count, 0.3).map((v, i) => v + wanted[i]!))); // prettier-ignore
    const at = (optimizer = adam()) => trajectory(optimizer, Array<number>(count).fill(0), [count], drift, (t) => adamScalars(0.01, t)); // prettier-ignore
    const [plain] = await at();
    const [eight] = await at(eightBit(adam(), { block: 32, leastElements: 1 }));
    const [small] = await at(eightBit(adam()));
    const last = (list: typeof plain) => list!.at(-1)!;
    // 12 steps of 0.01; an 8-bit state is off by under 1.5 % of its magnitude where it is not small.
    expect(apart(last(eight).parameter, last(plain).parameter)).toBeLessThan(0.08);
    expect(last(eight).slots['mean']).not.toEqual(last(plain).slots['mean']);
    expect(small).toEqual(plain);
    expect(new Set(last(eight).slots['square']!.slice(0, 32)).size).toBeLessThanOrEqual(32);
  });

  it('are an option of each optimizer', async () => {
    const dims = [64, 64];
    const gradient = Array.from(noise(5, 4096, 1));
    for (const kind of optimizerKinds) {
      const given = kind.name === 'sgd' ? { momentum: 0.9 } : {};
      const slots = async (states: string) => {
        const o = kind.options.parse({ ...given, states });
        const found = await trajectory(kind.make(o), gradient, dims, [gradient], (t) => kind.scalars(o, 0.1, t));
        return found[0]![0]!.slots[kind.name === 'sgd' ? 'momentum' : 'mean']!;
      };
      expect(new Set((await slots('8-bit')).slice(0, 256)).size).toBeLessThan(new Set((await slots('float32')).slice(0, 256)).size); // prettier-ignore
    }
  });
});
