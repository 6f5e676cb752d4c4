import type { Clock, Pass } from '../passes/pass.ts';
import type { YamlDoc } from '../util/yaml.ts';

/** What happens when a stage costs too much. */
export type OnFail = 'undo' | 'retry' | 'stop' | 'warn';

/**
 * What a metric must hold: a drop against the float model, in the metric's own unit (points for percentages) or, if `relative`, as
 * a share of the float value; or a least or a largest value.
 */
export type Limit = { readonly metric: string } & (
  { readonly maxDrop: number; readonly relative: boolean } | { readonly min: number } | { readonly max: number }
);

export type Gate = Limit & {
  readonly onFail: OnFail;
  /** What is asked instead where the data does not let the metric be measured. */
  readonly unlabelled?: Limit;
  /** The metric that this data does not let be measured, in whose place this one is asked. */
  readonly insteadOf?: string;
};

/** How a quantizer raises layers to more bits or float until a metric holds; `timeBudget` in seconds, undefined: until it is done. */
export type Fallback = Limit & { readonly timeBudget: number | undefined };

/** One application of one pass at one epoch: what the runner executes, in order. */
export interface Stage {
  /** 1, 2, 3 … in running order. */
  readonly index: number;
  /** The instance name of the schedule. */
  readonly instance: string;
  /** The class name as the schedule writes it. */
  readonly class: string;
  readonly pass: Pass;
  /** Checked options with defaults filled in. */
  readonly options: unknown;
  readonly clock: Clock;
  readonly gate: Gate | undefined;
  readonly fallback?: Fallback | undefined;
  /** Set for an epoch of training. */
  readonly epoch?: { readonly last: boolean; readonly learns: boolean } | undefined;
  /** `file:line:col` of the policy. */
  readonly at: string;
}

/** Something read and understood that cannot run here (Distiller's training classes), with its reason. */
export interface Waiting {
  /** `lr_schedulers.decay (ExponentialLR)` */
  readonly name: string;
  readonly at: string;
  readonly reason: string;
}

/** A checked schedule. */
export interface Schedule {
  readonly file: string;
  readonly stages: readonly Stage[];
  readonly waiting: readonly Waiting[];
  /** What the user should know: how a policy was read, which node a PyTorch name turned out to be. */
  readonly notes: readonly string[];
  /** Stages of which nothing will come, for want of another before or behind them. */
  readonly warnings?: readonly string[];
}

/** A selector of a pass: where it stands in the file, and where below the options. */
export interface Selector {
  readonly pattern: string;
  readonly over: 'weights' | 'layers';
  readonly path: readonly (string | number)[];
  readonly below: readonly (string | number)[];
}

/** The selectors of one set of checked options. */
export interface SelectorGroup {
  readonly options: unknown;
  readonly selectors: readonly Selector[];
}

/** A schedule that is right in itself; what depends on a model is checked by `bindSchedule`. */
export interface ParsedSchedule extends Schedule {
  readonly doc: YamlDoc;
  readonly groups: readonly SelectorGroup[];
  /** It trains, and does not say how. */
  readonly implied: boolean;
  /** The file's `names:` table: PyTorch name → what the model calls it, or all layers with weights in order. */
  readonly names: Readonly<Record<string, string>> | readonly string[];
}
