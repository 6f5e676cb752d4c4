import { coverage } from '../analyze/coverage.ts';
import { withDecodedWeights } from '../analyze/decoded.ts';
import { exitUses } from '../analyze/exits.ts';
import { slowRemark } from '../analyze/speed.ts';
import { zeroShare } from '../analyze/zero_share.ts';
import { batches, firstBatch } from '../data/batch.ts';
import { fixedBatch } from '../data/layout.ts';
import type { Batch, Dataset } from '../data/types.ts';
import { exitsOf } from '../graph/exits.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { modelInputs } from '../graph/query.ts';
import type { MetricResult } from '../metrics/metric.ts';
import type { Alone, EvalReport } from '../report/eval.ts';
import { measuredAtChance } from '../run/verdict.ts';
import { measure } from '../runtime/measure.ts';
import { latency, type Latency } from '../runtime/time.ts';
import { batchSizeOf, metricsFor, openModelData, type DataGiven, type DataOptions, type MetricGiven } from './data.ts';
import { abortable, checkCall, openModel, type ModelGiven, type Watch } from './given.ts';

export interface EvaluateOptions extends DataOptions, Watch {
  readonly model: ModelGiven;
  readonly data: DataGiven;
  /** The float model that the outputs are compared with. */
  readonly reference?: ModelGiven | undefined;
  /** What is measured, in place of what the data's config says. */
  readonly metrics?: readonly MetricGiven[] | undefined;
  /**
   * Of a model with early exits: entropies (nats) from which on samples go on, one for each exit or one for all. Default: those that the model
   * has.
   */
  readonly exitThreshold?: number | readonly number[] | undefined;
  /** `false`: no latency is measured. Default true. */
  readonly latency?: boolean | undefined;
}

/** Measures a model on the validation data, also against a float model, as `qtool eval` does. @throws QtoolError; the signal's reason. */
export async function evaluate(options: EvaluateOptions): Promise<EvalReport> {
  checkCall('evaluate', options, ['model', 'data']);
  return abortable(options.signal, async (signal) => {
    const model = await openModel(options.model);
    const reference = options.reference === undefined ? undefined : await openModel(options.reference);
    const data = await openModelData(model, options.data, options, 'validation');
    const wanted = await metricsFor(model, data, options.metrics);
    // Against itself every such metric would be perfect, and say nothing.
    const metrics = reference ? wanted : wanted.filter((metric) => metric.needs !== 'reference');
    const left = wanted.filter((metric) => !metrics.includes(metric)).map((metric) => metric.name);
    const cut = (set: Dataset, limit?: number): AsyncIterable<Batch> =>
      batches(set, { batchSize: batchSizeOf(options, data), fixedBatch: fixedBatch(modelInputs(model)), limit });
    options.onProgress?.({ kind: 'phase', text: `measuring ${model.path ?? 'the model'}` });
    const total = data.validation.info.samples;
    const results = await measure(model, reference ?? model, cut(data.validation), metrics, {
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      ...{ signal, alone: reference === undefined },
      progress: (done) =>
        options.onProgress?.({ kind: 'progress', done: done / total, text: `${done} of ${total} samples` }),
    });
    const timed =
      options.latency === false ? [] : await time(model, reference ?? model, cut(data.validation, 1), signal);
    const exits = await usesOf(model, options, (limit) => cut(data.validation, limit), signal);
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
      exits,
      warnings: measuredAtChance(model, reference ? results : results.map(alone), ['the reference', 'the model']),
      notes: [
        ...(slow === undefined ? [] : [slow]),
        ...data.notes,
        ...data.validation.info.notes,
        ...(left.length > 0 ? [`${left.join(', ')}: not measured without --reference`] : []),
      ],
    };
  });
}

/** What a model's early exits come to; undefined where it has none. @throws QtoolError('model') where a threshold is given all the same. */
async function usesOf(
  model: Model,
  { exitThreshold: asked, threads }: EvaluateOptions,
  samples: (limit?: number) => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<EvalReport['exits']> {
  const exits = exitsOf(model);
  if (exits.length === 0 && asked === undefined) return undefined;
  const thresholds = typeof asked === 'number' ? exits.map(() => asked) : asked;
  return exitUses(model, samples(), await firstBatch(samples(1)), thresholds, { threads, signal });
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
