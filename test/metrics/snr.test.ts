import { siSnr, snr } from '../../src/metrics/snr.ts';
import type { MetricResult } from '../../src/metrics/metric.ts';
import { batch, float, run } from './support.ts';

const length = 1000;
const wave = (of: (i: number) => number): number[] => Array.from({ length }, (_, i) => of(i));
const sine = (cycles: number): number[] => wave((i) => Math.sin((2 * Math.PI * cycles * i) / length));
const measured = (make: typeof snr, own: number[][], wanted: number[][]): MetricResult => {
  const tensor = (rows: number[][]) => ({ y: float([rows.length, length], ...rows.flat()) });
  return run(make(), { batch: batch(own.length), outputs: tensor(own), reference: tensor(wanted) });
};
const mixed = sine(3).map((v, i) => v + 0.1 * sine(7)[i]!);

describe('snr and si_snr', () => {
  it('are the ratio of amplitudes of two sines, which are orthogonal', () => {
    // 20·log10(1 / 0.1) = 20 dB for both; float32 leaves 1e-7 of amplitude.
    expect(measured(snr, [mixed], [sine(3)]).value).toBeCloseTo(20, 4);
    expect(measured(siSnr, [mixed], [sine(3)]).value).toBeCloseTo(20, 4);
  });

  it('differ by scale and offset alone', () => {
    // Twice as loud: the error has the energy of the wave.
    const louder = mixed.map((v) => 2 * v + 5);
    expect(measured(siSnr, [louder], [sine(3)]).value).toBeCloseTo(20, 3);
    expect(measured(snr, [sine(3).map((v) => 2 * v)], [sine(3)]).value).toBeCloseTo(0, 5);
  });

  it('are means over samples, each within 150 dB', () => {
    const silence = wave(() => 0);
    expect(measured(snr, [sine(3), mixed], [sine(3), sine(3)]).value).toBeCloseTo((150 + 20) / 2, 4);
    for (const make of [snr, siSnr]) {
      expect(measured(make, [silence], [silence]).value).toBe(150);
      expect(measured(make, [sine(3)], [silence]).value).toBe(-150);
      expect(measured(make, [sine(3)], [sine(3)])).toMatchObject({ unit: 'dB', reference: 150, drop: 0 });
      expect(measured(make, [wave(() => NaN)], [sine(3)]).value).toBe(NaN);
    }
    // Silence in place of a wave is as bad as can be, though no scale of the wave has an error there.
    expect(measured(siSnr, [silence], [sine(3)]).value).toBe(-150);
  });
});
