import type { MetricResult } from '../metrics/metric.ts';
import { sure } from '../analyze/speed.ts';
import type { Latency } from '../runtime/time.ts';
import type { CompareReport } from '../run/compare.ts';
import { latencyTable, metricTable } from './eval.ts';
import { bullets, bytes, datasetText, hanging, number, percent, pointsOf, shorten } from './format.ts';
import { layerTable } from './layer_table.ts';
import type { Paint } from './paint.ts';

/** What `qtool compare` prints: the answer in one line, where the models part, then the tables. */
export function compareText(report: CompareReport, paint: Paint, width: number): string {
  const { model, reference, data, where, layers, notes } = report;
  const head = [
    hanging('first   ', `${reference.path}: ${bytes(reference.bytes)}`, width),
    hanging('second  ', `${model.path}: ${bytes(model.bytes)}`, width),
    hanging('data    ', datasetText(data), width),
  ];
  const parts = [
    report.warnings.map((text) => paint.yellow(hanging('! ', text, width))).join('\n'),
    head.map((line) => paint.dim(line)).join('\n'),
    [paint.bold(hanging('', headline(report), width)), hanging('', partText(report), width)].join('\n'),
    where.map((sentence) => hanging('  - ', sentence, width)).join('\n'),
    metricTable(report, paint),
    latencyTable(report.measurement.latency, true, paint),
    layers.length > 0 ? layerTable(layers, paint, width) : '',
    bullets('notes', notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** Size, speed, what was lost, how far the outputs are: in one sentence. */
function headline({ model, reference, measurement }: CompareReport): string {
  const of = (name: string) => measurement.metrics.find((metric) => metric.name === name);
  const sqnr = of('sqnr');
  const agreement = of('agreement');
  const judged = measurement.metrics.find(
    ({ reference: float, name }) => Number.isFinite(float) && !distances.has(name),
  );
  const speed = measurement.latency[0];
  const facts = [
    `the second has ${percent(model.bytes / reference.bytes)} of the first's bytes`,
    ...(speed ? [speedText(speed)] : []),
    ...(judged ? [`${judged.name} ${changeText(judged)}`] : []),
    ...(agreement ? [`the same class for ${number(agreement.value, '%')} %`] : []),
    ...(sqnr ? [sqnr.value === Infinity ? 'equal outputs' : `outputs at ${number(sqnr.value, 'dB')} dB`] : []),
  ];
  return facts.join(', ');
}

/** With the middle half of the runs, and a word where that does not lie on one side of equal. */
function speedText({ ratio, ratioLow, ratioHigh, batch }: Latency): string {
  const between = `${ratioLow.toFixed(2)} to ${ratioHigh.toFixed(2)}`;
  const unsure = ratioLow < sure && ratioHigh >= 1 ? ': not surely faster' : '';
  return `${ratio.toFixed(2)}× its speed at batch ${batch} (${between}${unsure})`;
}

function changeText({ drop, unit, higherIsBetter }: MetricResult): string {
  if (drop === 0) return 'is the same';
  const falls = drop > 0 === higherIsBetter;
  return `${falls ? 'falls' : 'rises'} by ${number(Math.abs(drop), unit)}${pointsOf(unit)}`;
}

/** Metrics whose value of the first model says nothing about it. */
const distances: ReadonlySet<string> = new Set(['agreement', 'sqnr', 'cosine', 'mse', 'psnr', 'largest difference']);

function partText({ first, layers }: CompareReport): string {
  if (first) {
    const own = first.own === undefined ? '' : `, its own error at ${number(first.own, 'dB')} dB`;
    return `they part at ${shorten(first.layer, 60)} (${first.op}), whose output is at ${number(first.sqnr ?? NaN, 'dB')} dB${own}`;
  }
  return layers.some(({ sqnr }) => sqnr !== undefined)
    ? 'no layer that both have differs by more than float32 rounding'
    : '';
}
