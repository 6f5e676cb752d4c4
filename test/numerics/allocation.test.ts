import fc from '../helpers/fc.ts';
import { costOf, noiseOf, waterFill, type AllocationItem } from '../../src/numerics/allocation.ts';
import { closedFormBits } from './reference.ts';
import { knapsack, type Choice } from '../../src/numerics/knapsack.ts';
import { modelSqnr, optimalStep, quantizerError } from '../../src/numerics/optimal_steps.ts';
import { closestModel, composeSqnr, fitSlope } from '../../src/numerics/sqnr_model.ts';
import { fill, gaussian, laplacian, random } from './samples.ts';

describe('optimal steps', () => {
  // J. Max, Quantizing for minimum distortion, 1960, and Lin et al. 2016 (to the printed digits).
  it.each([
    [
      'gauss',
      [1.596, 0.996, 0.586, 0.335, 0.188, 0.104, 0.0569, 0.0308],
      [4.4, 9.25, 14.27, 19.38, 24.57, 29.83, 35.17, 40.57],
    ],
    [
      'laplace',
      [1.414, 1.087, 0.731, 0.461, 0.28, 0.166, 0.0961, 0.0548],
      [3.01, 7.07, 11.44, 15.96, 20.6, 25.36, 30.23, 35.21],
    ],
    [
      'uniform',
      [1, 2, 3, 4, 5, 6, 7, 8].map((b) => Math.sqrt(12) / 2 ** b),
      [1, 2, 3, 4, 5, 6, 7, 8].map((b) => 20 * b * Math.log10(2)),
    ],
  ] as const)('%s', (model, steps, decibels) => {
    steps.forEach((step, i) => {
      const unit = model === 'uniform' ? 1e-12 : 10 ** -(String(step).split('.')[1] ?? '').length;
      // Printed digits may be rounded or have lost a trailing zero: three decimals are meant at least.
      expect(Math.abs(optimalStep(model, i + 1) - step)).toBeLessThanOrEqual(Math.min(unit, 0.001) / 2 + 1e-9);
      expect(Math.abs(modelSqnr(model, i + 1) - (decibels[i] as number))).toBeLessThanOrEqual(0.00501);
    });
  });

  it('costs what integrating numerically gives', () => {
    const density = {
      gauss: (x: number) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI),
      laplace: (x: number) => Math.exp(-Math.SQRT2 * Math.abs(x)) / Math.SQRT2,
      uniform: (x: number) => (Math.abs(x) <= Math.sqrt(3) ? 1 / Math.sqrt(12) : 0),
    };
    for (const model of ['gauss', 'laplace', 'uniform'] as const) {
      for (const [step, bits] of [
        [0.4, 3],
        [0.05, 5],
        [1.3, 2],
      ] as const) {
        let sum = 0;
        const dx = 2e-5;
        for (let x = dx / 2; x < 14; x += dx) {
          const level = Math.min(Math.floor(x / step), 2 ** (bits - 1) - 1) + 0.5;
          sum += 2 * (x - level * step) ** 2 * density[model](x) * dx;
        }
        // The midpoint rule at jumps of the integrand: dx times their height.
        expect(Math.abs(quantizerError(model, step, bits) - sum)).toBeLessThan(1e-5);
      }
    }
  });

  it('goes on smoothly to 16 bits', () => {
    expect(modelSqnr('gauss', 13) - modelSqnr('gauss', 12)).toBeGreaterThan(5.4);
    expect(modelSqnr('gauss', 13) - modelSqnr('gauss', 12)).toBeLessThan(5.8);
    expect(modelSqnr('uniform', 16)).toBeCloseTo(96.33, 2);
  });
});

const item = (cost: number, sensitivity: number, slope: number, min = -100, max = 100): AllocationItem => ({
  cost,
  sensitivity,
  slope,
  min,
  max,
});

