import type { EpochPlan } from '../passes/train/plan.ts';
import { epochSummary } from '../schedule/training.ts';
import type { Gate, Schedule, Stage, Waiting } from '../schedule/types.ts';
import { bullets, hanging, runs, wrap } from './format.ts';
import type { Paint } from './paint.ts';
import { gateText } from './summary.ts';
import { table, widthOf } from './table.ts';

/** What a schedule will do, before anything runs: one row a stage, or for epochs of training, what waits for training, and remarks. */
export function planText(schedule: Schedule, paint: Paint, width: number): string {
  const head = paint.dim(hanging('schedule  ', schedule.file, width));
  const waiting = schedule.waiting.map(({ name, at, reason }) => `${name}: ${reason} (${at})`);
  const parts = [
    head,
    stagesTable(schedule.stages, paint, width),
    bullets('not run', waiting, paint, width),
    bullets('notes', schedule.notes, paint, width),
    (schedule.warnings ?? []).map((text) => paint.yellow(hanging('! ', text, width))).join('\n'),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** More stages than this are shown by the first and the last of them. */
const shown = 100;

function stagesTable(stages: readonly Stage[], paint: Paint, width: number): string {
  if (stages.length === 0) return 'no stage runs';
  return rowsTable(planRows(stages), paint, width);
}

/** Epochs that are judged alike stand in one row. */
function planRows(stages: readonly Stage[]): (readonly Stage[])[] {
  const rows: Stage[][] = [];
  // A percentage unit is not known before the metric is: points are what every gate of an accuracy counts in.
  for (const stage of stages) {
    const before = rows.at(-1)?.[0];
    if (before?.epoch && stage.epoch && gateOf(before) === gateOf(stage)) rows.at(-1)!.push(stage);
    else rows.push([stage]);
  }
  return rows;
}

const gateOf = ({ gate }: Stage): string => (gate ? gateText(gate, '') : 'no gate');

/** What epochs do: how they train, and which of them what else acts in. */
function epochsText(stages: readonly Stage[]): string {
  const plans = stages.map(({ options }) => options as EpochPlan);
  const { optimizer, epochs: _, ...training } = plans[0]!.training;
  const { name, lr, ...how } = optimizer;
  const set = Object.entries(how).filter(([, value]) => value !== 0 && value !== false && value !== 'float32');
  const acting = new Map<string, number[]>();
  for (const { epoch, policies, regularizers, learner, rate } of plans)
    for (const { instance } of [...policies, ...regularizers, ...(learner ? [learner] : []), ...(rate ? [rate] : [])])
      acting.set(instance, [...(acting.get(instance) ?? []), epoch]);
  const others = [...acting].map(([instance, epochs]) => `${instance} ${runs(epochs)}`);
  const own = Object.entries(training).filter(([key, value]) => !(key === 'accumulate' && value === 1));
  const method = [`${name} lr ${inner(lr)}`, ...set.map(([key, value]) => `${key} ${inner(value)}`)].join(', ');
  return [`${method}, ${optionsText(asJson(Object.fromEntries(own)))}`, ...others].join('; ');
}

function rowsTable(stages: readonly (readonly Stage[])[], paint: Paint, width: number): string {
  if (stages.length > shown) {
    const [first, last] = [stages.slice(0, shown - 10), stages.slice(-10)];
    const between = paint.dim(`… ${stages.length - shown} more stages (--json lists them all) …`);
    return [rowsTable(first, paint, width), between, rowsTable(last, paint, width)].join('\n');
  }
  const rows = stages.map((all) => {
    const { instance, pass, options, epoch } = all[0]!;
    return [
      runs(all.map(({ index }) => index)),
      runs(all.map(({ clock }) => clock.epoch)),
      instance,
      pass.name,
      gateOf(all[0]!),
      epoch ? epochsText(all) : optionsText(asJson(options)),
    ];
  });
  const titles = ['#', 'epoch', 'instance', 'pass', 'gate', 'options'];
  const room = Math.max(30, width - widthOf(titles, rows, titles.length - 1));
  const wrapped = rows.map((row) => [...row.slice(0, -1), wrap(row.at(-1) ?? '', room).join('\n')]);
  const columns = titles.map((title, i) => ({ title, align: i < 2 ? ('right' as const) : ('left' as const) }));
  return table(columns, wrapped, paint);
}

/** Number formats as their labels. */
const asJson = (options: unknown): unknown => (options === undefined ? undefined : JSON.parse(JSON.stringify(options)));

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

/** A plan as plain data. */
export interface PlanReport {
  readonly format: 1;
  /** The file. */
  readonly schedule: string;
  readonly stages: readonly PlannedStage[];
  readonly waiting: readonly Waiting[];
  readonly notes: readonly string[];
  /** Stages of which nothing will come, for want of another before or behind them. */
  readonly warnings: readonly string[];
}

interface PlannedStage {
  readonly index: number;
  readonly instance: string;
  readonly class: string;
  readonly pass: string;
  readonly epoch: number;
  readonly gate: Gate | undefined;
  readonly options: unknown;
  /** `file:line:col` of the policy. */
  readonly at: string;
}

/** The same as plain data, for `--json`. */
export function planObject(schedule: Schedule): PlanReport {
  const stages = schedule.stages.map(({ index, instance, pass, options, clock, gate, at, ...rest }) => ({
    index,
    instance,
    class: rest.class,
    pass: pass.name,
    epoch: clock.epoch,
    gate,
    options: rest.epoch ? epochSummary(options as EpochPlan) : options,
    at,
  }));
  return { format: 1, schedule: schedule.file, stages, waiting: schedule.waiting, notes: schedule.notes, warnings: schedule.warnings ?? [] }; // prettier-ignore
}
