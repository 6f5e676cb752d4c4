import type { AffineFormat } from '../../src/numerics/affine.ts';
import { gptq as gptqSteps } from '../../src/numerics/gptq.ts';
import { damped, solveSpd as solveSpdSteps } from '../../src/numerics/linalg.ts';
import { dequantize, minMaxParams, quantize } from '../../src/numerics/quantize.ts';
import { sparsegpt as sparsegptSteps } from '../../src/numerics/sparsegpt.ts';
import { applyMask, levelMask } from '../../src/numerics/sparsity.ts';
import { wandaMask, wandaScores } from '../../src/numerics/wanda.ts';
import { bestParams } from '../../src/numerics/weight_scale.ts';
import { fill, gaussian } from './samples.ts';
import { whole } from '../helpers/whole.ts';

const gptq = whole(gptqSteps);
const solveSpd = whole(solveSpdSteps);
const sparsegpt = whole(sparsegptSteps);

const s4: AffineFormat = { kind: 'int', bits: 4, signed: true, symmetric: true, narrow: true };
const u3: AffineFormat = { kind: 'int', bits: 3, signed: false, symmetric: false };

/** Inputs whose neighbours are correlated, [samples, n], and Σ x·xᵀ. */
function inputs(n: number, samples: number, seed: number): { x: Float64Array; hessian: Float64Array } {
  const next = gaussian(seed);
  const x = new Float64Array(samples * n);
  for (let s = 0; s < samples; s++) {
    let v = 0;
    for (let i = 0; i < n; i++) {
      v = 0.8 * v + next();
      x[s * n + i] = v * (1 + (i % 5));
    }
  }
  const hessian = new Float64Array(n * n);
  for (let s = 0; s < samples; s++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        hessian[i * n + j] = (hessian[i * n + j] as number) + (x[s * n + i] as number) * (x[s * n + j] as number);
      }
    }
  }
  return { x, hessian };
}

/** ‖(W − V)·X‖². */
function outputError(w: Float32Array, v: Float32Array, rows: number, n: number, x: Float64Array): number {
  let sum = 0;
  for (let s = 0; s < x.length; s += n) {
    for (let r = 0; r < rows; r++) {
      let e = 0;
      for (let j = 0; j < n; j++) {
        e += ((w[r * n + j] as number) - (v[r * n + j] as number)) * (x[s + j] as number);
      }
      sum += e * e;
    }
  }
  return sum;
}

function inverse(h: Float64Array, n: number): Float64Array {
  return solveSpd(
    h,
    n,
    Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)),
    n,
  );
}

/**
 * Optimal brain surgeon as its paper has it (Frantar & Alistarh, Optimal Brain Compression, equations 2 and 4): after each column
 * the others take −e/[H⁻¹]ⱼⱼ·H⁻¹[:, j], and H⁻¹ loses that row and column by Gaussian elimination. No Cholesky anywhere.
 */
function plainObs(
  w: Float32Array,
  rows: number,
  n: number,
  hessian: Float64Array,
  order: number[],
  fix: (row: number, j: number, value: number) => number,
): Float64Array {
  const v = Float64Array.from(w);
  const inv = inverse(damped(hessian, n, 0.01), n);
  for (const j of order) {
    const d = inv[j * n + j] as number;
    for (let r = 0; r < rows; r++) {
      const value = v[r * n + j] as number;
      const fixed = fix(r, j, value);
      const e = (value - fixed) / d;
      for (let k = 0; k < n; k++) v[r * n + k] = (v[r * n + k] as number) - e * (inv[k * n + j] as number);
      v[r * n + j] = fixed;
    }
    const column = Array.from({ length: n }, (_, k) => inv[k * n + j] as number);
    for (let a = 0; a < n; a++) {
      for (let b = 0; b < n; b++) {
        inv[a * n + b] = (inv[a * n + b] as number) - ((column[a] as number) * (column[b] as number)) / d;
      }
    }
  }
  return v;
}

const rows = 6; // not a multiple of four
const n = 75; // not one of 32
const w = fill(rows * n, gaussian(21));
const { x, hessian } = inputs(n, 200, 22);
const dims = [rows, n];

