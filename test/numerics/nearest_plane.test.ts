import {
  openLattice as openLatticeSteps,
  roundAtScales,
  roundByPaths,
  unrounded,
} from '../../src/numerics/nearest_plane.ts';
import { quadratic } from './quadratic.ts';
import { whole } from '../helpers/whole.ts';

const openLattice = whole(openLatticeSteps);

const problem = (seed: number, size: number) => quadratic(seed, size, 2);

function error(codes: ArrayLike<number>, scale: number, { gram, w }: ReturnType<typeof problem>): number {
  let sum = 0;
  for (let i = 0; i < w.length; i++)
    for (let j = 0; j < w.length; j++)
      sum += (codes[i]! * scale - w[i]!) * gram[i * w.length + j]! * (codes[j]! * scale - w[j]!);
  return sum;
}

const size = 5;
const bounds = { qmin: -2, qmax: 2, frozen: new Uint8Array(size) };
const seeds = [...Array(40).keys()];

describe('unrounded', () => {
  it('solves G w = t', () => {
    const p = problem(1, size);
    const lattice = openLattice(p.gram, size);
    const found = unrounded(lattice, p.target);
    // Double arithmetic, and the least damping, 1e-9.
    lattice.order.forEach((column, j) => expect(found[j]).toBeCloseTo(p.w[column]!, 6));
  });
});

describe('roundAtScales', () => {
  it('gives the error of its codes, each scale on its own', () => {
    for (const seed of seeds) {
      const p = problem(seed, size);
      const lattice = openLattice(p.gram, size);
      const weights = unrounded(lattice, p.target);
      const scales = [0.5, 0.8, 1];
      const all = roundAtScales(lattice, weights, scales, bounds);
      for (const [i, scale] of scales.entries()) {
        expect(all[i]!.error).toBeCloseTo(error(all[i]!.codes, scale, p), 6);
        const alone = roundAtScales(lattice, weights, [scale], bounds)[0]!;
        const path = roundByPaths(lattice, weights, scale, bounds, 1);
        for (const { codes } of [alone, path]) expect(Int8Array.from(codes)).toEqual(Int8Array.from(all[i]!.codes));
      }
    }
  });

  it('rounds to nearest where columns have nothing to do with each other', () => {
    const gram = Float64Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? 1 + i : 0));
    const target = Float64Array.of(1.4 * 1, -0.6 * 5, 9 * 9);
    const lattice = openLattice(gram, 3);
    const free = { ...bounds, frozen: new Uint8Array(3) };
    const { codes } = roundAtScales(lattice, unrounded(lattice, target), [1], free)[0]!;
    expect([...codes]).toEqual([1, -1, 2]);
  });

  it('leaves frozen codes 0 and all in their bounds', () => {
    const p = problem(2, size);
    const lattice = openLattice(p.gram, size);
    const tight = { qmin: -1, qmax: 1, frozen: Uint8Array.of(1, 0, 0, 1, 0) };
    for (const { codes } of [
      roundAtScales(lattice, unrounded(lattice, p.target), [0.3], tight)[0]!,
      roundByPaths(lattice, unrounded(lattice, p.target), 0.3, tight, 4),
    ]) {
      expect([codes[0], codes[3]]).toEqual([0, 0]);
      expect(Math.max(...codes.map(Math.abs))).toBe(1);
    }
  });
});

describe('roundByPaths', () => {
  it('comes to the best of all roundings, by brute force, more often the more paths it keeps', () => {
    const hits = [0, 0];
    for (const seed of seeds) {
      const p = problem(seed, size);
      const lattice = openLattice(p.gram, size);
      const weights = unrounded(lattice, p.target);
      let least = Infinity;
      for (let n = 0; n < 5 ** size; n++) {
        const codes = Array.from({ length: size }, (_, i) => (Math.floor(n / 5 ** i) % 5) - 2);
        least = Math.min(least, error(codes, 1, p));
      }
      for (const [i, paths] of [1, 32].entries()) {
        const found = roundByPaths(lattice, weights, 1, bounds, paths);
        expect(found.error).toBeCloseTo(error(found.codes, 1, p), 6);
        expect(found.error).toBeGreaterThan(least - 1e-6);
        if (found.error < least + 1e-6) hits[i]!++;
      }
    }
    // 32 paths are all beginnings of 5 weights with 2 choices each; only a third choice could be better.
    expect(hits[1]).toBeGreaterThanOrEqual(38);
    expect(hits[0]).toBeLessThan(hits[1]! - 5);
  });
});
