import type { Schedule, Stage } from '../schedule/types.ts';
import { hanging, wrap } from './format.ts';
import type { Paint } from './paint.ts';
import { gateText } from './summary.ts';
import { table, visibleWidth, gap } from './table.ts';

/** What a schedule will do, before anything runs: one row a stage, what waits for training, and remarks. */
export function planText(schedule: Schedule, paint: Paint, width: number): string {
  const head = paint.dim(hanging('schedule  ', schedule.file, width));
  const parts = [head, stagesTable(schedule.stages, paint, width)];
  if (schedule.waiting.length > 0) {
    const lines = schedule.waiting.map(({ name, at, reason }) => hanging('  - ', `${name}: ${reason} (${at})`, width));
    parts.push([paint.bold('not run'), ...lines].join('\n'));
  }
  if (schedule.notes.length > 0)
    parts.push([paint.bold('notes'), ...schedule.notes.map((note) => hanging('  - ', note, width))].join('\n'));
  return parts.join('\n\n');
}

/** More stages than this are shown by the first and the last of them. */
const shown = 100;

function stagesTable(stages: readonly Stage[], paint: Paint, width: number): string {
  if (stages.length === 0) return 'no stage runs';
  if (stages.length > shown) {
    const [first, last] = [stages.slice(0, shown - 10), stages.slice(-10)];
    const between = paint.dim(`… ${stages.length - shown} more stages (--json lists them all) …`);
    return [stagesTable(first, paint, width), between, stagesTable(last, paint, width)].join('\n');
  }
  const rows = stages.map((stage) => [
    String(stage.index),
    String(stage.clock.epoch),
    stage.instance,
    stage.pass.name,
    // A percentage unit is not known before the metric is: points are what every gate of an accuracy counts in.
    stage.gate ? gateText(stage.gate, '') : 'no gate',
    optionsText(stage.options),
  ]);
  const titles = ['#', 'epoch', 'instance', 'pass', 'gate', 'options'];
  const used = titles
    .slice(0, -1)
    .reduce((sum, title, i) => sum + gap + Math.max(title.length, ...rows.map((row) => visibleWidth(row[i] ?? ''))), 0);
  const room = Math.max(30, width - used);
  const wrapped = rows.map((row) => [...row.slice(0, -1), wrap(row.at(-1) ?? '', room).join('\n')]);
  const columns = titles.map((title, i) => ({ title, align: i < 2 ? ('right' as const) : ('left' as const) }));
  return table(columns, wrapped, paint);
}

/** Options as YAML's flow style would have them, without the outermost braces: `bits: 8, calibration: {method: entropy}`. */
function optionsText(options: unknown): string {
  if (options === null || typeof options !== 'object') return options === undefined ? '' : scalar(options);
  return Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}: ${inner(value)}`)
    .join(', ');
}

function inner(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inner).join(', ')}]`;
  if (value !== null && typeof value === 'object') return `{${optionsText(value)}}`;
  return scalar(value);
}

function scalar(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

/** The same as plain data, for `--json`. */
export function planObject(schedule: Schedule): object {
  const stages = schedule.stages.map(({ index, instance, pass, options, clock, gate, at, ...rest }) => ({
    index,
    instance,
    class: rest.class,
    pass: pass.name,
    epoch: clock.epoch,
    gate,
    options,
    at,
  }));
  return { schedule: schedule.file, stages, waiting: schedule.waiting, notes: schedule.notes };
}
