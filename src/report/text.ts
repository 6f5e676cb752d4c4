import { dirname, join } from 'node:path';
import type { LayerReport, RunReport, StageReport } from '../run/report.ts';
import { diagnosisText } from './diagnosis.ts';
import { leftAlone } from './epoch_notes.ts';
import { epochTable } from './epochs.ts';
import type { MetricResult } from '../metrics/metric.ts';
import {
  bullets,
  bytes,
  datasetText,
  distinct,
  duration,
  grouped,
  hanging,
  number,
  percent,
  plural,
  pointsOf,
} from './format.ts';
import type { Paint } from './paint.ts';
import { layerTable } from './layer_table.ts';
import { paintVerdict, stageTable } from './stage_table.ts';
import { byReason, gateText, metricCells, metricNamed, remarks, shownMetrics, triedText } from './summary.ts';
import { right, table, visibleWidth } from './table.ts';

export interface TextOptions {
  readonly paint: Paint;
  /** Columns of the terminal. */
  readonly width: number;
}

/** Layers printed before the rest is left to the HTML report. */
const maxLayers = 40;
/** Layer names printed for one reason. */
const maxNames = 6;

/** The whole report as terminal text, without a trailing newline. Pure: the same report gives the same text. */
export function textReport(report: RunReport, { paint, width }: TextOptions): string {
  const parts = [
    report.warnings.map((text) => paint.yellow(hanging('! ', text, width))).join('\n'),
    heading(report, paint, width),
    stageTable(report, paint, width),
    epochTable(report, paint, width),
    verdicts(report, paint, width),
    metrics(report, paint),
    layers(report.layers, paint, width),
    skipped(report, paint, width),
    bullets('notes', remarks(report), paint, width),
    diagnosisOf(report, paint, width),
    resultLine(report, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function heading(report: RunReport, paint: Paint, width: number): string {
  const { model, tool, data } = report;
  const lines = [
    hanging(
      'model        ',
      `${model.path}: ${bytes(model.bytes)}, ${grouped(model.parameters)} parameters, opset ${model.opset}`,
      width,
    ),
    // A report may carry the schedule's whole text: that is for the HTML.
    ...(report.schedule.includes('\n') ? [] : [hanging('schedule     ', report.schedule, width)]),
    hanging('calibration  ', datasetText(data.calibration), width),
    hanging('validation   ', datasetText(data.validation), width),
    hanging(
      'measured on  ',
      `onnxruntime ${tool.onnxruntime}, Node ${tool.node.replace(/^v/, '')}, ${tool.platform}, ${tool.cpu}; the run took ${duration(report.seconds)}`,
      width,
    ),
  ];
  return lines.map((line) => paint.dim(line)).join('\n');
}

/** Stages that did not simply pass: why, and what was tried. */
function verdicts(report: RunReport, paint: Paint, width: number): string {
  const blocks = report.stages
    .filter((stage) => stage.verdict !== 'kept' || stage.attempts.length > 1)
    .map((stage) => {
      const head = hanging(`${stage.index} ${stage.instance} ${stage.verdict}: `, stage.why, width);
      return [paintFirst(head, stage, paint), ...attemptLines(report, stage, paint, width)].join('\n');
    });
  return blocks.join('\n');
}

function paintFirst(text: string, stage: StageReport, paint: Paint): string {
  const label = `${stage.index} ${stage.instance} ${stage.verdict}`;
  return `${stage.index} ${stage.instance} ${paintVerdict(stage.verdict, paint)}${text.slice(label.length)}`;
}

function attemptLines(report: RunReport, stage: StageReport, paint: Paint, width: number): string[] {
  const gate = stage.gate;
  if (!gate) return [];
  const unit = metricNamed(report.baseline, gate.metric)?.unit ?? '';
  const rule = paint.dim(hanging('    gate: ', `${gateText(gate, unit)} (${stage.at})`, width));
  const tries = stage.attempts.map((attempt) => {
    const held = attempt.passed ? paint.green('held') : paint.red('failed');
    const what = `${attempt.strength === '' ? 'as asked' : attempt.strength}: ${triedText(gate, attempt)},`;
    // What is held or failed is a word that may be painted: it is put behind what is wrapped with room for it.
    return `${hanging('    tried ', what, width - ' failed'.length)} ${held}`;
  });
  return [rule, ...tries];
}

/** All metrics of the result beside the float model's: the stage table has room for the gated ones only. */
function metrics(report: RunReport, paint: Paint): string {
  // Without a result there would be the float model's beside themselves.
  if (report.result.path === undefined) return '';
  const final = report.result.measurement.metrics;
  if (final.length < 2) return '';
  const columns = [{ title: 'metric' }, ...['float', 'result', 'drop', 'samples'].map(right)];
  return table(columns, final.map(metricCells), paint);
}

function layers(all: readonly LayerReport[], paint: Paint, width: number): string {
  if (all.length === 0) return '';
  const worst = [...all].sort((a, b) => (a.sqnr ?? Infinity) - (b.sqnr ?? Infinity)).slice(0, maxLayers);
  const shown = all.length <= maxLayers ? all : worst;
  const body = layerTable(shown, paint, width, all);
  if (shown.length === all.length) return body;
  const rest = `the ${shown.length} layers of lowest SQNR; all ${all.length} stand in report.html and report.json`;
  return `${body}\n${paint.dim(rest)}`;
}

function skipped(report: RunReport, paint: Paint, width: number): string {
  const blocks = leftAlone(report).map(({ name, skipped: notes }) => {
    const title = `left alone by ${name} (${plural(notes.length, 'layer')})`;
    const lines = byReason(notes).map(({ reason, layers }) => {
      const names = distinct(layers.slice(0, maxNames), 48).map((one) => one.replaceAll('\n', ''));
      const more = layers.length > maxNames ? ` and ${grouped(layers.length - maxNames)} more` : '';
      return `${reason}: ${names.join(', ')}${more}`;
    });
    return bullets(title, lines, paint, width);
  });
  return blocks.join('\n\n');
}

function diagnosisOf({ diagnosis, result }: RunReport, paint: Paint, width: number): string {
  if (!diagnosis) return '';
  const whole = result.path === undefined ? 'mended.yaml' : join(dirname(result.path), 'mended.yaml');
  return diagnosisText(diagnosis, 'diagnosis', diagnosis.schedule === undefined ? undefined : whole, paint, width);
}

function resultLine(report: RunReport, paint: Paint, width: number): string {
  const { result, model } = report;
  const size = result.measurement.bytes;
  if (result.path === undefined) return paint.red(`${result.status}; no stage was kept, and no model is written`);
  const status = result.status === 'finished' ? '' : ` ${paint.red(`(${result.status}; the best model so far)`)}`;
  const not = result.unjudged ?? [];
  const judged = result.gated === false && result.stages.length > 0 ? '; no gate judged it' : not.length > 0 ? `; not judged: ${not.join(', ')}` : ''; // prettier-ignore
  const packed = result.gzip > 0 ? `(gzip ${bytes(result.gzip)}, brotli ${bytes(result.brotli)})` : '';
  const head = `${paint.bold(result.path)}  ${grouped(size)} bytes, ${paint.bold(percent(size / model.bytes))} of float`;
  const facts = `${resultFacts(report).join(', ')}${judged}`.replace(/^; /, '');
  const first = facts === '' ? head : `${head}${judged === `; ${facts}` ? '; ' : ', '}${facts}`;
  const lines = visibleWidth(first) <= width ? [first] : [head, hanging('  ', facts, width)];
  const last = `${packed}${status}`.trimStart();
  const one = `${lines.at(-1)} ${last}`.trimEnd();
  return [...lines.slice(0, -1), ...(visibleWidth(one) <= width ? [one] : [lines.at(-1), visibleWidth(last) + 2 > width ? hanging('  ', last, width) : `  ${last}`])].join('\n'); // prettier-ignore
}

/** What a result cost, how fast it is and how much of it computes in integer, as far as it was measured. */
function resultFacts(report: RunReport): string[] {
  const { result, stages, layers: all } = report;
  const metric = metricNamed(result.measurement, shownMetrics(report)[0]?.name ?? '');
  const quick = result.measurement.latency[0];
  // Layers by their weights; what stands between them has none.
  const weighed = all.filter(({ weights, kernel }) => weights !== '' && kernel !== 'unknown' && kernel !== 'gone');
  const quantized = stages.some(({ index, pass }) => pass.startsWith('quantize/') && result.stages.includes(index));
  const integer = weighed.filter(({ kernel }) => kernel === 'integer').length;
  return [
    ...(metric ? [changeOf(metric)] : []),
    ...(quick ? [`${number(quick.ratio, '%')}× at batch ${quick.batch}`] : []),
    ...(quantized && weighed.length > 0 ? [`${integer} of ${plural(weighed.length, 'layer')} integer`] : []),
  ];
}

/** `top1 −0.40 ±0.60 points`; of what has no drop, such as SQNR, the value. */
function changeOf({ name, value, unit, drop, dropInterval, higherIsBetter, reference }: MetricResult): string {
  if (!Number.isFinite(drop) || !Number.isFinite(reference)) return `${name} ${number(value, unit)}${unit && ` ${unit}`}`; // prettier-ignore
  const sign = drop === 0 ? '' : drop > 0 === higherIsBetter ? '−' : '+';
  const change = `${sign}${number(Math.abs(drop), unit)}`;
  const interval = dropInterval === undefined || !Number.isFinite(dropInterval) || dropInterval === 0 ? '' : ` ±${number(dropInterval, unit)}`; // prettier-ignore
  return `${name} ${drop === 0 && interval === '' ? 'unchanged' : `${change}${interval}${pointsOf(unit)}`}`;
}
