import type { RunReport, StageReport } from '../run/report.ts';
import { escapeHtml as e } from './escape.ts';
import { bytes, dropText, duration, grouped, number, percent, plural, titleOf, withInterval } from './format.ts';
import { layerChart, stageCharts } from './html_charts.ts';
import { definitions, disclosure, htmlTable, list, section } from './html_parts.ts';
import { css } from './html_style.ts';
import { jsonText } from '../util/json.ts';
import {
  batchesOf,
  byReason,
  gateText,
  measurementShown,
  metricNamed,
  remarks,
  shownMetrics,
  strengthOf,
  triedText,
} from './summary.ts';

/**
 * The report as one HTML file that needs nothing else: no script, no request; a content policy forbids both. Pure: the
 * same report gives the same bytes.
 */
export function htmlReport(report: RunReport): string {
  const title = `qtool: ${report.model.path}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${e(title)}</title>
<style>
${css}</style>
</head>
<body>
<h1>${e(title)}</h1>
${headline(report)}
${facts(report)}
${section('Stages', stageRows(report) + stageCharts(report))}
${section('Metrics of the result', metricRows(report))}
${section('What each stage did', report.stages.map((stage) => stageDetail(report, stage)).join('\n'))}
${section('Layers of the result', report.layers.length === 0 ? '' : layerChart(report.layers) + layerRows(report))}
${section('Notes', list(remarks(report)))}
${section('Schedule', report.schedule.includes('\n') ? `<pre>${e(report.schedule)}</pre>` : '')}
</body>
</html>
`;
}

function headline(report: RunReport): string {
  const { result, model } = report;
  const size = result.measurement.bytes;
  const warnings = report.warnings.map((text) => `<p class="bad">${e(text)}</p>`).join('\n');
  if (result.path === undefined)
    return `${warnings}<p class="headline"><strong class="bad">${e(result.status)}; no stage was kept, and no model is written.</strong></p>`;
  const state =
    result.status === 'finished' ? '' : `<strong class="bad">${e(result.status)}; the best model so far.</strong> `;
  return (
    `${warnings}<p class="headline">${state}<code>${e(result.path)}</code>: ${e(grouped(size))} bytes, ` +
    `<strong>${e(percent(size / model.bytes))}</strong> of float; gzip ${e(bytes(result.gzip))}, brotli ${e(bytes(result.brotli))}.</p>`
  );
}

function facts(report: RunReport): string {
  const { model, data, tool } = report;
  const dataset = (info: RunReport['data']['validation']) =>
    `${info.kind === 'random' ? 'random input' : info.source}: ${plural(info.samples, 'sample')}${info.labelled ? '' : ', no labels'}`;
  return definitions([
    [
      'Model',
      `${bytes(model.bytes)}, ${grouped(model.parameters)} parameters, opset ${model.opset}, sha256 ${model.sha256}`,
    ],
    ...(report.schedule.includes('\n') ? [] : [['Schedule', report.schedule] as const]),
    ['Calibration', dataset(data.calibration)],
    ['Validation', dataset(data.validation)],
    [
      'Measured on',
      `onnxruntime ${tool.onnxruntime}, Node ${tool.node.replace(/^v/, '')}, ${tool.platform}, ${tool.cpu}`,
    ],
    ['Begun', `${report.started}, took ${duration(report.seconds)}`],
    ['Made by', `qtool ${tool.qtool}`],
  ]);
}

