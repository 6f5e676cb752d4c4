import fc from '../helpers/fc.ts';
import { roundHalfEven } from '../../src/numerics/rounding.ts';

// IEEE 754 roundTiesToEven, as in Python's round(): https://docs.python.org/3/library/functions.html#round
it.each([
  [0.5, 0],
  [1.5, 2],
  [2.5, 2],
  [-0.5, 0],
  [-1.5, -2],
  [-2.5, -2],
  [0.49999999999999994, 0],
  [2 ** 51 + 0.5, 2 ** 51],
  [2 ** 51 + 1.5, 2 ** 51 + 2],
  [-(2 ** 51) - 0.5, -(2 ** 51)],
  [2 ** 53, 2 ** 53],
  [Infinity, Infinity],
  [-Infinity, -Infinity],
])('%d → %d', (x, y) => expect(roundHalfEven(x)).toBe(y));

it('is the nearest integer, the even one of two', () => {
  expect(roundHalfEven(NaN)).toBeNaN();
  fc.assert(
    fc.property(fc.double({ noNaN: true, min: -1e15, max: 1e15 }), (x) => {
      const y = roundHalfEven(x);
      expect(Number.isInteger(y)).toBe(true);
      const distance = Math.abs(x - y);
      expect(distance).toBeLessThanOrEqual(0.5);
      if (distance === 0.5) expect(Math.abs(y % 2)).toBe(0);
    }),
  );
});
