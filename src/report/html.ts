import type { RunReport } from '../run/report.ts';
import { epochsOf } from './epoch_notes.ts';
import { mostEpochs } from './epochs.ts';
import { escapeHtml as e } from './escape.ts';
import { bytes, datasetText, duration, grouped, number } from './format.ts';
import { bitsChart, bytesTreemap, errorChart, frontierChart, runSeries, sensitivityChart, stageBytesChart, stageMetricChart } from './page/charts.ts'; // prettier-ignore
import { diagnosis, headline } from './page/headline.ts';
import { layersTable } from './page/layers.ts';
import { page } from './page/page.ts';
import { block, charts, definitions, disclosure, list, section, textTable } from './page/parts.ts';
import { stageDetail, stageTable } from './page/stages.ts';
import { training } from './page/training.ts';
import { metricCells, remarks, shownMetrics } from './summary.ts';

/**
 * The report as one HTML file that needs nothing else and asks for nothing: charts are drawn here, and the script in it only sorts,
 * filters and opens; a content policy forbids the rest. Pure: the same report gives the same bytes.
 */
export function htmlReport(report: RunReport): string {
  const metrics = shownMetrics(report);
  const frontiers = metrics.map((metric) =>
    frontierChart(`size and ${metric.name} of every model measured`, runSeries(report, metric.name)),
  );
  const sections: readonly (readonly [string, string, string])[] = [
    ['diagnosis', 'Diagnosis', diagnosis(report)],
    [
      'stages',
      'Stages',
      stageTable(report) +
        charts(...metrics.map((metric) => stageMetricChart(report, metric)), stageBytesChart(report), ...frontiers) +
        stageDetails(report),
    ],
    ['training', 'Training', training(report)],
    ['metrics', 'Metrics of the result', metricRows(report)],
    [
      'layers',
      'Layers of the result',
      charts(errorChart(report.layers), bitsChart(report.layers), bytesTreemap(report)) + layersTable(report),
    ],
    [
      'sensitivity',
      'Sensitivity',
      report.sensitivity === undefined ? '' : charts(sensitivityChart(report.sensitivity)),
    ],
    ['notes', 'Notes', list(remarks(report))],
    ['origin', 'Origin, and how to make it again', origin(report)],
  ];
  const shown = sections.filter(([, , html]) => html !== '');
  const links = shown.map(([id, title]) => `<a href="#${id}">${e(title)}</a>`).join('\n');
  const name = nameOf(report.model.path);
  const body = `<header>
<h1>${e(name)}</h1>
<p class="soft">${e(subtitle(report))}</p>
</header>
${headline(report)}
<nav aria-label="parts of this page">${links}</nav>
<main>
${shown.map(([id, title, html]) => section(id, title, html)).join('\n')}
</main>`;
  return page(`${name}: qtool report`, body);
}

/** A block for every stage; those of many epochs lie within one of their own. */
function stageDetails(report: RunReport): string {
  const detail = (stages: RunReport['stages']): string => stages.map((stage) => stageDetail(report, stage)).join('\n');
  const epochs = epochsOf(report);
  if (epochs.length <= mostEpochs) return detail(report.stages);
  const others = report.stages.filter(({ trained }) => trained === undefined);
  return `${disclosure(`each of ${epochs.length} epochs of training`, detail(epochs))}\n${detail(others)}`;
}

function nameOf(path: string): string {
  return path.split(/[\\/]/).at(-1) || 'model';
}

function subtitle({ started, seconds, tool }: RunReport): string {
  return `compressed by qtool ${tool.qtool} on ${started.slice(0, 10)}, in ${duration(seconds)}`;
}

function metricRows(report: RunReport): string {
  const rows = report.result.measurement.metrics.map((metric) => {
    const outputs = Object.entries(metric.perOutput ?? {}).map(
      ([name, value]) => `${name} ${number(value, metric.unit)}`,
    );
    return [...metricCells(metric), outputs.join(', ')];
  });
  return rows.length === 0 ? '' : textTable(['metric', 'float', 'result', 'drop', 'samples', 'per output'], rows);
}

function origin(report: RunReport): string {
  const { model, data, tool, schedule, command, result, started, seconds } = report;
  const text = schedule.includes('\n');
  const facts = definitions([
    [
      'float model',
      `${model.path}: ${bytes(model.bytes)}, ${grouped(model.parameters)} parameters, opset ${model.opset}`,
    ],
    ['its sha256', model.sha256],
    ...(result.path === undefined ? [] : [['result', result.path] as const]),
    ...(result.sha256 === undefined ? [] : [['its sha256', result.sha256] as const]),
    ...(text ? [] : [['schedule', schedule] as const]),
    ['calibration', datasetText(data.calibration)],
    ['validation', datasetText(data.validation)],
    [
      'measured on',
      `onnxruntime ${tool.onnxruntime}, Node ${tool.node.replace(/^v/, '')}, ${tool.platform}, ${tool.cpu}`,
    ],
    ['begun', `${started}, took ${duration(seconds)}`],
    ['made by', `qtool ${tool.qtool}`],
  ]);
  const line = command === undefined ? '' : `<p class="soft">the command line</p>${block(command)}`;
  const yaml = text ? `<p class="soft">the schedule (schedule.yaml of the run)</p>${block(schedule)}` : '';
  return facts + line + yaml;
}