describe('closed form', () => {
  it('has the differences and the sum the paper states', () => {
    const bits = closedFormBits([1, 2, 10], 30, 5);
    expect((bits[0] as number) - (bits[1] as number)).toBeCloseTo(0.6, 2); // bits per doubling of the parameters at κ = 5
    expect((bits[0] as number) - (bits[2] as number)).toBeCloseTo(2, 12); // and per factor of ten
    expect(composeSqnr(bits.map((b) => 5 * b))).toBeCloseTo(30, 10);
  });

  const items = fc.array(
    fc.record({
      cost: fc.integer({ min: 1, max: 1000 }).map((k) => k / 10),
      sensitivity: fc.integer({ min: 1, max: 1000 }).map((k) => k / 100),
      slope: fc.integer({ min: 20, max: 60 }).map((k) => k / 10),
    }),
    { minLength: 1, maxLength: 6 },
  );

  it('agrees with the general solution where that is its case', () => {
    fc.assert(
      fc.property(
        items,
        fc.integer({ min: 50, max: 600 }).map((k) => k / 10),
        (list, target) => {
          const costs = list.map((i) => i.cost);
          const general = waterFill(
            costs.map((c) => item(c, 1, 4)),
            { sqnr: target },
          );
          closedFormBits(costs, target, 4).forEach((b, i) => expect(general[i]).toBeCloseTo(b, 6));
        },
      ),
    );
  });

  it('is a constrained optimum: no exchange between two layers is better', () => {
    fc.assert(
      fc.property(
        items,
        fc.integer({ min: 50, max: 600 }).map((k) => k / 10),
        fc.nat(),
        (list, target, seed) => {
          const u = random(seed);
          const all = list.map((i) => item(i.cost, i.sensitivity, i.slope, 2, 8 + 8 * u()));
          const reachable =
            -10 *
            Math.log10(
              noiseOf(
                all,
                all.map((i) => i.max),
              ),
            );
          const sqnr = Math.min(target, reachable - 0.1);
          const bits = waterFill(all, { sqnr });
          expect(noiseOf(all, bits)).toBeLessThanOrEqual(10 ** (-sqnr / 10) * (1 + 1e-6));
          const cost = costOf(all, bits);
          // A numerical optimum: random moves that keep the noise (one layer takes what another gives) never save cost.
          for (let k = 0; k < 60; k++) {
            const a = Math.floor(u() * all.length);
            const b = Math.floor(u() * all.length);
            if (a === b) continue;
            const moved = bits.slice();
            moved[a] = Math.max(2, (moved[a] as number) - u() * 0.5);
            const room =
              10 ** (-sqnr / 10) - noiseOf(all, moved) + noiseOf([all[b] as AllocationItem], [moved[b] as number]);
            const { sensitivity, slope, max } = all[b] as AllocationItem;
            if (room <= 0) continue;
            const needed = (10 / slope) * Math.log10(sensitivity / room);
            if (needed > max) continue;
            moved[b] = Math.max(2, needed);
            expect(costOf(all, moved)).toBeGreaterThan(cost - 1e-6 * Math.abs(cost));
          }
          // And the budget of that solution leads back to it.
          const back = waterFill(all, { budget: cost });
          expect(noiseOf(all, back)).toBeLessThanOrEqual(noiseOf(all, bits) * (1 + 1e-6));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('names what cannot be met, and stops at the ends', () => {
    const two = [item(1, 1, 5, 2, 8), item(1, 1, 5, 2, 8)];
    expect(() => waterFill(two, { sqnr: 60 })).toThrow('36.99 dB');
    expect(() => waterFill(two, { budget: 3 })).toThrow('least possible, 4');
    expect(waterFill(two, { sqnr: 1 })).toEqual([2, 2]);
    expect(waterFill(two, { budget: 99 })).toEqual([8, 8]);
    expect(waterFill([item(1, 0, 5, 2, 8), item(1, 1, 5, 2, 8)], { budget: 9 })[0]).toBe(2);
  });
});

describe('SQNR model', () => {
  it('composes harmonically', () => {
    expect(composeSqnr([30, 30])).toBeCloseTo(30 - 10 * Math.log10(2), 12);
    expect(composeSqnr([20, 50])).toBeCloseTo(19.9957, 4);
    expect(composeSqnr([])).toBe(Infinity);
    expect(composeSqnr([Infinity, 7])).toBeCloseTo(7, 12);
  });
  it('tells the models apart', () => {
    const models = { gauss: gaussian(1), laplace: laplacian(2), uniform: random(3) };
    for (const [model, next] of Object.entries(models)) {
      const data = fill(5000, next);
      const mean = data.reduce((a, b) => a + b, 0) / data.length;
      const deviation = data.reduce((s, v) => s + Math.abs(v - mean), 0) / data.length;
      const std = Math.sqrt(data.reduce((s, v) => s + (v - mean) ** 2, 0) / data.length);
      expect(closestModel(deviation, std)).toBe(model);
    }
    expect(closestModel(0, 0)).toBe('gauss');
  });
  it('fits the slope', () => {
    expect(fitSlope([2, 4, 8], [7, 17, 37])).toEqual({
      slope: expect.closeTo(5, 12) as number,
      offset: expect.closeTo(-3, 10) as number,
    });
    expect(fitSlope([2, 4, 8], [7, 17, Infinity])?.slope).toBeCloseTo(5, 12);
    expect(fitSlope([4], [7])).toBeUndefined();
  });
});

describe('knapsack', () => {
  const unit = fc.integer({ min: 0, max: 1000 }).map((k) => k / 1000);
  const brute = (items: readonly (readonly Choice[])[], budget: number): number => {
    const walk = (k: number, cost: number): number => {
      if (cost > budget) return Infinity;
      if (k === items.length) return 0;
      return Math.min(...(items[k] as readonly Choice[]).map((c) => c.damage + walk(k + 1, cost + c.cost)));
    };
    return walk(0, 0);
  };
  const choice = fc.record({ cost: fc.integer({ min: 0, max: 12 }), damage: fc.integer({ min: 0, max: 30 }) });
  const problem = fc.array(fc.array(choice, { minLength: 1, maxLength: 4 }), { maxLength: 6 });

  it('finds what trying everything finds', () => {
    fc.assert(
      fc.property(problem, fc.integer({ min: 0, max: 60 }), (items, budget) => {
        const best = brute(items, budget);
        if (best === Infinity) {
          expect(() => knapsack(items, budget)).toThrow('cannot be met');
          return;
        }
        const { chosen, cost, damage } = knapsack(items, budget);
        expect(damage).toBe(best);
        expect(cost).toBeLessThanOrEqual(budget);
        const taken = chosen.map((c, k) => (items[k] as readonly Choice[])[c] as Choice);
        expect(taken.reduce((s, c) => s + c.cost, 0)).toBe(cost);
        expect(taken.reduce((s, c) => s + c.damage, 0)).toBe(damage);
      }),
      { numRuns: 500 },
    );
  });

  it('takes fractions, like damages of a network', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.array(fc.tuple(unit, unit), {
            minLength: 1,
            maxLength: 4,
          }),
          { minLength: 1, maxLength: 5 },
        ),
        fc.integer({ min: 500, max: 4000 }).map((k) => k / 1000),
        (raw, budget) => {
          const items = raw.map((choices) => choices.map(([cost, damage]) => ({ cost, damage })));
          const best = brute(items, budget);
          if (best === Infinity) return;
          // Sums in another order.
          expect(knapsack(items, budget).damage).toBeCloseTo(best, 10);
        },
      ),
    );
  });

  it('solves a deep network at once', () => {
    const u = random(77);
    const items = Array.from({ length: 60 }, () => {
      const size = Math.round(1000 + 500000 * u() ** 3);
      const s = u() ** 2;
      return [2, 3, 4, 5, 6, 7, 8].map((b) => ({ cost: (size * b) / 8, damage: s * 10 ** ((-(5 + u()) * b) / 10) }));
    });
    const whole = items.reduce((n, c) => n + (c.at(-1) as Choice).cost, 0);
    for (const share of [0.3, 0.6]) {
      const { cost, damage } = knapsack(items, whole * share);
      expect(cost).toBeLessThanOrEqual(whole * share);
      // Not better than exact can be shown only against a bound: the relaxation (Lagrange) at its best multiplier.
      let bound = 0;
      for (let l = 1e-12; l < 1; l *= 1.1) {
        const relaxed =
          items.reduce((n, c) => n + Math.min(...c.map((o) => o.damage + l * o.cost)), 0) - l * whole * share;
        bound = Math.max(bound, relaxed);
      }
      expect(damage).toBeGreaterThanOrEqual(bound - 1e-12);
      expect(damage).toBeLessThan(bound * 1.02);
    }
  });
});
