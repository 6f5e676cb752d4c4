import type { SensitivityMap } from '../../passes/pass.ts';
import type { LayerReport, RunReport, StageReport } from '../../run/report.ts';
import { bytes, dropText, number, percent, titleOf, withInterval } from '../format.ts';
import { measurementShown, metricNamed, strengthOf } from '../summary.ts';
import { frontierOf, measuredModels, type MeasuredModel } from './models.ts';
import { figure } from './parts.ts';
import { linear, logarithmic } from './scale.ts';
import { axisBelow, axisLeft, chartWidth, cutLabel, key, letter, line, mark, marked, picture, plotOf, px, rect, text, whisker, type Shape } from './svg.ts'; // prettier-ignore
import { treemap } from './treemap.ts';

type Metric = RunReport['baseline']['metrics'][number];

const tones = { kept: 'good', retried: 'fair', warned: 'fair', undone: 'bad', stopped: 'bad' } as const;

/** The float model and every stage as steps from left to right. */
function steps(report: RunReport) {
  const stage = (one: StageReport) => ({
    label: String(one.index),
    title: `${one.index} ${one.instance} ${strengthOf(one)}, ${one.verdict}`.replace(/ ,/, ','),
    measured: measurementShown(one),
    tone: tones[one.verdict],
  });
  return [
    { label: 'float', title: 'float model', measured: report.baseline, tone: 'plain' as const },
    ...report.stages.map(stage),
  ];
}

/** A metric after every stage, with its interval. */
export function stageMetricChart(report: RunReport, wanted: Metric): string {
  const all = steps(report).map((step) => ({ ...step, metric: metricNamed(step.measured, wanted.name) }));
  const ends = all.flatMap(({ metric }) => (metric === undefined ? [] : endsOf(metric)));
  if (ends.filter(Number.isFinite).length === 0) return '';
  const plot = plotOf(220);
  const held = wanted.unit === '%' ? ends.map(share) : ends;
  const y = linear(held, [plot.bottom, plot.top]);
  const x = columns(all.length, plot);
  const points = all.map(({ label, title, metric, tone }, i) => {
    const under = everyLabel(i, all.length) ? text(x(i), plot.bottom + 17, label, 'mid') : '';
    if (metric === undefined) return under;
    const at = y.at(metric.value);
    const interval = metric.interval === undefined ? '' : whisker(x(i), y.at(metric.value - metric.interval), y.at(metric.value + metric.interval)); // prettier-ignore
    const told = `${title}: ${withInterval(metric.value, metric.interval, metric.unit)}`;
    // Beyond every axis.
    if (!Number.isFinite(metric.value))
      return under + marked(told, text(x(i), plot.top + 8, number(metric.value, ''), 'mid'));
    return under + marked(told, interval + mark(tone === 'bad' ? 'cross' : 'circle', x(i), at, 5, tone));
  });
  const body = axisLeft(y, plot, (value) => number(value, '')) + points.join('');
  return chart(`${titleOf(wanted)} after each stage`, 220, body, `${wanted.name} after each stage`);
}

/** Bytes on disk after every stage. */
export function stageBytesChart(report: RunReport): string {
  const all = steps(report);
  const plot = plotOf(220);
  const y = linear([0, ...all.map(({ measured }) => measured?.bytes ?? 0)], [plot.bottom, plot.top]);
  const x = columns(all.length, plot);
  const width = Math.min(46, ((plot.right - plot.left) / all.length) * 0.7);
  const bars = all.map(({ label, title, measured, tone }, i) => {
    const under = everyLabel(i, all.length) ? text(x(i), plot.bottom + 17, label, 'mid') : '';
    if (measured === undefined) return under;
    const top = y.at(measured.bytes);
    const told = `${title}: ${bytes(measured.bytes)}, ${percent(measured.bytes / report.model.bytes)} of float`;
    return under + marked(told, rect(x(i) - width / 2, top, width, plot.bottom - top, tone));
  });
  const body = axisLeft(y, plot, (value) => bytes(value)) + bars.join('');
  return chart('bytes on disk after each stage', 220, body);
}

/** Models of one run, or of one of several, on the chart of size and quality. */
export interface Series {
  readonly name: string;
  readonly shape: Shape;
  readonly kind: string;
  readonly models: readonly MeasuredModel[];
  /** Models of different float models are on no common frontier: which it is. */
  readonly origin?: string;
}

