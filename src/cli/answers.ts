import type { AnalysisReport } from '../report/analysis.ts';
import type { PackReport, UnpackReport } from '../report/archive.ts';
import type { BenchReport } from '../report/bench.ts';
import type { EvalReport } from '../report/eval.ts';
import type { IntegerReport } from '../report/integer.ts';
import type { InspectReport } from '../report/inspect.ts';
import type { PlanReport } from '../report/plan.ts';
import type { CompareReport } from '../run/compare.ts';
import type { QuantizeSensitivityReport } from '../run/quantize_sensitivity.ts';
import type { RunReport } from '../run/report.ts';
import type { SensitivityReport } from '../run/sensitivity.ts';
import type { SimulateReport } from '../run/simulate.ts';
import type { InitReport } from './commands/init.ts';
import type { PassesReport } from './commands/passes.ts';
import type { PageReport } from './commands/report.ts';
import type { SchedulesReport } from './commands/schedules.ts';
import type { ErrorReport } from './errors.ts';

/** What commands print with `--json`: the JSON Schemas under configs/schemas are made from this type, and these lines are their titles. */
export interface Answers {
  /** What qtool analyze prints with --json */
  readonly analyze: AnalysisReport;
  /** What qtool bench prints with --json */
  readonly bench: BenchReport;
  /** What qtool check and qtool quantize --dry-run print with --json */
  readonly check: PlanReport;
  /** What qtool compare prints with --json */
  readonly compare: CompareReport;
  /** What qtool completion prints with --json */
  readonly completion: { readonly format: 1; readonly shell: string; readonly script: string };
  /** What every command prints with --json where it fails */
  readonly error: ErrorReport;
  /** What qtool eval prints with --json */
  readonly eval: EvalReport;
  /** What qtool init prints with --json */
  readonly init: InitReport;
  /** What qtool inspect prints with --json */
  readonly inspect: InspectReport;
  /** What qtool pack prints with --json */
  readonly pack: PackReport;
  /** What qtool passes and qtool explain print with --json */
  readonly passes: PassesReport;
  /** What qtool quantize prints with --json and writes as report.json */
  readonly quantize: RunReport;
  /** What qtool report prints with --json */
  readonly report: PageReport;
  /** What qtool schedules prints with --json */
  readonly schedules: SchedulesReport;
  /** What qtool sensitivity prints with --json and writes as sensitivity.json */
  readonly sensitivity: SensitivityReport | QuantizeSensitivityReport;
  /** What qtool verify-integer prints with --json */
  readonly 'verify-integer': IntegerReport;
  /** What qtool simulate prints with --json and writes as simulate.json */
  readonly simulate: SimulateReport;
  /** What qtool unpack prints with --json */
  readonly unpack: UnpackReport;
}
