import type { Model } from '../graph/model.ts';
import { openExits, exitParts, type ExitReader } from '../runtime/exits.ts';
import type { Exit } from '../graph/exits.ts';
import { checkCall, openModel, type ModelGiven } from './given.ts';
import { oneSample, type InspectOptions } from './inspect.ts';

export interface ExitsOptions extends Omit<InspectOptions, 'model'> {
  readonly model: ModelGiven;
}

export interface ExitReaderOptions extends ExitsOptions {
  /** Entropies in nats, one for each exit. Default: those that the model has. */
  readonly thresholds?: readonly number[] | undefined;
  readonly threads?: number | undefined;
}

/**
 * Cuts a model at its early exits into consecutive ONNX models, for a runtime of one's own: part i gives exit i and what later parts read, the last
 * the model's own outputs. @throws QtoolError('model') for a model without exits.
 */
export async function splitExits(options: ExitsOptions): Promise<{ readonly exits: readonly Exit[]; readonly parts: readonly Model[] }> {
  checkCall('splitExits', options, ['model']);
  const model = await openModel(options.model);
  return exitParts(model, await oneSample(model, options));
} // prettier-ignore

/**
 * Opens a model with early exits to be run: what stands behind an exit is not computed for samples that leave there.
 * @throws QtoolError as `splitExits`, and for thresholds of another number.
 */
export async function openEarlyExits(options: ExitReaderOptions): Promise<ExitReader> {
  checkCall('openEarlyExits', options, ['model']);
  const model = await openModel(options.model);
  const { threads, thresholds } = options;
  return openExits(await exitParts(model, await oneSample(model, options)), thresholds, { threads });
}