/** One run's models: what it tried, what it kept, and what came out. */
export function runSeries(report: RunReport, metric: string): Series[] {
  const models = measuredModels(report, metric);
  const of = (...roles: MeasuredModel['role'][]) => models.filter(({ role }) => roles.includes(role));
  const all: Series[] = [
    { name: 'float', shape: 'square', kind: 'plain', models: of('float') },
    { name: 'refused', shape: 'cross', kind: 'bad', models: of('refused') },
    { name: 'tried or kept on the way', shape: 'circle', kind: 'fair', models: of('tried', 'kept') },
    { name: 'result', shape: 'diamond', kind: 'good', models: of('result') },
  ];
  return all.filter((series) => series.models.length > 0);
}

/** Size against quality of every model that was measured; a line joins those that none beats in both. */
export function frontierChart(title: string, all: readonly Series[]): string {
  const models = all.flatMap((series) => series.models);
  if (models.length < 2) return '';
  const plot = plotOf(300);
  const sizes = models.map((model) => model.bytes);
  const far = Math.max(...sizes) > 4 * Math.min(...sizes);
  const x = (far ? logarithmic : linear)(sizes, [plot.left + 8, plot.right - 8]);
  const y = linear(worthShowing(models), [plot.bottom, plot.top], 5);
  const [lowest, highest] = [y.ticks[0] ?? 0, y.ticks.at(-1) ?? 0];
  const beyond = models.some(({ metric }) => metric.value < lowest || metric.value > highest);
  const origins = [...new Set(all.map(({ origin }) => origin))];
  const paths = origins.flatMap((origin) => {
    const own = all.filter((series) => series.origin === origin).flatMap((series) => series.models);
    const front = frontierOf(own.filter(({ role }) => role !== 'refused'));
    const path = front.map(({ bytes: size, metric }, i) => `${i === 0 ? 'M' : 'L'}${px(x.at(size))} ${px(y.at(metric.value))}`); // prettier-ignore
    return path.length > 1 ? [`<path class="front" d="${path.join('')}"/>`] : [];
  });
  const points = all.flatMap(({ name, shape, kind, models: own }) =>
    own.map(({ label, role, bytes: size, metric }) => {
      const drop = dropText(metric);
      const told = `${name === label ? '' : `${name}: `}${label}: ${bytes(size)}, ${titleOf(metric)} ${withInterval(metric.value, metric.interval, metric.unit)}${drop === '' ? '' : `, drop ${drop}`}`;
      const interval = metric.interval === undefined ? '' : whisker(x.at(size), y.at(metric.value - metric.interval), y.at(metric.value + metric.interval)); // prettier-ignore
      return marked(told, interval + mark(shape, x.at(size), y.at(metric.value), role === 'result' ? 6.5 : 4, kind));
    }),
  );
  const body =
    axisLeft(y, plot, (value) => number(value, '')) + axisBelow(x, plot, bytes) + paths.join('') + points.join('');
  const legend = all.map(({ name, shape, kind }) => key(name, mark(shape, 7, 7, 5, kind)));
  const told = beyond ? `${title} (marks at the edge lie beyond it)` : title;
  return chart(told, 300, body, title, legend);
}

/**
 * The values that an axis has to hold: float, results, and what lies near them. What failed far away would press together all that
 * is to be compared.
 */
function worthShowing(models: readonly MeasuredModel[]): number[] {
  const ends = ({ metric }: MeasuredModel): number[] => endsOf(metric);
  const results = models.filter(({ role }) => role === 'result' || role === 'float');
  const meant = (results.length > 1 ? results : models).flatMap(ends);
  const [low, high] = [Math.min(...meant), Math.max(...meant)];
  const room = 1.5 * (high - low);
  const near = models.flatMap(ends).filter((value) => value >= low - room && value <= high + room);
  return models[0]?.metric.unit === '%' ? near.map(share) : near;
}

const endsOf = ({ value, interval = 0 }: Metric): number[] => [value - interval, value + interval];

/** What a click on a layer's mark leads to. */
export const layerTarget = (index: number): string => `layer-${index + 1}`;

