import { aciqRange, stdRange } from './aciq.ts';
import type { AffineFormat } from './affine.ts';
import { averageMinmax } from './average_minmax.ts';
import { entropyRange } from './entropy.ts';
import { sealed, type AnyFold } from './fold.ts';
import { histogram, type Histogram } from './histogram.ts';
import { lpRange } from './lp.ts';
import { minmax } from './minmax.ts';
import { movingAverageMinmax } from './moving_average_minmax.ts';
import { mseRange } from './mse.ts';
import { percentileRange } from './percentile.ts';
import type { Range } from './range.ts';
import type { Values } from './values.ts';

/** Options of all methods, under onnxruntime's and Distiller's names; each method reads those it lists. */
export interface CalibrationOptions {
  readonly num_bins?: number | undefined;
  readonly num_quantized_bins?: number | undefined;
  readonly percentile?: number | undefined;
  readonly symmetric?: boolean | undefined;
  readonly averaging_constant?: number | undefined;
  readonly average_per?: 'sample' | 'batch' | undefined;
  readonly p?: number | undefined;
  readonly n_stds?: number | undefined;
}

/** What is collected in the one pass over the data; several methods read the same. */
export type StatisticKind = 'minmax' | 'moving_average_minmax' | 'average_minmax' | 'histogram';
export type Statistic = Range | Histogram;

/** One way to choose a clip range. Every method needs one pass over the calibration data. */
export interface Calibrator {
  readonly name: string;
  readonly summary: string;
  /** The statistics it can be computed from, cheapest first. */
  readonly statistics: readonly StatisticKind[];
  readonly options: readonly (keyof CalibrationOptions)[];
  range(statistic: Statistic, format: AffineFormat, options?: CalibrationOptions): Range;
}

/** The fold that collects a statistic. `at` names the tensor in errors. */
export function observerOf(
  kind: StatisticKind,
  options: CalibrationOptions = {},
  at?: string,
): AnyFold<Values, Statistic> {
  const read = statisticOptions(kind, options);
  switch (kind) {
    case 'minmax':
      return sealed(minmax(at));
    case 'moving_average_minmax':
      return sealed(movingAverageMinmax(read, at));
    case 'average_minmax':
      return sealed(averageMinmax({ per: read.average_per }, at));
    case 'histogram':
      return sealed(histogram(read, at));
  }
}

/** Those of the options that a statistic itself depends on; the others only decide what is made of it. */
export function statisticOptions(kind: StatisticKind, o: CalibrationOptions): CalibrationOptions {
  switch (kind) {
    case 'minmax':
      return {};
    case 'moving_average_minmax':
      return { averaging_constant: o.averaging_constant };
    case 'average_minmax':
      return { average_per: o.average_per };
    case 'histogram':
      return { num_bins: o.num_bins };
  }
}

const ends = ({ min, max }: Statistic): Range => ({ min, max });

function needed(statistic: Statistic): Histogram {
  if ('counts' in statistic) return statistic;
  throw new Error('this calibration method reads a histogram');
}

/** Every calibration method. `range` costs at most a few milliseconds a tensor, so methods can be compared on one run. */
export const calibrators: readonly Calibrator[] = [
  {
    name: 'minmax',
    summary: 'the smallest and largest value',
    statistics: ['minmax', 'histogram'],
    options: [],
    range: ends,
  },
  {
    name: 'moving_average_minmax',
    summary: 'exponential moving average of the smallest and largest value of each batch',
    statistics: ['moving_average_minmax'],
    options: ['averaging_constant'],
    range: ends,
  },
  {
    name: 'average_minmax',
    summary: 'mean of the smallest and largest value of each sample (Distiller: AVG)',
    statistics: ['average_minmax'],
    options: ['average_per'],
    range: ends,
  },
  {
    name: 'percentile',
    summary: 'cuts a share of the values off the ends',
    statistics: ['histogram'],
    options: ['num_bins', 'percentile', 'symmetric'],
    range: (s, format, o = {}) =>
      percentileRange(needed(s), { ...o, symmetric: o.symmetric ?? (format.kind === 'int' && format.symmetric) }),
  },
  {
    name: 'entropy',
    summary: 'least Kullback-Leibler divergence (TensorRT)',
    statistics: ['histogram'],
    options: ['num_bins', 'num_quantized_bins'],
    range: (s, format, o) => entropyRange(needed(s), format, o),
  },
  {
    name: 'mse',
    summary: 'least mean squared error',
    statistics: ['histogram'],
    options: ['num_bins'],
    range: (s, format) => mseRange(needed(s), format),
  },
  {
    name: 'lp',
    summary: 'least mean |error|^p',
    statistics: ['histogram'],
    options: ['num_bins', 'p'],
    range: (s, format, o) => lpRange(needed(s), format, o),
  },
  {
    name: 'aciq_gauss',
    summary: 'analytic clip for a Gaussian (ACIQ)',
    statistics: ['histogram'],
    options: ['num_bins'],
    range: (s, format) => aciqRange(needed(s), format, 'gauss'),
  },
  {
    name: 'aciq_laplace',
    summary: 'analytic clip for a Laplace distribution (ACIQ)',
    statistics: ['histogram'],
    options: ['num_bins'],
    range: (s, format) => aciqRange(needed(s), format, 'laplace'),
  },
  {
    name: 'n_std',
    summary: 'mean ± n standard deviations (Distiller: N_STD)',
    statistics: ['histogram'],
    options: ['num_bins', 'n_stds'],
    range: (s, _format, o) => stdRange(needed(s), o),
  },
];
