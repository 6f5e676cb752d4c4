import { leastThatHolds } from '../../src/run/trial.ts';

describe('leastThatHolds', () => {
  it.each([1, 2, 5, 9, 10])('finds %d of 1 to 9 in few looks, 10 being none', async (least) => {
    const looked: number[] = [];
    const found = await leastThatHolds(1, 9, async (n) => (looked.push(n), n >= least));
    expect(found).toBe(least === 10 ? undefined : least);
    expect(looked.length).toBeLessThanOrEqual(4);
    expect(new Set(looked).size).toBe(looked.length);
  });

  it('begins where it is told, ends when it is told, and looks nowhere where there is nothing', async () => {
    const looked: number[] = [];
    const found = await leastThatHolds(1, 9, async (n) => (looked.push(n), looked.length > 2 ? undefined : true), 8);
    expect([found, looked]).toEqual([4, [8, 4, 2]]);
    expect(await leastThatHolds(1, 0, () => Promise.reject(new Error('looked')))).toBeUndefined();
  });
});
