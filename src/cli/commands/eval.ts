import { coverage } from '../../analyze/coverage.ts';
import { withDecodedWeights } from '../../analyze/decoded.ts';
import { slowRemark } from '../../analyze/speed.ts';
import { zeroShare } from '../../analyze/zero_share.ts';
import { batches } from '../../data/batch.ts';
import { fixedBatch } from '../../data/layout.ts';
import type { Batch, Dataset } from '../../data/types.ts';
import { modelBytes } from '../../graph/file.ts';
import type { Model } from '../../graph/model.ts';
import { describeValue, modelInputs } from '../../graph/query.ts';
import { openMetrics } from '../../metrics/index.ts';
import type { MetricResult } from '../../metrics/metric.ts';
import { evalText, type Alone, type EvalReport } from '../../report/eval.ts';
import { measure } from '../../runtime/measure.ts';
import { latency, type Latency } from '../../runtime/time.ts';
import type { Call } from '../call.ts';
import { openModelData, type DataOptions } from '../data_options.ts';
import { exit } from '../errors.ts';
import { interruptible } from '../interrupt.ts';
import { openModel } from '../load.ts';
import { progressFor } from '../progress.ts';

export interface EvalOptions extends DataOptions {
  readonly data: string;
  readonly reference?: string;
  readonly latency: boolean;
}

/** `qtool eval`: a model on the validation data, also against a float model. */
export async function evaluate(path: string, options: EvalOptions, call: Call): Promise<number> {
  const model = await openModel(path);
  const reference = options.reference === undefined ? undefined : await openModel(options.reference);
  const data = await openModelData(model, options, call, 'validation');
  const wanted = await openMetrics(data, model.graph.output.map(describeValue));
  // Against itself every such metric would be perfect, and say nothing.
  const metrics = reference ? wanted : wanted.filter((metric) => metric.needs !== 'reference');
  const left = wanted.filter((metric) => !metrics.includes(metric)).map((metric) => metric.name);
  const cut = (set: Dataset, limit?: number): AsyncIterable<Batch> =>
    batches(set, {
      batchSize: options.batchSize ?? data.batchSize ?? 32,
      fixedBatch: fixedBatch(modelInputs(model)),
      limit,
    });
  const progress = await progressFor(call.io, call.quiet);
  const report = await interruptible(call.io, async (signal): Promise<EvalReport> => {
    progress.show({ kind: 'phase', text: `measuring ${path}` });
    const total = data.validation.info.samples;
    const results = await measure(model, reference ?? model, cut(data.validation), metrics, {
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      signal,
      progress: (done) => progress.show({ kind: 'progress', done: done / total, text: `${done} of ${total} samples` }),
    });
    const timed = options.latency ? await time(model, reference ?? model, cut(data.validation, 1), signal) : [];
    // Against itself a model is never faster.
    const slow =
      reference && timed.length > 0 ? slowRemark(timed, await coverage(model), model, 'the reference') : undefined;
    return {
      format: 1,
      model: sizeOf(model),
      reference: reference && sizeOf(reference),
      data: data.validation.info,
      measurement: {
        metrics: reference ? results : results.map(alone),
        bytes: modelBytes(model),
        zeros: zeroShare(await withDecodedWeights(model)),
        latency: timed,
      },
      notes: [
        ...(slow === undefined ? [] : [slow]),
        ...data.notes,
        ...data.validation.info.notes,
        ...(left.length > 0 ? [`${left.join(', ')}: not measured without --reference`] : []),
      ],
    };
  }).finally(() => progress.close());
  call.answer(report, () => evalText(report, call.paint, call.width));
  return exit.ok;
}

async function time(
  model: Model,
  reference: Model,
  samples: AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<Latency[]> {
  for await (const batch of samples) return latency(model, reference, batch.feeds, { signal });
  return [];
}

function sizeOf(model: Model): { path: string; bytes: number } {
  return { path: model.path ?? '', bytes: modelBytes(model) };
}

function alone({ drop: _drop, dropInterval: _interval, reference: _reference, ...own }: MetricResult): Alone {
  return own;
}