function stageRows(report: RunReport): string {
  const metrics = shownMetrics(report);
  const batches = batchesOf(report);
  const head = [
    '#',
    'pass',
    'strength',
    ...metrics.flatMap((metric) => [titleOf(metric), 'drop']),
    'bytes',
    'of float',
    'zeros',
    ...batches.map((batch) => `speed, batch ${batch}`),
    'verdict',
  ];
  const numbers = (measured: RunReport['baseline'] | undefined): string[] => [
    ...metrics.flatMap((wanted) => {
      const metric = metricNamed(measured, wanted.name);
      if (!metric) return ['', ''];
      return [
        withInterval(metric.value, metric.interval, metric.unit),
        measured === report.baseline ? '' : dropText(metric),
      ];
    }),
    measured ? grouped(measured.bytes) : '',
    measured ? percent(measured.bytes / report.model.bytes) : '',
    measured ? percent(measured.zeros) : '',
    ...batches.map((batch) => {
      const latency = measured?.latency.find((one) => one.batch === batch);
      if (!latency) return '';
      const range = `${number(latency.ratioLow, '%')} to ${number(latency.ratioHigh, '%')}`;
      return `${number(latency.ratio, '%')}× (${range}; ${latency.milliseconds.toPrecision(3)} ms)`;
    }),
  ];
  const rows = [
    ['', 'float model', '', ...numbers(report.baseline), ''],
    ...report.stages.map((stage) => [
      String(stage.index),
      `${stage.pass} (${stage.instance})`,
      strengthOf(stage),
      ...numbers(measurementShown(stage)),
      stage.verdict,
    ]),
  ];
  const legend =
    '<p class="legend">±: 95 % interval; of a drop, paired on the same samples: a drop below its own ± may be none. ' +
    '×: speed against the float model, median of interleaved runs, with its interquartile range. ' +
    'A stage that was undone shows what it had cost.</p>';
  return htmlTable(head, rows) + legend;
}

function metricRows(report: RunReport): string {
  const rows = report.result.measurement.metrics.map((metric) => {
    const outputs = Object.entries(metric.perOutput ?? {}).map(
      ([name, value]) => `${name} ${number(value, metric.unit)}`,
    );
    return [
      titleOf(metric),
      number(metric.reference, metric.unit),
      withInterval(metric.value, metric.interval, metric.unit),
      dropText(metric),
      grouped(metric.samples),
      outputs.join(', '),
    ];
  });
  return rows.length === 0 ? '' : htmlTable(['metric', 'float', 'result', 'drop', 'samples', 'per output'], rows);
}

function stageDetail(report: RunReport, stage: StageReport): string {
  const gate = stage.gate;
  const unit = gate ? (metricNamed(report.baseline, gate.metric)?.unit ?? '') : '';
  const tries = stage.attempts.map((attempt) => [
    attempt.strength,
    gate ? triedText(gate, attempt) : '',
    attempt.measurement ? grouped(attempt.measurement.bytes) : '',
    attempt.passed ? 'held' : 'failed',
  ]);
  const body = [
    definitions([
      ['Verdict', `${stage.verdict}: ${stage.why}`],
      ['Gate', gate ? gateText(gate, unit) : 'none'],
      ['Where', `${stage.at}, epoch ${stage.epoch}`],
      ['Class', stage.class],
      ['Took', duration(stage.seconds)],
    ]),
    stage.attempts.length > 1 ? htmlTable(['tried', 'drop', 'bytes', 'gate'], tries) : '',
    disclosure('options', `<pre>${e(jsonText(stage.options).trimEnd())}</pre>`),
    stage.changed.length === 0
      ? ''
      : disclosure(
          `changed: ${plural(stage.changed.length, 'layer')}`,
          htmlTable(
            ['layer', 'what'],
            stage.changed.map((note) => [note.layer, note.text]),
          ),
        ),
    stage.skipped.length === 0
      ? ''
      : disclosure(
          `left alone: ${plural(stage.skipped.length, 'layer')}`,
          htmlTable(
            ['why', 'layers'],
            byReason(stage.skipped).map(({ reason, layers }) => [reason, layers.join(', ')]),
          ),
        ),
  ];
  return `<h3>${e(`${stage.index} ${stage.instance} (${stage.pass})`)}</h3>\n${body.filter((part) => part !== '').join('\n')}`;
}

function layerRows(report: RunReport): string {
  const rows = report.layers.map((layer) => [
    layer.layer,
    layer.op,
    layer.weights,
    layer.activations,
    layer.sqnr === undefined ? '' : number(layer.sqnr, 'dB'),
    layer.kernel,
    layer.why,
  ]);
  return disclosure(
    `all ${plural(report.layers.length, 'layer')}`,
    htmlTable(['layer', 'op', 'weights', 'activations', 'SQNR dB', 'kernel', 'why'], rows),
  );
}
