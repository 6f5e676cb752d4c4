import { binomialTail, signTest } from '../../src/numerics/binomial.ts';

describe('binomialTail', () => {
  it.each([
    [8, 8, 0.5, 1 / 256],
    [1, 10, 0.1, 1 - 0.9 ** 10],
    [0, 10, 0.1, 1],
    [3, 2, 0.5, 0],
    [1, 5, 0, 0],
    [5, 5, 1, 1],
    // 6 of 10 by hand: (210 + 120 + 45 + 10 + 1) / 1024.
    [6, 10, 0.5, 386 / 1024],
  ])('of at least %i of %i at %d', (k, n, p, wanted) => expect(binomialTail(k, n, p)).toBeCloseTo(wanted, 12));

  it('stays a number where its terms would underflow', () => {
    expect(binomialTail(2500, 5000, 0.5)).toBeCloseTo(0.5056, 3);
    expect(binomialTail(4900, 5000, 0.1)).toBe(0);
  });
});

describe('signTest', () => {
  it('is two-sided, and sees nothing in an even split', () => {
    expect(signTest(8, 0)).toBeCloseTo(1 / 128, 12);
    expect(signTest(0, 8)).toBeCloseTo(1 / 128, 12);
    expect(signTest(5, 5)).toBe(1);
    expect(signTest(0, 0)).toBe(1);
  });
});
