import { fixedBatch } from '../../data/layout.ts';
import { modelInputs } from '../../graph/query.ts';
import { checkInputs } from '../../run/compare.ts';
import { benchText, type BenchReport } from '../../report/bench.ts';
import { bench } from '../../runtime/bench.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import type { Call } from '../call.ts';
import type { PreprocessingOptions } from '../../api/data.ts';
import { openModel } from '../../api/given.ts';
import { oneSample } from '../../api/inspect.ts';
import { answered, type Watched } from '../watched.ts';

interface BenchCommandOptions extends PreprocessingOptions {
  readonly data?: string;
  readonly dataRoot?: string;
  readonly allowModules?: boolean;
  readonly threads?: number;
  readonly seconds?: number;
  readonly batch: string;
}

/** `qtool bench`: what models cost to load and to run, measured in turn. */
export async function benchCommand(
  paths: readonly string[],
  options: BenchCommandOptions,
  call: Call,
): Promise<number> {
  const batches = batchesOf(options.batch);
  const models = await Promise.all(paths.map((path) => openModel(path)));
  const [first, ...others] = models;
  const model = given(first, 'a model');
  for (const other of others) checkInputs(model, other);
  const fixed = models.map((one) => fixedBatch(modelInputs(one))).find((size) => size !== undefined);
  if (fixed !== undefined && batches.some((size) => size !== fixed))
    call.remark(`a model takes batches of ${fixed} only: other sizes are left out`);
  const { feeds } = await oneSample(model, options);
  const threads = options.threads ?? 1;
  const measured = async ({ signal, onProgress }: Watched): Promise<BenchReport> => ({
    format: 1,
    threads,
    data: options.data,
    models: await bench(models, feeds, {
      ...{ batches, threads, seconds: options.seconds ?? 2, signal },
      progress: (done, text) => onProgress({ kind: 'progress', done, text }),
    }),
  });
  return answered(call, measured, benchText);
}

function batchesOf(text: string): number[] {
  const sizes = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (sizes.every((size) => Number.isSafeInteger(size) && size > 0)) return [...new Set(sizes)];
  throw new QtoolError('usage', `--batch takes whole numbers of at least 1, not "${text}"`, { hint: 'such as 1,32' });
}
