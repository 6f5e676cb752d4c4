import { checkQuantized } from '../analyze/integer/quantized.ts';
import { verifyInteger as verified } from '../analyze/integer/verify.ts';
import { batches } from '../data/batch.ts';
import { fixedBatch } from '../data/layout.ts';
import { modelBytes } from '../graph/file.ts';
import { modelInputs } from '../graph/query.ts';
import { requantizations, usualMultiplierBits } from '../numerics/requantize/index.ts';
import type { Scheme } from '../numerics/requantize/scheme.ts';
import { wrapNotes, bitsOverrides, type IntegerReport } from '../report/integer.ts';
import { QtoolError } from '../util/error.ts';
import { didYouMean } from '../util/suggest.ts';
import { batchSizeOf, metricsFor, openModelData, type DataGiven, type DataOptions, type MetricGiven } from './data.ts';
import { abortable, checkCall, openModel, type ModelGiven, type Watch } from './given.ts';

export interface VerifyIntegerOptions extends DataOptions, Watch {
  /** A statically quantized model, in QDQ form or of QLinear operators. */
  readonly model: ModelGiven;
  readonly data: DataGiven;
  /** Requantizations by name; default all. */
  readonly schemes?: readonly string[] | undefined;
  /** Bits of the multiplier of the plain multiplier-and-shift scheme, 2 to 31; default 8. */
  readonly multiplierBits?: number | undefined;
  /** Also run with accumulators of so many bits, 8 to 31. */
  readonly accumulator?: number | undefined;
  /** What is measured, in place of what the data's config says. */
  readonly metrics?: readonly MetricGiven[] | undefined;
}

/**
 * Executes a quantized model in exact integers under each requantization, beside onnxruntime on the validation data, as
 * `qtool verify-integer` does.
 * @throws QtoolError, also for a model that is not statically quantized; the signal's reason.
 */
export async function verifyInteger(options: VerifyIntegerOptions): Promise<IntegerReport> {
  checkCall('verifyInteger', options, ['model', 'data']);
  const schemes = schemesOf(options);
  const { accumulator } = options;
  if (accumulator !== undefined) checkBits('accumulator', accumulator, 8);
  return abortable(options.signal, async (signal) => {
    const model = await openModel(options.model);
    checkQuantized(model);
    const data = await openModelData(model, options.data, options, 'validation');
    const metrics = await metricsFor(model, data, options.metrics);
    const { validation } = data;
    options.onProgress?.({ kind: 'phase', text: `executing ${model.path ?? 'the model'} in integers` });
    const total = validation.info.samples;
    const size = { batchSize: batchSizeOf(options, data), fixedBatch: fixedBatch(modelInputs(model)) };
    const found = await verified(model, {
      ...{ metrics, schemes, accumulator, threads: options.threads, signal, samples: total },
      batches: () => batches(validation, size),
      progress: (done) =>
        options.onProgress?.({ kind: 'progress', done: done / total, text: `${done} of ${total} samples` }),
    });
    return {
      ...{ format: 1, model: { path: model.path ?? '', bytes: modelBytes(model) }, data: validation.info, ...found },
      overrides: bitsOverrides(found.layers),
      notes: [...wrapNotes(found.layers), ...data.notes, ...validation.info.notes],
    };
  });
}

function schemesOf({ schemes: names, multiplierBits = usualMultiplierBits }: VerifyIntegerOptions): readonly Scheme[] {
  checkBits('multiplierBits', multiplierBits, 2);
  const all = requantizations(multiplierBits);
  if (names === undefined) return all;
  const known = all.map(({ name }) => name);
  const wrong = names.find((name) => !known.includes(name));
  if (wrong !== undefined || names.length === 0)
    throw new QtoolError('usage', `the requantization "${wrong ?? ''}" is not known${didYouMean(wrong ?? '', known)}`, {
      hint: `known: ${known.join(', ')}`,
    });
  return all.filter(({ name }) => names.includes(name));
}

function checkBits(name: string, bits: number, least: number): void {
  if (Number.isSafeInteger(bits) && bits >= least && bits <= 31) return;
  throw new QtoolError('usage', `"${name}" must be a whole number from ${least} to 31, not ${bits}`);
}
