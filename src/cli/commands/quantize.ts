import { join } from 'node:path';
import { prepare, runOptions, type CompressOptions } from '../../api/compress.ts';
import { planObject, planText } from '../../report/plan.ts';
import { textReport } from '../../report/text.ts';
import { checkRunFolder } from '../../run/output.ts';
import { run as realRun, type RunOptions } from '../../run/run.ts';
import type { RunReport } from '../../run/report.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { commandLine } from '../command_line.ts';
import { watched } from '../watched.ts';

export interface QuantizeOptions extends Omit<CompressOptions, 'model'> {
  readonly schedule: string;
  readonly data: string;
  readonly output: string;
  readonly dryRun?: boolean;
}

type Run = (options: RunOptions) => Promise<RunReport>;

/**
 * `qtool quantize`: compresses a model by a schedule. Everything that can be wrong is found before the output folder is made.
 * @param run stands in for the runner in tests.
 */
export async function quantize(
  model: string,
  options: QuantizeOptions,
  call: Call,
  run: Run = realRun,
): Promise<number> {
  if (options.dryRun !== true) await checkRunFolder(options.output, options.force === true, options.resume);
  const prepared = await watched(call, (watch) => prepare({ ...options, ...watch, model }, options.dryRun));
  if (options.dryRun === true) {
    const { schedule } = prepared;
    call.answer(planObject(schedule), () => planText(schedule, call.paint, call.width));
    return exit.ok;
  }
  const line = (given: object): string =>
    commandLine(['quantize', model], { ...given }, ['measure', 'latency', 'cache']);
  const command = line(options);
  // All that shapes the result, nothing that only shows it.
  const shown = { json: undefined, quiet: undefined, color: undefined, force: undefined, dryRun: undefined };
  const { output } = options;
  const mended = { schedule: join(output, 'mended.yaml'), output: `${output.replace(/[\\/]+$/, '')}-mended` };
  const mendedCommand = line({ ...options, ...shown, ...mended });
  const report = await watched(call, (watch) =>
    run({
      ...runOptions(prepared, { ...options, ...watch, model }, options.output, watch.signal),
      command,
      mendedCommand,
    }),
  );
  call.answer(report, () => textReport(report, { paint: call.paint, width: call.width }));
  return exitOf(report);
}

function exitOf(report: RunReport): number {
  if (report.result.status === 'cancelled') return exit.interrupted;
  return report.result.status === 'stopped' ? exit.gate : exit.ok;
}
