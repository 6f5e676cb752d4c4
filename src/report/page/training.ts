import type { RunReport } from '../../run/report.ts';
import { epochsOf } from '../epoch_notes.ts';
import { epochCells, epochTitles } from '../epochs.ts';
import { number, percent, titleOf, withInterval } from '../format.ts';
import { measurementShown, metricNamed, shownMetrics } from '../summary.ts';
import { charts, disclosure, figure, htmlTable, cellOf } from './parts.ts';
import { linear, logarithmic } from './scale.ts';
import { axisLeft, chartWidth, key, mark, marked, picture, plotOf, px, text, type Shape } from './svg.ts';

/** The curves of a training, and every epoch as a row; empty where nothing was trained. */
export function training(report: RunReport): string {
  const epochs = epochsOf(report);
  if (epochs.length === 0) return '';
  const numbers = epochs.map(({ trained }) => trained.epoch);
  const metric = shownMetrics(report)[0];
  const measured = epochs.map((stage) => metricNamed(measurementShown(stage), metric?.name ?? ''));
  const values = (of: (i: number) => number | undefined): (number | undefined)[] => epochs.map((_, i) => of(i));
  const accuracy = values((i) => epochs[i]!.trained.accuracy);
  const met = metric?.unit === '%' && accuracy.some((value) => value !== undefined);
  const drawn = charts(
    curves('training loss', numbers, [{ name: 'loss', values: values((i) => epochs[i]!.trained.loss), shape: 'circle', kind: 's3' }]), // prettier-ignore
    curves(metric ? `${titleOf(metric)} after each epoch` : 'accuracy', numbers, [
      ...(metric ? [{ name: `${metric.name}, validation`, values: values((i) => measured[i]?.value), shape: 'diamond', kind: 'good' } as const] : []), // prettier-ignore
      ...(met ? [{ name: 'accuracy, training', values: accuracy, shape: 'circle', kind: 's3' } as const] : []),
    ]),
    curves('learning rate', numbers, [{ name: 'lr', values: values((i) => epochs[i]!.trained.lr), shape: 'square', kind: 's4' }]), // prettier-ignore
  );
  const columns = [...epochTitles, metric ? titleOf(metric) : '', 'zeros'].map((title) => ({ title, number: true }));
  const rows = epochs.map((stage, i) => {
    const value = measured[i];
    const zeros = measurementShown(stage)?.zeros;
    return [...epochCells(stage.trained), value ? withInterval(value.value, value.interval, value.unit) : '', zeros === undefined ? '' : percent(zeros)].map((cell) => cellOf(cell)); // prettier-ignore
  });
  const kept = columns.map((_, i) => i).filter((i) => rows.some((row) => row[i]!.html !== ''));
  const table = htmlTable(kept.map((i) => columns[i]!), rows.map((row) => kept.map((i) => row[i]!))); // prettier-ignore
  const told = '<p class="legend">Loss and accuracy are of the training samples, as they were met.</p>';
  return `${drawn}${told}${disclosure('every epoch', table)}`;
}

interface Curve {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
  readonly shape: Shape;
  readonly kind: string;
}

/** Values over epochs. What spans more than two powers of ten stands by its powers. */
function curves(title: string, epochs: readonly number[], all: readonly Curve[]): string {
  const shown = all.filter(({ values }) => values.some((value) => value !== undefined && Number.isFinite(value)));
  if (shown.length === 0) return '';
  const known = shown.flatMap(({ values }) => values.filter((value) => value !== undefined && Number.isFinite(value)));
  const plot = plotOf(220);
  const far =
    Math.min(...(known as number[])) > 0 && Math.max(...(known as number[])) > 100 * Math.min(...(known as number[]));
  const y = (far ? logarithmic : linear)(known as number[], [plot.bottom, plot.top]);
  const [from, to] = [plot.left + 10, plot.right - 6];
  const x = (i: number): number =>
    epochs.length === 1 ? (from + to) / 2 : from + (i / (epochs.length - 1)) * (to - from);
  const each = Math.ceil(epochs.length / 12);
  const below = epochs.map((epoch, i) => (i % each === 0 ? text(x(i), plot.bottom + 17, String(epoch), 'mid') : ''));
  const drawn = shown.map(({ name, values, shape, kind }) => {
    const points = values.flatMap((value, i) => (value === undefined || !Number.isFinite(value) ? [] : [{ value, i }]));
    const path = points.map(({ value, i }) => `${px(x(i))} ${px(y.at(value))}`).join('L');
    const marks = points.map(
      ({ value, i }) =>
      marked(`epoch ${epochs[i]}: ${name} ${number(value, '')}`, mark(shape, x(i), y.at(value), epochs.length > 40 ? 2 : 3.5, kind)), // prettier-ignore
    );
    return `<path class="stroke ${kind}" d="M${path}"/>${marks.join('')}`;
  });
  const first = shown[0]!.values.find((value) => value !== undefined) ?? NaN;
  const last = shown[0]!.values.findLast((value) => value !== undefined) ?? NaN;
  const label = `${title}, over ${epochs.length} epochs: from ${number(first, '')} to ${number(last, '')}`;
  const legend = shown.length > 1 ? shown.map(({ name, shape, kind }) => key(name, mark(shape, 7, 7, 5, kind))) : [];
  return figure(`${title}, over epochs`, picture(label, chartWidth, 220, axisLeft(y, plot, (value) => number(value, '')) + below.join('') + drawn.join('')), legend); // prettier-ignore
}
