import fc from '../helpers/fc.ts';
import { cubicRamp, rampProgress } from '../../src/numerics/agp.ts';
import { smallestCut, smallestIndices } from '../../src/numerics/select.ts';
import {
  applyMask,
  blockMask,
  globalLevelMasks,
  levelMask,
  magnitudeMask,
  nmMask,
  sliceNorms,
  standardDeviation,
} from '../../src/numerics/sparsity.ts';
import { fill, gaussian } from './samples.ts';

// Few distinct values, so that ties are common; and arbitrary ones, denormals among them.
const weights = fc.oneof(
  fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 50 }).map((a) => Float32Array.from(a)),
  fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 50 }),
);
// fc.double would give hardly any but tiny shares.
const share01 = fc.integer({ min: 0, max: 1000 }).map((k) => k / 1000);
const zeros = (mask: Uint8Array) => mask.reduce((n, m) => n + 1 - m, 0);

describe('level', () => {
  it('zeroes exactly the asked number, the smallest, the first of equals', () => {
    fc.assert(
      fc.property(weights, share01, (data, share) => {
        const k = Math.round(share * data.length);
        const mask = levelMask(data, share);
        const gone = smallestIndices(data.map(Math.abs), k); // a sort with ties by index
        expect([...mask]).toEqual(Array.from(data, (_, i) => (gone.includes(i) ? 0 : 1)));
      }),
    );
  });

  it('has one threshold for many tensors', () => {
    fc.assert(
      fc.property(fc.array(weights, { minLength: 1, maxLength: 4 }), share01, (parts, share) => {
        const joined = Float32Array.from(parts.flatMap((p) => [...p]));
        const together = levelMask(joined, share);
        expect(globalLevelMasks(parts, share).flatMap((m) => [...m])).toEqual([...together]);
      }),
    );
  });

  it('selects without sorting, in a large tensor too', () => {
    const data = fill(200000, gaussian(1));
    const sorted = data.map(Math.abs).sort();
    for (const k of [1, 777, 100000, 200000]) {
      const { bits, ties } = smallestCut([data], k);
      expect(new Float32Array(Uint32Array.of(bits).buffer)[0]).toBe(sorted[k - 1]);
      expect(ties).toBeGreaterThan(0);
    }
  });

  it('refuses NaN, infinity and impossible shares', () => {
    expect(() => levelMask(Float32Array.of(1, NaN), 0.5, 'fc.weight')).toThrow('NaN at element 1');
    expect(() => globalLevelMasks([Float32Array.of(1), Float32Array.of(-Infinity)], 0.5)).toThrow(
      '-Infinity at element 0',
    );
    expect(() => levelMask(Float32Array.of(1), 1.1)).toThrow('0 to 1');
  });
});

describe('other masks', () => {
  it('threshold, deviation, mask', () => {
    const data = Float32Array.of(-1, 0.5, 0, 2, -0.25);
    expect([...magnitudeMask(data, 0.5)]).toEqual([1, 0, 0, 1, 0]);
    expect([...applyMask(data, magnitudeMask(data, 0.5))]).toEqual([-1, 0, 0, 2, 0]);
    expect(standardDeviation(Float32Array.of(2, 4, 4, 4, 5, 5, 7, 9))).toBeCloseTo(2.138089935, 8); // √(32/7)
    expect(standardDeviation(Float32Array.of(5))).toBe(0);
  });

  it('N:M keeps the n largest of each group along any axis', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }),
        fc.nat(2),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(5),
        (dims, a, m, k) => {
          const axis = a % dims.length;
          const n = Math.min(k, m);
          const next = gaussian(a + 10 * m);
          const size = dims.reduce((x, y) => x * y, 1);
          const data = fill(size, next);
          const mask = nmMask(data, dims, axis, n, m);
          const inner = dims.slice(axis + 1).reduce((x, y) => x * y, 1);
          const length = dims[axis] as number;
          const groups = new Map<string, number[]>();
          for (let e = 0; e < size; e++) {
            const position = Math.floor(e / inner) % length;
            const key = `${Math.floor(e / inner / length)} ${e % inner} ${Math.floor(position / m)}`;
            groups.set(key, [...(groups.get(key) ?? []), e]);
          }
          for (const members of groups.values()) {
            const kept = members.filter((e) => mask[e] === 1);
            expect(kept.length).toBe(Math.ceil((n * members.length) / m));
            const smallest = Math.min(...kept.map((e) => Math.abs(data[e] as number)));
            for (const e of members)
              if (mask[e] === 0) expect(Math.abs(data[e] as number)).toBeLessThanOrEqual(smallest);
          }
        },
      ),
    );
    expect([...nmMask(Float32Array.of(4, 1, 3, 2, 9, 9, 9, 9), [2, 4], 1, 2, 4)]).toEqual([1, 0, 1, 0, 0, 0, 1, 1]);
    expect(() => nmMask(new Float32Array(4), [4], 0, 3, 2)).toThrow('3 of 2');
  });

  it('blocks go as a whole', () => {
    // prettier-ignore
    const data = Float32Array.of(
      1, 1, 5,
      1, 1, 5,
      9, 9, 0.5,
    );
    expect([...blockMask(data, [3, 3], [2, 2], 0.5)]).toEqual([0, 0, 1, 0, 0, 1, 1, 1, 0]);
    expect(zeros(blockMask(fill(64, gaussian(2)), [8, 8], [2, 4], 0.75, 'l2'))).toBe(48);
    expect(() => blockMask(data, [3, 3], [1, 1], -1)).toThrow('0 to 1');
  });

  it('norms of slices', () => {
    const data = Float32Array.of(1, -2, 3, -4, 0, 4);
    expect([...sliceNorms(data, [2, 3], 0)]).toEqual([6, 8]);
    expect([...sliceNorms(data, [2, 3], 1)]).toEqual([5, 2, 7]);
    expect([...sliceNorms(data, [2, 3], 1, 'l2')]).toEqual([Math.sqrt(17), 2, 5]);
    expect([...sliceNorms(data, [1, 2, 3], 1)]).toEqual([6, 8]);
  });
});

describe('gradual pruning', () => {
  it('follows the cubic of the paper', () => {
    // s_t = s_f + (s_i − s_f)(1 − t/n)³ for s_i = 0.05, s_f = 0.85, n = 4
    expect([0, 1, 2, 3, 4].map((t) => cubicRamp(0.05, 0.85, t / 4))).toEqual([
      expect.closeTo(0.05, 10),
      expect.closeTo(0.5125, 10),
      expect.closeTo(0.75, 10),
      expect.closeTo(0.8375, 10),
      0.85,
    ]);
    expect(cubicRamp(0.1, 0.5, 7)).toBe(0.5);
    expect(cubicRamp(0.1, 0.5, -1)).toBeCloseTo(0.1, 12);
  });
  it('reaches the end at the last epoch that runs', () => {
    expect([0, 2, 4, 6, 8].map((e) => rampProgress(e, 0, 10, 2))).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect([3, 6].map((e) => rampProgress(e, 3, 9, 3))).toEqual([0, 1]);
    expect(rampProgress(5, 5, 6, 1)).toBe(1);
  });
});