/** Bits a weight has in every layer that has weights, in graph order. */
export function bitsChart(layers: readonly LayerReport[]): string {
  const known = layers.flatMap((layer, i) => (layer.bits === undefined || layer.shape === undefined ? [] : [{ layer, i, bits: layer.bits }])); // prettier-ignore
  if (known.length === 0) return '';
  const plot = plotOf(200);
  const y = linear([0, ...known.map(({ bits }) => bits)], [plot.bottom, plot.top]);
  const x = columns(known.length, plot);
  const width = Math.max(1, ((plot.right - plot.left) / known.length) * 0.8);
  const bars = known.map(
    ({ layer, i, bits }, at) =>
    marked(`${layer.layer}: ${layer.weights}, ${bits} bits`, rect(x(at) - width / 2, y.at(bits), width, plot.bottom - y.at(bits), widthKind(bits)), layerTarget(i)), // prettier-ignore
  );
  const body = axisLeft(y, plot, String) + bars.join('') + depthLabels(known.length);
  return chart('bits a weight, over depth', 200, body, 'bits a weight over depth');
}

/** SQNR over depth: what has gathered at each layer's output, and what the layer adds by itself. */
export function errorChart(layers: readonly LayerReport[]): string {
  const known = layers.flatMap((layer, i) => (layer.sqnr === undefined && layer.own === undefined ? [] : [{ layer, i }])); // prettier-ignore
  const values = known.flatMap(({ layer }) => [layer.sqnr ?? NaN, layer.own ?? NaN]).filter(Number.isFinite);
  if (values.length === 0) return '';
  const plot = plotOf(200);
  const y = linear([0, ...values], [plot.bottom, plot.top]);
  const x = columns(known.length, plot);
  const path = known.flatMap(({ layer }, at) =>
    layer.sqnr === undefined ? [] : [`${px(x(at))} ${px(y.at(layer.sqnr))}`],
  );
  const owns = known.some(({ layer }) => layer.own !== undefined);
  // A mark of six pixels is hard to meet: the whole column leads to its layer.
  const wide = (plot.right - plot.left) / known.length;
  const hit = (at: number): string => rect(x(at) - wide / 2, plot.top, wide, plot.bottom - plot.top, 'hit');
  const points = known.map(({ layer, i }, at) => {
    const told = [
      layer.sqnr === undefined ? [] : [`${number(layer.sqnr, 'dB')} dB at its output`],
      layer.own === undefined ? [] : [`${number(layer.own, 'dB')} dB by itself`],
    ].flat();
    const gathered = layer.sqnr === undefined ? '' : mark('circle', x(at), y.at(layer.sqnr), 3, toneOf(layer.sqnr));
    const own = layer.own === undefined ? '' : mark('triangle', x(at), y.at(layer.own), 3, 'plain');
    return marked(`${layer.layer}: ${told.join(', ')}`, hit(at) + gathered + own, layerTarget(i));
  });
  const body = `${axisLeft(y, plot, String)}<path class="front" d="M${path.join('L')}"/>${points.join('')}${depthLabels(known.length)}`;
  const legend = [
    key('gathered at the output: green from 30 dB, amber from 20, red below', mark('circle', 7, 7, 4, 'good'), 'at the output'), // prettier-ignore
    ...(owns ? [key('of the layer by itself', mark('triangle', 7, 7, 4, 'plain'), 'own')] : []),
  ];
  return chart('SQNR over depth, dB (higher is better)', 200, body, 'SQNR over depth', legend);
}

export function toneOf(sqnr: number): 'good' | 'fair' | 'bad' {
  return sqnr >= 30 ? 'good' : sqnr >= 20 ? 'fair' : 'bad';
}

const widthKind = (bits: number | undefined): string =>
  bits === undefined ? 'w-none' : bits <= 4 ? 'w-4' : bits <= 8 ? 'w-8' : bits <= 16 ? 'w-16' : 'w-32';

