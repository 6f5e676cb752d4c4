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
  switch (kind) {
    case 'minmax':
      return sealed(minmax(at));
    case 'moving_average_minmax':
      return sealed(movingAverageMinmax(options, at));
    case 'average_minmax':
      return sealed(averageMinmax({ per: options.average_per }, at));
    case 'histogram':
      return sealed(histogram(options, at));
  }
}

const dependsOn: Readonly<Record<StatisticKind, readonly (keyof CalibrationOptions)[]>> = {
  minmax: [],
  moving_average_minmax: ['averaging_constant'],
  average_minmax: ['average_per'],
  histogram: ['num_bins'],
};

/** Those of the options that a statistic itself depends on; the others only decide what is made of it. */
export function statisticOptions(kind: StatisticKind, o: CalibrationOptions): CalibrationOptions {
  return Object.fromEntries(dependsOn[kind].map((key) => [key, o[key]]));
}

const ends = ({ min, max }: Statistic): Range => ({ min, max });

/** A method that reads a histogram. */
const ofHistogram = (
  name: string,
  summary: string,
  options: readonly (keyof CalibrationOptions)[],
  range: (h: Histogram, format: AffineFormat, options: CalibrationOptions) => Range,
): Calibrator => ({
  name,
  summary,
  statistics: ['histogram'],
  options: ['num_bins', ...options],
  range(statistic, format, o = {}) {
    if ('counts' in statistic) return range(statistic, format, o);
    throw new Error('this calibration method reads a histogram');
  },
});

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
  ofHistogram('percentile', 'cuts a share of the values off the ends', ['percentile', 'symmetric'], (h, format, o) =>
    percentileRange(h, { ...o, symmetric: o.symmetric ?? format.symmetric }),
  ),
  ofHistogram('entropy', 'least Kullback-Leibler divergence (TensorRT)', ['num_quantized_bins'], entropyRange),
  ofHistogram('mse', 'least mean squared error', [], mseRange),
  ofHistogram('lp', 'least mean |error|^p', ['p'], lpRange),
  ofHistogram('aciq_gauss', 'analytic clip for a Gaussian (ACIQ)', [], (h, format) => aciqRange(h, format, 'gauss')),
  ofHistogram('aciq_laplace', 'analytic clip for a Laplace distribution (ACIQ)', [], (h, format) =>
    aciqRange(h, format, 'laplace'),
  ),
  ofHistogram('n_std', 'mean ± n standard deviations (Distiller: N_STD)', ['n_stds'], (h, _format, o) =>
    stdRange(h, o),
  ),
];
