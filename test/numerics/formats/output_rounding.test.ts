import { finished } from '../../../src/util/steps.ts';
import { gptq } from '../../../src/numerics/gptq.ts';
import { formatCodes, type FormatCodes } from '../../../src/numerics/formats/apply.ts';
import type { Sharing } from '../../../src/numerics/formats/format.ts';
import {
  descendFormatCodes,
  gptqFormatCodes,
  heldCodes,
  outputProblem,
  refitScales,
  rowOutputError,
  scalesAreFree,
  type OutputProblem,
} from '../../../src/numerics/formats/output_rounding.ts';
import { quadratic } from '../quadratic.ts';
import { fill, gaussian } from '../samples.ts';
import { written } from './support.ts';

const names = ['int4', 'nf4', 'ternary', 'fp4_e2m1', 'log2:bits=4', 'codebook:bits=3'];
const sharings: readonly (Sharing | undefined)[] = [undefined, 'tensor', 'channel', 'row', 'pixel', { group: 5 }];
const [rows, columns] = [6, 12];

function problemOf(name: string, seed: number, sharing?: Sharing, groups = 2, zeros = false) {
  const data = fill(rows * columns, gaussian(seed)).map((v, i) => (zeros && i % 3 === 0 ? 0 : v));
  const grams = Array.from({ length: groups }, (_, g) => [...quadratic(seed + g, columns, 1).gram]).flat();
  const held = formatCodes(written(name), { data, rows, columns, kernel: [2, 3] }, { sharing });
  const moments = { groups, gram: Float64Array.from(grams) };
  return { held, data, moments, p: finished(outputProblem(held, data, columns, moments, 1e-6)) };
}

const total = (p: OutputProblem, codes: Uint16Array): number =>
  [...Array(rows).keys()].reduce((sum, r) => sum + rowOutputError(p, r, codes), 0);

/** Σ (w − w̃) G (w − w̃)ᵀ, written out. */
function outputError(held: FormatCodes, data: Float32Array, { gram, groups }: { gram: Float64Array; groups: number }) {
  let sum = 0;
  const off = data.map((w, i) => w - held.values[i]!);
  for (let r = 0; r < rows; r++)
    for (let i = 0, g = Math.floor(r / (rows / groups)) * columns ** 2; i < columns; i++)
      for (let j = 0; j < columns; j++) sum += off[r * columns + i]! * gram[g++]! * off[r * columns + j]!;
  return sum;
}

const descended = (p: OutputProblem): Uint16Array => {
  const codes = p.held.codes.slice();
  finished(descendFormatCodes(p, codes));
  return codes;
};

describe.each(names)('codes of %s by the error of the output', (name) => {
  it.each(sharings)(
    'descent is never worse than the nearest, and no neighbour of any weight is better (%j)',
    (sharing) => {
      for (let seed = 1; seed < 3; seed++) {
        const { held, data, moments, p } = problemOf(name, seed, sharing);
        const codes = descended(p);
        const found = heldCodes(p, codes);
        // Damping by 1e-6 is all that the two errors differ by.
        expect(outputError(found, data, moments)).toBeLessThanOrEqual(outputError(held, data, moments) * (1 + 1e-4));
        const least = total(p, codes);
        for (let i = 0; i < codes.length; i++)
          for (const step of [-1, 1]) {
            const other = codes.slice();
            other[i]! += step;
            if (codes[i]! + step < 0 || other[i]! >= p.grids[p.paramOf[i]!]!.levels.length) continue;
            expect(total(p, other)).toBeGreaterThanOrEqual(least - 1e-9 * Math.abs(least));
          }
      }
    },
  );

  it('f is the error of the output up to what no rounding changes', () => {
    const { held, data, moments, p } = problemOf(name, 3);
    const after = heldCodes(p, descended(p));
    const [a, b] = [outputError(held, data, moments), outputError(after, data, moments)];
    const power = total(p, held.codes) - total(p, after.codes);
    const float = problemOf('int:bits=16', 3);
    // In units of the mean output power of a float row: −f of (nearly) the float weights is the rows' sum of it, their number.
    expect(-total(float.p, float.held.codes)).toBeCloseTo(rows, 3);
    expect(power / (a - b)).toBeGreaterThan(0);
  });

  it('leaves exact zeros at 0 where there is a level 0', () => {
    const { data, p } = problemOf(name, 4, undefined, 1, true);
    for (const codes of [descended(p), finished(gptqFormatCodes(p, { order: 'activation', at: 'w' }))]) {
      const { values } = heldCodes(p, codes);
      expect(data.every((w, i) => w !== 0 || values[i] === 0)).toBe(true);
    }
  });

  it('GPTQ is near the best of all codes and better than the nearest, over small rows', () => {
    let [nearest, chosen, best] = [0, 0, 0];
    for (let seed = 1; seed < 4; seed++) {
      const data = fill(4, gaussian(seed));
      const { gram } = quadratic(seed, 4, 1);
      const held = formatCodes(written(name), { data, rows: 1, columns: 4, kernel: [] }, { sharing: 'tensor' });
      const p = finished(outputProblem(held, data, 4, { groups: 1, gram }, 1e-6));
      const [{ levels }] = p.grids as [OutputProblem['grids'][number]];
      const error = (codes: Uint16Array): number => rowOutputError(p, 0, codes) + 1;
      const n = levels.length;
      let least = Infinity;
      for (let all = 0; all < n ** 4; all++) {
        const codes = Uint16Array.from({ length: 4 }, (_, i) => Math.floor(all / n ** i) % n);
        least = Math.min(least, error(codes));
      }
      const codes = finished(gptqFormatCodes(p, { order: 'activation', at: 'w' }));
      finished(descendFormatCodes(p, codes));
      expect(error(codes)).toBeGreaterThanOrEqual(least - 1e-9);
      [nearest, chosen, best] = [nearest + error(held.codes), chosen + error(codes), best + least];
    }
    expect(chosen).toBeLessThanOrEqual(nearest);
    expect(best).toBeLessThanOrEqual(chosen);
  });
});