/** Every layer as an area of its bytes, and what else is in the file. */
export function bytesTreemap(report: RunReport): string {
  const { layers } = report;
  const own = layers.map((layer) => layer.bytes ?? 0);
  const total = report.result.measurement.bytes;
  const rest = Math.max(0, total - own.reduce((a, b) => a + b, 0));
  if (!own.some((size) => size > 0)) return '';
  const height = 300;
  const tiles = treemap([...own, rest], chartWidth, height).map(({ index, x, y, width, height: tall }) => {
    const layer = layers[index];
    const size = layer ? (layer.bytes ?? 0) : rest;
    const name = layer?.layer ?? 'the rest';
    // System fonts have wide letters too: what is cut too early is better than what runs into the next tile.
    const fits = Math.floor((width - 12) / (1.2 * letter));
    const label =
      tall < 18 || fits < Math.min(name.length, 8)
        ? ''
        : text(x + 5, y + 15, cutLabel(name, fits), 'on') +
          (tall < 34 || fits < 8 ? '' : text(x + 5, y + 30, bytes(size), 'on'));
    const kind = layer ? widthKind(layer.bits) : 'w-none';
    const told = `${name}: ${bytes(size)}, ${percent(size / total)}${layer?.weights ? `, ${layer.weights}` : ''}`;
    return marked(told, rect(x + 0.5, y + 0.5, width - 1, tall - 1, kind) + label, layer && layerTarget(index));
  });
  const sized = layers.filter((layer) => (layer.bytes ?? 0) > 0);
  const used = [...new Set(sized.map((layer) => widthKind(layer.bits)))].sort();
  const words: Readonly<Record<string, string>> = {
    'w-4': 'to 4 bits',
    'w-8': 'to 8 bits',
    'w-16': '16 bits',
    'w-32': '32 bits',
    'w-none': 'no weights',
  };
  const legend = used.map((kind) => key(words[kind] ?? '', rect(1, 1, 12, 12, kind)));
  return chart('where the bytes of the result are', height, tiles.join(''), 'bytes of every layer', legend);
}

/** What each layer costs the model by itself: the darker, the more. */
export function sensitivityChart(map: SensitivityMap): string {
  const drops = map.rows.flatMap(({ values }) =>
    values.filter((value) => value !== undefined && Number.isFinite(value)),
  );
  if (drops.length === 0) return '';
  const most = Math.max(1e-12, ...drops.map((drop) => drop ?? 0));
  const [left, top, tall] = [190, 24, 20];
  const wide = (chartWidth - left) / map.columns.length;
  const heads = map.columns.map((column, i) => text(left + (i + 0.5) * wide, 15, column, 'mid'));
  const rows = map.rows.map(({ layer, values }, r) => {
    const y = top + r * tall;
    const cells = map.columns.map((column, c) => {
      const value = values[c];
      if (value === undefined) return '';
      // Ten shades by the root of the drop: small ones are many, and are what one looks for.
      const shade = Number.isFinite(value) ? Math.round(9 * Math.sqrt(Math.max(0, value) / most)) : 9;
      const label =
        wide < 34
          ? ''
          : text(left + (c + 0.5) * wide, y + 14, number(value, map.unit), shade > 5 ? 'mid on' : 'mid cell');
      return marked(`${layer} at ${column}: drop ${number(value, map.unit)}`, rect(left + c * wide, y, wide - 1, tall - 1, `h${shade}`) + label); // prettier-ignore
    });
    return `${text(left - 6, y + 14, cutLabel(layer, 27), 'end')}${cells.join('')}`;
  });
  const title = `drop of ${map.metric} where one layer alone is changed`;
  return chart(title, top + map.rows.length * tall, heads.join('') + rows.join(''));
}

/** A chart of the usual width. `label` is what a screen reader calls it, where that is not the title. */
function chart(
  title: string,
  height: number,
  body: string,
  label = title,
  legend: Parameters<typeof figure>[2] = [],
): string {
  return figure(title, picture(label, chartWidth, height, body), legend);
}

/** Middle of each of `count` columns that share the plot's width. */
function columns(
  count: number,
  { left, right }: { readonly left: number; readonly right: number },
): (i: number) => number {
  return (i) => left + ((i + 0.5) / count) * (right - left);
}

/** No share is below 0 or above 100 %, whatever its interval. */
const share = (value: number): number => Math.max(0, Math.min(100, value));

/** Labels of many columns would cover each other: at most twelve are written. */
function everyLabel(i: number, count: number): boolean {
  return i % Math.ceil(count / 12) === 0;
}

function depthLabels(count: number): string {
  const plot = plotOf(200);
  return (
    text(plot.left, plot.bottom + 17, 'first layer') +
    text(plot.right, plot.bottom + 17, count === 1 ? '' : 'last layer', 'end') +
    line(plot.left, plot.bottom, plot.right, plot.bottom, 'grid')
  );
}
