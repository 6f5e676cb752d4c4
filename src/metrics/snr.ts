import { decibels } from '../numerics/error.ts';
import { distance, type CompareOptions } from './compare.ts';
import type { Metric } from './metric.ts';

type Wave = ArrayLike<number>;

/** dB beyond which a sample counts no more: one that is equal to the last bit, or noise in place of silence, must not be all that the mean shows. */
const most = 150;

/** Energy of the wanted wave over that of the error, dB. */
function snrOf(own: Wave, wanted: Wave): number {
  let [signal, noise] = [0, 0];
  for (let i = 0; i < own.length; i++) {
    signal += wanted[i]! ** 2;
    noise += (wanted[i]! - own[i]!) ** 2;
  }
  return bounded(signal, noise);
}

/** The same for waves without their means, of which the wanted one is scaled to be nearest to the other, dB. */
function scaleInvariantOf(own: Wave, wanted: Wave): number {
  const { length } = own;
  let [meanOwn, meanWanted] = [0, 0];
  for (let i = 0; i < length; i++) {
    meanOwn += own[i]! / length;
    meanWanted += wanted[i]! / length;
  }
  let [dot, power, energy] = [0, 0, 0];
  for (let i = 0; i < length; i++) {
    const [x, y] = [own[i]! - meanOwn, wanted[i]! - meanWanted];
    dot += x * y;
    power += y * y;
    energy += x * x;
  }
  // A wave that only stands still has no scale at which it would be the other.
  if (power === 0 || energy === 0) return power === energy ? most : -most;
  const factor = dot / power;
  let noise = 0;
  for (let i = 0; i < length; i++) noise += (own[i]! - meanOwn - factor * (wanted[i]! - meanWanted)) ** 2;
  return bounded(factor * factor * power, noise);
}

/** NaN stays NaN. */
function bounded(signal: number, noise: number): number {
  if (noise === 0) return most;
  return Math.max(-most, Math.min(most, decibels(signal, noise)));
}

function byClip(
  name: string,
  summary: string,
  of: (own: Wave, wanted: Wave) => number,
  options: CompareOptions,
): Metric {
  // prettier-ignore
  return distance(options, {
    name,
    unit: 'dB',
    higherIsBetter: true,
    equal: most,
    summary,
    start: () => ({ samples: 0, own: 0, float: 0 }),
    add(sums, { own, wanted, float }) {
      sums.own += of(own, wanted);
      if (options.against === 'expected') sums.float += of(float, wanted);
    },
    value: (sums, which) => sums[which] / sums.samples,
  });
}

/** Signal-to-noise ratio of each sample's output (a wave), dB, averaged over samples, each taken as at most 150 dB and at least −150. */
export const snr = (options: CompareOptions = {}): Metric =>
  byClip('snr', 'mean signal-to-noise ratio of the samples, dB', snrOf, options);

/**
 * Scale-invariant signal-to-noise ratio of each sample's output, dB, averaged likewise.
 * Source: Y. Luo and N. Mesgarani, Conv-TasNet, IEEE/ACM TASLP 27 (2019), eq. 15: means are taken off first.
 */
export const siSnr = (options: CompareOptions = {}): Metric =>
  byClip('si_snr', 'mean scale-invariant signal-to-noise ratio of the samples, dB', scaleInvariantOf, options);
