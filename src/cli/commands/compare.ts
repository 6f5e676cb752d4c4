import { compareText } from '../../report/compare.ts';
import { compareModels } from '../../run/compare.ts';
import type { Call } from '../call.ts';
import { openModelData, type DataOptions } from '../data_options.ts';
import { exit } from '../errors.ts';
import { interruptible } from '../interrupt.ts';
import { openModel } from '../load.ts';
import { progressFor } from '../progress.ts';

export interface CompareCommandOptions extends DataOptions {
  readonly data: string;
  readonly latency: boolean;
}

/** `qtool compare`: two forms of one model side by side. */
export async function compare(a: string, b: string, options: CompareCommandOptions, call: Call): Promise<number> {
  const [reference, model] = [await openModel(a), await openModel(b)];
  const data = await openModelData(reference, options, call, 'validation');
  const progress = await progressFor(call.io, call.quiet);
  const { batchSize, threads, latency } = options;
  const report = await interruptible(call.io, (signal) =>
    compareModels({
      reference,
      model,
      data,
      batchSize,
      threads,
      latency,
      signal,
      log: (event) => progress.show(event),
    }),
  ).finally(() => progress.close());
  call.answer(report, () => compareText(report, call.paint, call.width));
  return exit.ok;
}
