import type { SensitivityMap } from '../passes/pass.ts';
import type { QuantizeSensitivityReport, WidthCurve } from '../run/quantize_sensitivity.ts';
import { bullets, distinct, hanging, number } from './format.ts';
import type { Paint } from './paint.ts';
import { csv, noiseMetric, sensitivityHead } from './sensitivity.ts';
import { right, table, widthOf } from './table.ts';

/** The metric for every tensor and width: its drop, or its value in dB where it has no bound. */
export function quantizeSensitivityText(report: QuantizeSensitivityReport, paint: Paint, width: number): string {
  const { metric, tensors, widths, notes } = report;
  const noise = metric.unit === 'dB';
  const cells = tensors.map((tensor) => [
    tensor.kind,
    ...widths.map((bits) => {
      const point = tensor.points.find((one) => one.bits === bits);
      return point === undefined ? '' : number(noise ? point.value : point.drop, metric.unit);
    }),
  ]);
  const titles = ['kind', ...widths.map((bits) => `${bits} bits`)];
  const room = Math.max(16, width - widthOf(titles, cells));
  const names = distinct(tensors.map(({ name }) => name), room); // prettier-ignore
  const rows = cells.map((row, i) => [names[i] ?? '', ...row]);
  const shown = noise ? `${metric.name} in dB` : `drop of ${metric.name} from ${number(metric.value, metric.unit)}${metric.unit === '%' ? ' %' : ''}`; // prettier-ignore
  const parts = [
    sensitivityHead(report, `each tensor alone in fewer bits; ${shown}`, paint, width),
    table([{ title: 'tensor' }, { title: 'kind' }, ...titles.slice(1).map(right)], rows, paint, width),
    worst(report, width),
    bullets('notes', notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** The tensors that lose the most at the narrowest width. */
function worst({ tensors, widths, metric }: QuantizeSensitivityReport, width: number): string {
  const bits = Math.min(...widths);
  const dropOf = ({ points }: WidthCurve): number => points.find((point) => point.bits === bits)?.drop ?? -Infinity;
  const most = [...tensors].sort((a, b) => dropOf(b) - dropOf(a)).filter((tensor) => dropOf(tensor) > 0);
  if (most.length === 0) return hanging('', `No tensor alone costs anything of ${metric.name} at ${bits} bits.`, width);
  const names = most.slice(0, 3).map(({ kind, name }) => `${name} (${kind})`);
  return hanging('', `The most is lost at ${bits} bits by ${names.join(', ')}.`, width);
}

/** The same as a heat map. */
export function quantizeMap({ metric, tensors, widths }: QuantizeSensitivityReport): SensitivityMap {
  return {
    ...noiseMetric(metric),
    columns: widths.map((bits) => `${bits} bits`),
    rows: tensors.map(({ kind, name, points }) => ({
      layer: kind === 'weights' ? name : `→ ${name}`,
      values: widths.map((bits) => points.find((point) => point.bits === bits)?.drop),
    })),
  };
}

/** One row a point: what spreadsheets and plotting programs read. */
export function quantizeCsv({ metric, tensors }: QuantizeSensitivityReport): string {
  const rows = tensors.flatMap(({ kind, name, points }) =>
    points.map(({ bits, value, drop, bytes }) => [kind, name, bits, value, drop, bytes ?? '']),
  );
  return csv(['kind', 'tensor', 'bits', metric.name, 'drop', 'bytes'], rows);
}
