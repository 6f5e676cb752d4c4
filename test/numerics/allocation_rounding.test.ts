import fc from '../helpers/fc.ts';
import { noiseOf, waterFill, type AllocationItem } from '../../src/numerics/allocation.ts';
import { closedFormBits } from './reference.ts';
import { roundWidths, type DiscreteItem } from '../../src/numerics/allocation_rounding.ts';
import { knapsack } from '../../src/numerics/knapsack.ts';

const widths = [2, 3, 4, 5, 6, 7, 8];

const layers = fc.array(
  fc.record({
    cost: fc.integer({ min: 1, max: 1000 }),
    sensitivity: fc.integer({ min: 1, max: 1000 }).map((k) => k / 100),
    slope: fc.integer({ min: 40, max: 60 }).map((k) => k / 10),
  }),
  { minLength: 1, maxLength: 7 },
);

type Layer = typeof layers extends fc.Arbitrary<(infer T)[]> ? T : never;

const real = (l: Layer): AllocationItem => ({ ...l, min: 2, max: 8 });
const discrete = (l: Layer): DiscreteItem => ({
  widths,
  noise: widths.map((b) => l.sensitivity * 10 ** ((-l.slope * b) / 10)),
  cost: widths.map((b) => l.cost * b),
});

const sum = (items: readonly DiscreteItem[], chosen: readonly number[], list: 'noise' | 'cost'): number =>
  items.reduce((n, item, i) => n + (item[list][chosen[i] as number] as number), 0);

/**
 * A numerical constrained optimum that knows no closed form: minimise Σ ρ·β over how a noise of 1 is shared out, βᵢ being what a
 * share takes, by Newton steps in log shares with the sum kept by projection.
 */
function numericalOptimum(items: readonly AllocationItem[], noise: number): number[] {
  const bitsOf = (share: number, { sensitivity, slope }: AllocationItem): number =>
    (10 / slope) * Math.log10(sensitivity / (share * noise));
  let shares = items.map(() => 1 / items.length);
  const objective = (s: readonly number[]): number =>
    items.reduce((n, l, i) => n + l.cost * bitsOf(s[i] as number, l), 0);
  let step = 1;
  for (let k = 0; k < 4000; k++) {
    // Slope of the objective by central differences: nothing of the formula is used.
    const gradient = shares.map((s, i) => {
      const h = s * 1e-4;
      const at = (v: number): number => objective(shares.map((t, j) => (j === i ? v : t)));
      return (at(s + h) - at(s - h)) / (2 * h);
    });
    const mean = gradient.reduce((n, g, i) => n + g * (shares[i] as number), 0);
    const scale = Math.max(...gradient.map((g) => Math.abs(g - mean)), 1e-300);
    const next = shares.map((s, i) => s * Math.exp((-step * ((gradient[i] as number) - mean)) / scale));
    const total = next.reduce((a, b) => a + b, 0);
    const moved = next.map((s) => s / total);
    if (objective(moved) < objective(shares)) shares = moved;
    else step /= 2;
    if (step < 1e-12) break;
  }
  return items.map((l, i) => bitsOf(shares[i] as number, l));
}

describe('closed form against a numerical optimiser', () => {
  it('gives the widths that minimising the cost numerically finds', () => {
    const costs = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(costs, fc.integer({ min: 10, max: 50 }), fc.integer({ min: 3, max: 6 }), (rho, target, kappa) => {
        const items = rho.map((cost) => ({ cost, sensitivity: 1, slope: kappa, min: -100, max: 100 }));
        const found = numericalOptimum(items, 10 ** (-target / 10));
        // The optimiser ends where differences of the objective are lost in rounding: about 1e-7 of it, 1e-3 of a share.
        closedFormBits(rho, target, kappa).forEach((b, i) =>
          expect(Math.abs(b - (found[i] as number))).toBeLessThan(0.01),
        );
      }),
      { numRuns: 25 },
    );
  });

  it('so does reverse water-filling with sensitivities and slopes of their own', () => {
    fc.assert(
      fc.property(layers, fc.integer({ min: 10, max: 50 }), (list, target) => {
        const items = list.map((l) => ({ ...l, min: -100, max: 100 }));
        const found = numericalOptimum(items, 10 ** (-target / 10));
        waterFill(items, { sqnr: target }).forEach((b, i) =>
          expect(Math.abs(b - (found[i] as number))).toBeLessThan(0.01),
        );
      }),
      { numRuns: 25 },
    );
  });
});

describe('rounding to allowed widths', () => {
  it('keeps the budget and leaves no step that would still fit', () => {
    fc.assert(
      fc.property(layers, fc.integer({ min: 20, max: 80 }), (list, tenths) => {
        const items = list.map(discrete);
        const budget = list.reduce((n, l) => n + l.cost, 0) * (tenths / 10);
        const chosen = roundWidths(items, waterFill(list.map(real), { budget }), { budget });
        const cost = sum(items, chosen, 'cost');
        expect(cost).toBeLessThanOrEqual(budget * (1 + 1e-9));
        for (const [i, l] of list.entries())
          if ((chosen[i] as number) < 6) expect(cost + l.cost).toBeGreaterThan(budget * (1 - 1e-9));
        // The exact solution is no worse; the real relaxation is no better than either.
        const exact = knapsack(
          items.map((item) =>
            item.widths.map((_, k) => ({ cost: item.cost[k] as number, damage: item.noise[k] as number })),
          ),
          budget,
        );
        expect(exact.damage).toBeLessThanOrEqual(sum(items, chosen, 'noise') * (1 + 1e-9));
        expect(noiseOf(list.map(real), waterFill(list.map(real), { budget }))).toBeLessThanOrEqual(
          exact.damage * (1 + 1e-6),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('reaches a noise limit, and takes no step back that it could', () => {
    fc.assert(
      fc.property(layers, fc.integer({ min: 50, max: 300 }), (list, tenths) => {
        const items = list.map(discrete);
        const least = sum(
          items,
          items.map(() => 6),
          'noise',
        );
        const noise = Math.max(10 ** (-tenths / 100), least * 1.01);
        const chosen = roundWidths(items, waterFill(list.map(real), { sqnr: -10 * Math.log10(noise) }), { noise });
        const got = sum(items, chosen, 'noise');
        expect(got).toBeLessThanOrEqual(noise * (1 + 1e-9));
        items.forEach((item, i) => {
          const k = chosen[i] as number;
          if (k > 0) expect(got + (item.noise[k - 1] as number) - (item.noise[k] as number)).toBeGreaterThan(noise);
        });
      }),
      { numRuns: 200 },
    );
  });

  it('goes below what a rule forces up elsewhere', () => {
    const item = (list: number[]): DiscreteItem => ({
      widths: list,
      noise: list.map((b) => 4 ** -b),
      cost: list,
    });
    expect(roundWidths([item([8]), item(widths), item(widths)], [4, 4, 4], { budget: 12 })).toEqual([0, 0, 0]);
    expect(roundWidths([item(widths)], [5], { noise: 0 })).toEqual([6]);
  });
});
