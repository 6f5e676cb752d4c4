import type { RunReport, StageReport } from '../../run/report.ts';
import { escapeHtml as e } from '../escape.ts';
import { bytes, dropText, duration, grouped, number, percent, plural, titleOf, withInterval } from '../format.ts';
import { jsonText } from '../../util/json.ts';
import { batchesOf, byReason, gateText, measurementShown, metricNamed, shownMetrics, strengthOf, triedText } from '../summary.ts'; // prettier-ignore
import { cellOf, definitions, disclosure, htmlTable, textTable, type Cell, type Column } from './parts.ts';

/** One row a stage, the float model first. */
export function stageTable(report: RunReport): string {
  const metrics = shownMetrics(report);
  const batches = batchesOf(report);
  const columns: Column[] = [
    { title: 'stage' },
    ...metrics.flatMap((metric) => [
      { title: titleOf(metric), number: true },
      { title: `drop of ${metric.name}`, number: true },
    ]),
    { title: 'bytes', number: true },
    { title: 'zeros', number: true },
    ...batches.map((batch) => ({ title: `speed, batch ${batch}`, number: true })),
    { title: 'verdict' },
  ];
  const numbers = (measured: RunReport['baseline'] | undefined): Cell[] => [
    ...metrics.flatMap((wanted) => {
      const metric = metricNamed(measured, wanted.name);
      if (!metric) return [cellOf(''), cellOf('')];
      const drop = measured === report.baseline ? '' : dropText(metric);
      return [cellOf(withInterval(metric.value, metric.interval, metric.unit)), cellOf(drop)];
    }),
    measured ? two(bytes(measured.bytes), `${percent(measured.bytes / report.model.bytes)} of float`) : cellOf(''),
    cellOf(measured ? percent(measured.zeros) : ''),
    ...batches.map((batch) => {
      const latency = measured?.latency.find((one) => one.batch === batch);
      if (!latency) return cellOf('');
      const range = `${number(latency.ratioLow, '%')} to ${number(latency.ratioHigh, '%')}, ${latency.milliseconds.toPrecision(3)} ms`;
      return two(`${number(latency.ratio, '%')}×`, range);
    }),
  ];
  const rows = [
    [cellOf('float model'), ...numbers(report.baseline), cellOf('')],
    ...report.stages.map((stage) => [
      two(`${stage.index} ${stage.instance} (${stage.pass})`, strengthOf(stage)),
      ...numbers(measurementShown(stage)),
      { html: `<span class="tag ${e(stage.verdict)}">${e(stage.verdict)}</span>` },
    ]),
  ];
  // A column of drops that are all infinite, as those of sqnr, says nothing.
  const shown = columns.flatMap((column, i) => (column.title.startsWith('drop of ') && rows.every((row) => row[i]?.html === '') ? [] : [i])); // prettier-ignore
  const html = htmlTable(shown.map((i) => columns[i]!), rows.map((row) => shown.map((i) => row[i] ?? cellOf('')))); // prettier-ignore
  const told = [
    ...(html.includes('±') ? ['±: 95 % interval; of a drop, paired on the same samples: a drop below its own ± may be none.'] : []), // prettier-ignore
    ...(html.includes('×') ? ['×: speed against the float model, median of interleaved runs, with its interquartile range.'] : []), // prettier-ignore
    ...(report.stages.some(({ verdict }) => verdict === 'undone' || verdict === 'stopped') ? ['A stage that was undone shows what it had cost.'] : []), // prettier-ignore
  ];
  return html + (told.length === 0 ? '' : `<p class="legend">${told.join(' ')}</p>`);
}

function two(text: string, below: string): Cell {
  return { html: below === '' ? e(text) : `${e(text)}<small>${e(below)}</small>` };
}

/** What a stage was asked, tried, changed and left alone. */
export function stageDetail(report: RunReport, stage: StageReport): string {
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
      ['verdict', `${stage.verdict}: ${stage.why}`],
      ['gate', gate ? gateText(gate, unit) : 'none'],
      ['where', `${stage.at}, epoch ${stage.epoch}`],
      ['class', stage.class],
      ['took', duration(stage.seconds)],
    ]),
    stage.attempts.length > 1 ? textTable(['tried', 'result', 'bytes', 'gate'], tries) : '',
    disclosure('options', `<pre>${e(jsonText(stage.options ?? {}).trimEnd())}</pre>`),
    stage.changed.length === 0
      ? ''
      : disclosure(
          `changed: ${plural(stage.changed.length, 'layer')}`,
          textTable(['layer', 'what'], stage.changed.map(({ layer, text }) => [layer, text])), // prettier-ignore
        ),
    stage.skipped.length === 0
      ? ''
      : disclosure(
          `left alone: ${plural(stage.skipped.length, 'layer')}`,
          textTable(['why', 'layers'], byReason(stage.skipped).map(({ reason, layers }) => [reason, layers.join(', ')])), // prettier-ignore
        ),
  ];
  const title = `<h3>${e(`${stage.index} ${stage.instance}`)}</h3> ${e(stage.pass)} <span class="tag ${e(stage.verdict)}">${e(stage.verdict)}</span>`;
  return `<details class="stage"><summary>${title}</summary>\n${body.filter((part) => part !== '').join('\n')}\n</details>`;
}