describe('gptqFormatCodes', () => {
  it.each(['natural', 'activation'] as const)('is the GPTQ of integers where the format is int (%s)', (order) => {
    for (let seed = 1; seed < 10; seed++) {
      const { held, data, moments, p } = problemOf('int4', seed, 'channel', 1);
      const mine = finished(gptqFormatCodes(p, { order, at: 'w' }));
      const format = { kind: 'int', bits: 4, signed: true, symmetric: true, narrow: true } as const;
      const choose = (_: Float32Array, row: number) => ({ scale: held.groups[row]!.scale, zeroPoint: 0 });
      const options = { format, order, damping: 1e-6, choose };
      const { codes } = finished(gptq(data, [rows, columns], moments.gram, options));
      expect(Array.from(mine, (code) => code - 7)).toEqual([...codes]);
    }
  });
});

describe('refitScales', () => {
  it('gives a row the scale t·b / b G bᵀ, and each turn makes the error less', () => {
    const { p } = problemOf('ternary', 2, 'channel');
    const codes = descended(p);
    const next = finished(refitScales(p, codes));
    for (let r = 0; r < rows; r++) {
      const b = Array.from(codes.subarray(r * columns, (r + 1) * columns), (code) => code - 1);
      const g = Math.floor(r / (rows / 2)) * columns ** 2;
      let [along, square] = [0, 0];
      for (let i = 0; i < columns; i++) {
        along += b[i]! * p.target[r * columns + i]!;
        for (let j = 0; j < columns; j++) square += b[i]! * p.gram[g + i * columns + j]! * b[j]!;
      }
      // Scales are stored as float16.
      expect(next.held.groups[r]!.scale / (along / square)).toBeCloseTo(1, 3);
    }
    expect(total(next, codes)).toBeLessThan(total(p, codes));
  });

  it.each(sharings)('makes the error no larger for any sharing (%j)', (sharing) => {
    const { p } = problemOf('int4', 5, sharing);
    const codes = descended(p);
    // Rounding to float16 costs up to 2^-22 of the power.
    expect(total(finished(refitScales(p, codes)), codes)).toBeLessThanOrEqual(total(p, codes) + rows * 2 ** -20);
  });

  it('leaves powers of two, and levels of a group’s own, to their format', () => {
    for (const name of ['log2', 'mxfp4', 'codebook', 'nvfp4'])
      expect([name, scalesAreFree(problemOf(name, 6).held)]).toEqual([name, false]);
    for (const name of ['ternary', 'int4', 'nf4']) expect(scalesAreFree(problemOf(name, 6).held)).toBe(true);
  });
});
