import type { Clock, Pass } from '../passes/pass.ts';

/** What happens when a stage costs too much. */
export type OnFail = 'undo' | 'retry' | 'stop' | 'warn';

/** `maxDrop` in the metric's own unit (points for percentages, dB …) or, if `relative`, as a share of the float value. */
export interface Gate {
  readonly metric: string;
  readonly maxDrop: number;
  readonly relative: boolean;
  readonly onFail: OnFail;
}

/** One application of one pass at one epoch: what the runner executes, in order. */
export interface Stage {
  /** 1, 2, 3 … in running order. */
  readonly index: number;
  /** The instance name of the schedule. */
  readonly instance: string;
  readonly pass: Pass;
  /** Checked options with defaults filled in. */
  readonly options: unknown;
  readonly clock: Clock;
  readonly gate: Gate | undefined;
  /** `file:line:col` of the policy. */
  readonly at: string;
}

/** A checked schedule. */
export interface Schedule {
  readonly file: string;
  readonly stages: readonly Stage[];
  /** Things read and understood that cannot run here (Distiller's training classes), each with its reason. */
  readonly waiting: readonly { readonly name: string; readonly at: string; readonly reason: string }[];
}
