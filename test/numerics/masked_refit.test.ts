import fc from '../helpers/fc.ts';
import { refitMasked as refitMaskedSteps } from '../../src/numerics/masked_refit.ts';
import { whole } from '../helpers/whole.ts';

const refitMasked = whole(refitMaskedSteps);

const size = 5;
const numbers = (length: number) =>
  fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: length, maxLength: length });

/** A Aᵀ + I/4 is positive definite whatever A is. */
const positive = (a: readonly number[]): Float64Array =>
  Float64Array.from({ length: size * size }, (_, e) => {
    const [i, j] = [Math.floor(e / size), e % size];
    let sum = i === j ? 0.25 : 0;
    for (let k = 0; k < size; k++) sum += a[i * size + k]! * a[j * size + k]!;
    return sum;
  });
/** wᵀHw − 2gᵀw: the error but for a constant. */
const error = (w: ArrayLike<number>, h: Float64Array, g: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < size; i++) {
    sum -= 2 * g[i]! * w[i]!;
    for (let j = 0; j < size; j++) sum += w[i]! * h[i * size + j]! * w[j]!;
  }
  return sum;
};

describe('refitMasked', () => {
  it('keeps zeros and leaves no better weights on what is left: the gradient vanishes there', () => {
    fc.assert(
      fc.property(
        numbers(size * size),
        numbers(2 * size),
        fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }),
        (a, g, keep) => {
          const hessian = positive(a);
          const goal = Float64Array.from(g);
          const mask = Uint8Array.from(keep, Number);
          const w = refitMasked({ rows: 2, cols: size, hessian, goal }, mask);
          for (let e = 0; e < w.length; e++) {
            if (mask[e] === 0) {
              expect(w[e]).toBe(0);
              continue;
            }
            const r = Math.floor(e / size);
            let slope = -goal[e]!;
            for (let j = 0; j < size; j++) slope += hessian[(e % size) * size + j]! * w[r * size + j]!;
            // Weights reach some tens, entries of H as well: double precision leaves 1e-12 of their products.
            expect(Math.abs(slope)).toBeLessThan(1e-9);
          }
        },
      ),
    );
  });

  it('solves many rows of few zeros by their zeros, and a nearly singular H by what is left', () => {
    fc.assert(
      fc.property(
        numbers(size * size),
        numbers(8 * size),
        fc.array(fc.nat(size - 1), { minLength: 8, maxLength: 8 }),
        fc.constantFrom(1, 1e-14),
        (a, g, zero, ridge) => {
          const hessian = positive(a);
          // One input the very same as another but for a hair: the inverse has no digit left.
          if (ridge < 1)
            for (let k = 0; k < size; k++) hessian[size + k] = hessian[k * size + 1] = hessian[k]! + (k === 1 ? ridge : 0); // prettier-ignore
          if (ridge < 1) hessian[size + 1] = hessian[0]! * (1 + ridge);
          const goal = Float64Array.from(g);
          if (ridge < 1) for (let r = 0; r < 8; r++) goal[r * size + 1] = goal[r * size]!;
          const mask = Uint8Array.from({ length: 8 * size }, (_, e) => (e % size === zero[Math.floor(e / size)] ? 0 : 1)); // prettier-ignore
          const w = refitMasked({ rows: 8, cols: size, hessian, goal }, mask);
          for (let e = 0; e < w.length; e++) {
            if (mask[e] === 0) {
              expect(w[e]).toBe(0);
              continue;
            }
            const r = Math.floor(e / size);
            let slope = -goal[e]!;
            for (let j = 0; j < size; j++) slope += hessian[(e % size) * size + j]! * w[r * size + j]!;
            expect(Math.abs(slope)).toBeLessThan(1e-8);
          }
        },
      ),
    );
  });

  it('has no more error than the best of weights on a grid', () => {
    const hessian = positive([1, 0.5, 0, 0, 0.2, 0, 1, 0.3, 0, 0, 0.7, 0, 1, 0, 0, 0, 0.1, 0, 1, 0, 0.4, 0, 0, 0, 1]);
    const goal = Float64Array.from([1, -0.5, 0.8, 0.1, -1]);
    const w = refitMasked({ rows: 1, cols: size, hessian, goal }, Uint8Array.from([1, 0, 1, 0, 0]));
    const fitted = error(w, hessian, goal);
    for (let x = -2; x <= 2; x += 0.05)
      for (let y = -2; y <= 2; y += 0.05) expect(error([x, 0, y, 0, 0], hessian, goal)).toBeGreaterThanOrEqual(fitted);
  });

  it('says which layer has too little data', () => {
    const problem = { rows: 1, cols: 2, hessian: Float64Array.from([1, 1, 1, 1]), goal: Float64Array.from([1, 1]) };
    expect(() => refitMasked(problem, Uint8Array.from([1, 1]), 'fc1')).toThrow(
      expect.objectContaining({ code: 'data', at: 'fc1' }) as Error,
    );
  });
});
