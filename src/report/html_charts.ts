import type { LayerReport, Measurement, RunReport, StageReport } from '../run/report.ts';
import { escapeHtml } from './escape.ts';
import { bytes, number, percent, titleOf, withInterval } from './format.ts';
import { measurementShown, metricNamed, shownMetrics, strengthOf } from './summary.ts';
import { bars, type Bar } from './svg.ts';

const tones = { kept: 'good', retried: 'fair', warned: 'fair', undone: 'bad', stopped: 'bad' } as const;

/** Size and accuracy after every stage, as two charts with the same rows. */
export function stageCharts(report: RunReport): string {
  const label = (stage: StageReport) => `${stage.index} ${stage.instance} ${strengthOf(stage)}`.trim();
  const rows: { label: string; measured: Measurement | undefined; tone: Bar['tone'] }[] = [
    { label: 'float model', measured: report.baseline, tone: 'plain' },
    ...report.stages.map((stage) => ({
      label: label(stage),
      measured: measurementShown(stage),
      tone: tones[stage.verdict],
    })),
  ];
  const size = rows.map(({ label, measured, tone }) => ({
    label,
    tone,
    value: measured?.bytes,
    text: measured ? `${bytes(measured.bytes)}, ${percent(measured.bytes / report.model.bytes)}` : 'not measured',
  }));
  const accuracy = shownMetrics(report).map((wanted) => {
    const drawn = rows.map(({ label, measured, tone }) => {
      const metric = metricNamed(measured, wanted.name);
      const text = metric ? withInterval(metric.value, metric.interval, metric.unit) : 'not measured';
      return { label, tone, value: metric?.value, text };
    });
    return chart(titleOf(wanted), drawn, wanted.unit === '%' ? 100 : undefined);
  });
  return [chart('bytes on disk', size), ...accuracy].join('\n');
}

/** SQNR of every layer that was compared; 20 dB is an error of a tenth of the signal. */
export function layerChart(layers: readonly LayerReport[]): string {
  const compared = layers.filter((layer) => layer.sqnr !== undefined);
  if (compared.length === 0) return '';
  const drawn = compared.map((layer) => ({
    label: layer.layer,
    value: layer.sqnr,
    text: `${number(layer.sqnr ?? NaN, 'dB')} dB, ${layer.kernel}`,
    tone: toneOf(layer.sqnr ?? NaN),
  }));
  return chart('SQNR against the float model, dB', drawn);
}

function toneOf(sqnr: number): Bar['tone'] {
  return sqnr >= 30 ? 'good' : sqnr >= 20 ? 'fair' : 'bad';
}

function chart(title: string, rows: readonly Bar[], max?: number): string {
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>\n${bars(title, rows, max)}\n</figure>`;
}
