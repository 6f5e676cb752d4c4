import fc from '../helpers/fc.ts';
import { weaken } from '../../src/run/retry.ts';

const share = { at: (o: number, t: number) => o * t, describe: (o: number) => String(o) };

describe('weaken', () => {
  it('finds a continuous strength to 1/64 of what was asked, from below', async () => {
    await fc.assert(
      fc.asyncProperty(fc.double({ min: 0.02, max: 0.99, noNaN: true }), async (limit) => {
        let trials = 0;
        const found = await weaken(share, 1, async (o) => (trials++, o <= limit));
        expect(trials).toBe(6);
        expect(found).toBeDefined();
        expect(limit - (found as number)).toBeGreaterThanOrEqual(0);
        expect(limit - (found as number)).toBeLessThanOrEqual(1 / 64);
      }),
    );
  });

  it('gives up where even the weakest trial fails', async () => {
    expect(await weaken(share, 1, async () => false)).toBeUndefined();
  });

  it('finds the strongest level that passes, and never tries the one that failed', async () => {
    const bits = { at: (_: number, t: number) => t, levels: () => [4, 5, 6, 7, 8], describe: (o: number) => String(o) };
    for (const needed of [5, 6, 7, 8]) {
      const tried: number[] = [];
      const found = await weaken(bits, 4, async (b) => (tried.push(b), b >= needed));
      expect(found).toBe(needed);
      expect(tried).not.toContain(4);
    }
    expect(await weaken(bits, 4, async () => false)).toBeUndefined();
  });
});
