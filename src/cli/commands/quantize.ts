import { describeValue } from '../../graph/query.ts';
import { openMetrics } from '../../metrics/index.ts';
import { htmlReport } from '../../report/html.ts';
import { planObject, planText } from '../../report/plan.ts';
import { textReport } from '../../report/text.ts';
import { run as realRun, type RunOptions } from '../../run/run.ts';
import type { RunReport } from '../../run/report.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { interruptible } from '../interrupt.ts';
import { loadSchedule, openModel } from '../load.ts';
import { commandLine } from '../command_line.ts';
import { openModelData, type DataOptions } from '../data_options.ts';
import { progressFor } from '../progress.ts';
import { findSchedule, readSchedule } from '../schedule_file.ts';
import { findTarget } from '../target_file.ts';

export interface QuantizeOptions extends DataOptions {
  readonly schedule: string;
  readonly target?: string;
  readonly data: string;
  readonly output: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly measure: boolean;
  readonly latency: boolean;
  readonly cache?: boolean;
  readonly samples?: number;
}

type Run = (options: RunOptions) => Promise<RunReport>;

/**
 * `qtool quantize`: compresses a model by a schedule. Everything that can be wrong is found before the output folder is made.
 * @param run stands in for the runner in tests.
 */
export async function quantize(
  path: string,
  options: QuantizeOptions,
  call: Call,
  run: Run = realRun,
): Promise<number> {
  const file = await findSchedule(options.schedule);
  const target = await findTarget(options.target);
  const model = await openModel(path);
  const data = await openModelData(model, options, call);
  // What a gate asks for is measured, whether the data's config names it or not.
  const { stages } = await loadSchedule(file);
  const asked = stages
    .flatMap(({ gate, fallback }) => [gate, gate?.unlabelled, fallback])
    .flatMap((limit) => limit?.metric ?? []);
  const metrics = await openMetrics(data, model.graph.output.map(describeValue), asked);
  const schedule = await loadSchedule(file, model, metrics, target);
  if (options.dryRun === true) {
    call.answer(planObject(schedule), () => planText(schedule, call.paint, call.width));
    return exit.ok;
  }
  const made = target === undefined ? '' : `# made with --target ${options.target}\n`;
  const scheduleText = made + (await readSchedule(file));
  const progress = await progressFor(call.io, call.quiet);
  const report = await interruptible(call.io, (signal) =>
    run({
      model,
      schedule,
      scheduleText,
      data,
      metrics,
      command: commandLine(['quantize', path], { ...options }, ['measure', 'latency', 'cache']),
      outDir: options.output,
      force: options.force === true,
      measure: options.measure,
      latency: options.latency,
      cache: options.cache !== false,
      batchSize: options.batchSize ?? data.batchSize ?? 32,
      threads: options.threads,
      signal,
      log: (event) => progress.show(event),
      render: (finished) => ({ html: htmlReport(finished) }),
    }),
  ).finally(() => progress.close());
  call.answer(report, () => textReport(report, { paint: call.paint, width: call.width }));
  return exitOf(report);
}

function exitOf(report: RunReport): number {
  if (report.result.status === 'cancelled') return exit.interrupted;
  return report.result.status === 'stopped' ? exit.gate : exit.ok;
}