describe('gptq', () => {
  it.each(['natural', 'activation'] as const)('is the optimal brain surgeon of the paper, in %s order', (order) => {
    const { codes, params } = gptq(w, [rows, n], hessian, { format: s4, order });
    expect(params).toEqual(minMaxParams(w, dims, s4, { per: 'channel', axis: 0 }));
    const columns = Array.from({ length: n }, (_, i) => i);
    if (order === 'activation') columns.sort((a, b) => (hessian[b * n + b] as number) - (hessian[a * n + a] as number));
    const reference = plainObs(w, rows, n, hessian, columns, (r, _j, value) => {
      const s = params.scale[r] as number;
      return Math.min(7, Math.max(-7, Math.round(value / s))) * s;
    });
    const real = dequantize(codes, dims, params);
    // The same arithmetic in another order: a value near a boundary may round the other way and change what follows.
    const same = real.filter((v, i) => Math.abs(v - (reference[i] as number)) < 1e-4).length;
    expect(same).toBe(rows * n);
  });

  it('chooses the scale of a group from the weights as changed so far', () => {
    // The first group's error, carried on by the paper's rule, is what the second group's scale must come from.
    const size = 48;
    const { codes, params } = gptq(w, [rows, n], hessian, { format: s4, group: size });
    const afterFirst = plainObs(
      w,
      rows,
      n,
      hessian,
      Array.from({ length: size }, (_, i) => i),
      (r, j) => (codes[r * n + j] as number) * (params.scale[r * 2] as number),
    );
    for (let r = 0; r < rows; r++) {
      const largest = Math.max(...Array.from(afterFirst.slice(r * n + size, (r + 1) * n), Math.abs));
      expect((params.scale[r * 2 + 1] as number) / (largest / 7)).toBeCloseTo(1, 5);
    }
  });

  it('with inputs that are not correlated is plain rounding', () => {
    const diagonal = new Float64Array(n * n);
    for (let i = 0; i < n; i++) diagonal[i * n + i] = 1 + i;
    const { codes, params } = gptq(w, [rows, n], diagonal, { format: u3 });
    expect(codes).toEqual(quantize(w, dims, params));
  });

  it.each([
    ['per row', undefined, 'natural'],
    ['groups of 16', 16, 'natural'],
    ['groups of 48, ragged', 48, 'natural'],
    ['groups of 16 by activation', 16, 'activation'],
  ] as const)('changes the output less than rounding: %s', (_, group, order) => {
    for (const format of [s4, u3]) {
      const result = gptq(w, [rows, n], hessian, { format, group, order });
      const gap = outputError(w, dequantize(result.codes, dims, result.params), rows, n, x);
      const granularity =
        group === undefined
          ? ({ per: 'channel', axis: 0 } as const)
          : ({ per: 'group', axis: 1, size: group } as const);
      expect(result.params.granularity).toEqual(granularity);
      const rounded = minMaxParams(w, dims, format, granularity);
      expect(gap).toBeLessThan(
        0.75 * outputError(w, dequantize(quantize(w, dims, rounded), dims, rounded), rows, n, x),
      );
    }
  });

  it('takes scales from elsewhere, and keeps pruned weights at zero', () => {
    const mask = levelMask(w, 0.5);
    const sparse = applyMask(w, mask);
    const { codes, params } = gptq(sparse, [rows, n], hessian, { format: u3, mask, choose: (v) => bestParams(v, u3) });
    const real = dequantize(codes, dims, params);
    expect(real.every((v, i) => mask[i] === 1 || v === 0)).toBe(true);
    const rounded = minMaxParams(sparse, dims, u3, { per: 'channel', axis: 0 });
    const plain = dequantize(quantize(sparse, dims, rounded), dims, rounded);
    expect(outputError(sparse, real, rows, n, x)).toBeLessThan(0.75 * outputError(sparse, plain, rows, n, x));
  });

  it('copes with inputs that never occur, and says what does not fit', () => {
    const dead = hessian.slice();
    for (let i = 0; i < n; i++) dead[3 * n + i] = dead[i * n + 3] = 0;
    const { codes, params } = gptq(w, [rows, n], dead, { format: s4 });
    for (let r = 0; r < rows; r++) {
      const i = r * n + 3;
      expect(Math.abs((w[i] as number) - (codes[i] as number) * (params.scale[r] as number))).toBeLessThan(
        params.scale[r] as number,
      );
    }
    expect(() => gptq(w, [rows, n], new Float64Array(4), { format: s4, at: 'fc1' })).toThrow('Hessian of 75 × 75');
  });
});

