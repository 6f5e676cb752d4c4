import type { BenchFigures } from '../runtime/bench.ts';
import { bytes, distinctPaths, grouped, hanging } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table } from './table.ts';

/** What `qtool bench` found out. */
export interface BenchReport {
  readonly format: 1;
  readonly threads: number;
  /** Where the samples are from; undefined: made up. */
  readonly data: string | undefined;
  readonly models: readonly BenchFigures[];
}

const ms = (time: number): string => `${time >= 999.5 ? Math.round(time) : time.toPrecision(3)} ms`;

/** A table of what each model costs before it runs, and one for its runs: the speed is beside the first model's. */
export function benchText({ models, threads, data }: BenchReport, paint: Paint, width: number): string {
  // Beside the other columns of the wider table.
  const names = distinctPaths(models.map(({ path }) => path), Math.max(16, Math.min(60, width - 52))); // prettier-ignore
  const name = (path: string): string => names[models.findIndex((model) => model.path === path)] ?? path;
  const costs = models.map(({ path, bytes: size, loadMilliseconds, memory }) => [
    ...[name(path), bytes(size), ms(loadMilliseconds), bytes(Math.max(0, memory))],
  ]);
  const sizes = (models[0]?.batches ?? []).map(({ batch }) => batch);
  const runs = sizes.flatMap((batch, i) => {
    const first = models[0]?.batches[i]?.p50 ?? NaN;
    return models.map(({ path, batches }) => {
      const one = batches[i];
      const { p50 = NaN, p90 = NaN, perSecond = NaN } = one ?? {};
      const rate = perSecond < 100 ? perSecond.toPrecision(3) : grouped(perSecond);
      return [
        name(path),
        String(batch),
        ms(p50),
        ms(p90),
        rate,
        ...(models.length > 1 ? [`${(first / p50).toFixed(2)}×`] : []),
      ];
    });
  });
  const on = `on ${threads === 1 ? 'one thread' : `${threads} threads`}, ${data === undefined ? 'random input' : data}`;
  return [
    paint.dim(hanging('', `${models.length > 1 ? 'in turn, ' : ''}${on}`, width)),
    table([{ title: 'model' }, right('size'), right('load'), right('memory')], costs, paint),
    table(
      [
        { title: 'model' },
        right('batch'),
        right('p50'),
        right('p90'),
        right('per second'),
        ...(models.length > 1 ? [right('speed')] : []),
      ],
      runs,
      paint,
    ),
  ].join('\n\n');
}
