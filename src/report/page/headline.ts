import { wasJudged } from '../../run/verdict.ts';
import type { RunReport } from '../../run/report.ts';
import { escapeHtml as e } from '../escape.ts';
import { bytes, grouped, number, percent, plural, titleOf, withInterval } from '../format.ts';
import { isNoise, metricNamed, shownMetrics } from '../summary.ts';
import { alarms, block, list } from './parts.ts';

/** What came out, in one sentence and four numbers; what must be known before it is used stands above all. */
export function headline(report: RunReport): string {
  return `${alarms(report.warnings)}<p class="verdict">${verdict(report)}</p>\n${tiles(report)}`;
}

/** `finished: 3 of 4 stages kept; every gate was judged`. */
function verdict(report: RunReport): string {
  const { result, stages } = report;
  const kept = plural(report.planned ?? stages.length, 'stage');
  const state =
    result.status === 'finished' ? '<strong>finished</strong>' : `<strong class="ink-bad">${e(result.status)}</strong>`;
  const file =
    result.path === undefined
      ? '<strong class="ink-bad">no stage was kept, and no model is written</strong>'
      : `${result.status === 'finished' ? 'the result' : 'the best model so far'} is <code>${e(result.path)}</code>`;
  return `${state}: ${e(`${result.stages.length} of ${kept} kept`)}; ${e(gates(report))}; ${file}.`;
}

/** Whether anything was there to refuse a bad result. */
function gates({ stages, result }: RunReport): string {
  const not = result.unjudged ?? [];
  const gated = stages.filter((stage) => stage.gate !== undefined);
  const judged = gated.filter(wasJudged);
  if (gated.length === 0) return 'no stage has a gate, so no loss would have been refused';
  if (judged.length === 0) return 'no gate was judged';
  const weaker = judged.filter((stage) => stage.verdict === 'retried').length;
  const failed = judged.filter((stage) => stage.verdict !== 'kept' && stage.verdict !== 'retried').length;
  const told = [
    ...(weaker > 0 ? [`${weaker} held by a weaker setting`] : []),
    ...(failed > 0 ? [`${failed} did not hold`] : []),
  ];
  return `${plural(judged.length, 'gate')} judged: ${told.length === 0 ? (judged.length === 1 ? 'it held' : 'all held') : told.join(', ')}${not.length === 0 ? '' : `; not judged: ${not.join(', ')}`}`; // prettier-ignore
}

function tiles(report: RunReport): string {
  const { result, model } = report;
  const measured = result.measurement;
  const metrics = shownMetrics(report).flatMap((wanted) => metricNamed(measured, wanted.name) ?? []);
  const speed = measured.latency;
  const all = metrics.slice(0, 2).flatMap((metric) => {
    const against = Number.isFinite(metric.reference) ? `float ${number(metric.reference, metric.unit)}` : '';
    const beside = [against, `${grouped(metric.samples)} samples`].filter((text) => text !== '').join(', ');
    const value = tile(titleOf(metric), withInterval(metric.value, metric.interval, metric.unit), beside);
    if (!Number.isFinite(metric.drop)) return [value];
    const doubt = isNoise(metric) ? 'within its own interval: may be none' : metric.drop > 0 ? 'worse than float' : 'not worse than float'; // prettier-ignore
    // Surely more than a point is no small loss.
    const tone = isNoise(metric) || metric.drop <= 0 ? (isNoise(metric) ? 'plain' : 'good') : metric.unit === '%' && metric.drop - (metric.dropInterval ?? 0) > 1 ? 'bad' : 'fair'; // prettier-ignore
    return [value, tile(`drop of ${metric.name}${metric.unit === '%' ? ', points' : ''}`, withInterval(metric.drop, metric.dropInterval, metric.unit), doubt, tone)]; // prettier-ignore
  });
  if (all.length === 0) all.push(tile('accuracy', 'not measured', 'no gate could be judged', 'bad'));
  const share = measured.bytes / model.bytes;
  const packed = result.gzip > 0 ? `; gzip ${bytes(result.gzip)}, brotli ${bytes(result.brotli)}` : '';
  all.push(
    tile(
      'size',
      percent(share),
      `${bytes(measured.bytes)} of ${bytes(model.bytes)}${packed}`,
      share < 1 ? 'good' : 'bad',
    ),
  );
  if (speed.length === 0) all.push(tile('speed', 'not measured', ''));
  for (const { batch, ratio, ratioLow, ratioHigh, milliseconds } of speed.slice(0, 2)) {
    const tone = ratioLow > 1 ? 'good' : ratioHigh < 1 ? 'bad' : 'plain';
    const range = `${number(ratioLow, '%')} to ${number(ratioHigh, '%')}; ${milliseconds.toPrecision(3)} ms`;
    all.push(tile(`speed, batch ${batch}`, `${number(ratio, '%')}×`, range, tone));
  }
  return `<ul class="tiles">\n${all.join('\n')}\n</ul>`;
}

function tile(title: string, value: string, beside: string, tone = 'plain'): string {
  return `<li><span>${e(title)}</span><strong class="ink-${tone}">${e(value)}</strong><span>${e(beside)}</span></li>`;
}

/** Keeps a number and its unit on one line. */
const unbroken = (text: string): string => text.replaceAll(/(\d) (dB|%)/g, '$1\u00a0$2');

/** What the run says of its own result, and what to paste. */
export function diagnosis({ diagnosis: found }: RunReport): string {
  if (found === undefined || (found.sentences.length === 0 && found.yaml === undefined)) return '';
  const yaml =
    found.yaml === undefined
      ? ''
      : `<p class="soft">in the schedule, in place of its sections of these names${found.schedule === undefined ? '' : ' (<code>mended.yaml</code> beside this page is the whole schedule with them)'}:</p>${block(found.yaml)}`;
  return `<div class="card">${list(found.sentences.map(unbroken))}${yaml}</div>`;
}
