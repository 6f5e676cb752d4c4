import { makeModel } from '../../../src/graph/build.ts';
import type { DamageTable } from '../../../src/passes/allocate/damage.ts';
import { bestWhole } from '../../../src/passes/allocate/wholes.ts';

const model = makeModel({ inputs: [], outputs: [], nodes: [], initializers: [] });

describe('the best whole plan', () => {
  // Each of four layers has a dear choice, one whose error lies along the outputs, and one with as much noise and more across them.
  const row = [0.0001, 0.0009, 0.00095];
  const table = {
    damage: [row, row, row, row],
    along: Array.from({ length: 4 }, () => [0, 0.03, 0]),
    ...{ text: String, sum: String, metric: { name: '', unit: '' as const } },
  } satisfies DamageTable;
  const costs = Array.from({ length: 4 }, () => [10, 1, 1]);
  const whole = (chosen: readonly number[]): number => {
    const sum = (of: (i: number, k: number) => number): number => chosen.reduce((s, k, i) => s + of(i, k), 0);
    const a = sum((i, k) => table.along[i]![k]!);
    return sum((i, k) => row[k]! - table.along[i]![k]! ** 2) + a * a;
  };
  const best = (limit: number, damage = whole) => {
    const tried: number[][] = [];
    let now: readonly number[] = [];
    const found = bestWhole({
      ...{ table, costs, limit },
      build: (chosen) => {
        now = chosen;
        tried.push([...chosen]);
        return Promise.resolve(model);
      },
      damage: () => Promise.resolve(damage(now)),
    });
    return { found, tried };
  };

  it('avoids errors that point the same way, where adding powers alone would take them', async () => {
    expect(whole([2, 2, 2, 2])).toBeLessThan(whole([1, 1, 1, 1]) / 2);
    expect(await best(4).found).toEqual([2, 2, 2, 2]);
  });

  it('is the one that measures best, whatever was expected', async () => {
    const { found, tried } = best(4, (chosen) => (chosen.join() === '1,1,1,1' ? 0 : 1));
    expect(await found).toEqual([1, 1, 1, 1]);
    expect(tried.length).toBeGreaterThan(1);
  });

  it('measures nothing where there is one plan', async () => {
    const { found, tried } = best(40);
    expect(await found).toEqual([0, 0, 0, 0]);
    expect(tried).toEqual([]);
  });
});