describe('sparsegpt', () => {
  it('updates as the optimal brain surgeon does', () => {
    const mask = levelMask(w, 0.5);
    const pruned = sparsegpt(w, [rows, n], hessian, { mask });
    const columns = Array.from({ length: n }, (_, i) => i);
    const reference = plainObs(w, rows, n, hessian, columns, (r, j, v) => (mask[r * n + j] === 0 ? 0 : v));
    pruned.weights.forEach((v, i) => expect(Math.abs(v - (reference[i] as number))).toBeLessThan(1e-5));
  });

  it('is the least-squares optimum where the pruned columns come first', () => {
    const k = 20;
    const mask = Uint8Array.from(w, (_, i) => (i % n < k ? 0 : 1));
    const { weights } = sparsegpt(w, [rows, n], hessian, { mask });
    // min ‖(w − v)·X‖² with v[0..k) = 0: H_rr·(v − w)_r = H_rp·w_p for the remaining r and the pruned p.
    const h = damped(hessian, n, 0.01);
    const m = n - k;
    const rest = Float64Array.from({ length: m * m }, (_, i) => h[(k + Math.floor(i / m)) * n + k + (i % m)] as number);
    for (let r = 0; r < rows; r++) {
      const right = Float64Array.from({ length: m }, (_, i) => {
        let s = 0;
        for (let p = 0; p < k; p++) s += (h[(k + i) * n + p] as number) * (w[r * n + p] as number);
        return s;
      });
      const change = solveSpd(rest, m, right, 1);
      for (let i = 0; i < m; i++) {
        // float32 weights of size 1 to 3.
        expect(
          Math.abs((weights[r * n + k + i] as number) - (w[r * n + k + i] as number) - (change[i] as number)),
        ).toBeLessThan(1e-5);
      }
    }
  });

  it.each([
    ['a share of the layer', { share: 0.5 }],
    ['a share of each row', { share: 0.5, scope: 'row' }],
    ['small blocks', { share: 0.5, block: 10 }],
    ['2:4', { pattern: { n: 2, m: 4 } }],
  ] as const)('%s: half is gone, and the output suffers less than by magnitude or by Wanda', (_, options) => {
    const { weights, mask } = sparsegpt(w, [rows, n], hessian, options);
    expect(Math.abs(weights.filter((w) => w === 0).length / weights.length - 0.5)).toBeLessThan(0.03); // rounding of each block's half
    expect(weights.every((v, i) => (mask[i] === 0) === (v === 0))).toBe(true);
    const norms = Array.from({ length: n }, (_v, i) => Math.sqrt(hessian[i * n + i] as number));
    const error = outputError(w, weights, rows, n, x);
    const wanda = applyMask(w, wandaMask(w, [rows, n], norms, 'pattern' in options ? options.pattern : { share: 0.5 }));
    expect(error).toBeLessThan(0.5 * outputError(w, applyMask(w, levelMask(w, 0.5)), rows, n, x));
    expect(error).toBeLessThan(0.7 * outputError(w, wanda, rows, n, x));
  });

  it('wants something to choose by', () => {
    expect(() => sparsegpt(w, [rows, n], hessian, {})).toThrow('share, an N:M pattern or a mask');
    expect(() => sparsegpt(w, [rows, 3], hessian, { share: 0.5 })).toThrow('Hessian of 3 × 3');
  });
});

describe('wanda', () => {
  it('scores by weight times input norm, within each row', () => {
    const small = Float32Array.of(1, -2, 3, -4, 4, 3, 2, 1);
    expect([...wandaScores(small, 4, [4, 1, 1, 0.5])]).toEqual([4, 2, 3, 2, 16, 3, 2, 0.5]);
    expect([...wandaMask(small, [2, 4], [4, 1, 1, 0.5], { share: 0.5 })]).toEqual([1, 0, 1, 0, 1, 1, 0, 0]);
    expect([...wandaMask(small, [2, 4], [4, 1, 1, 0.5], { n: 1, m: 2 })]).toEqual([1, 0, 1, 0, 1, 0, 1, 0]);
  });
});
