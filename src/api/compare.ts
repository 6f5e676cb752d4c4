import { compareModels, type CompareReport } from '../run/compare.ts';
import { openModelData, type DataGiven, type DataOptions } from './data.ts';
import { abortable, checkCall, openModel, type ModelGiven, type Watch } from './given.ts';

export interface CompareOptions extends DataOptions, Watch {
  /** The model that is taken as right: the float one. */
  readonly a: ModelGiven;
  /** The other form of it. */
  readonly b: ModelGiven;
  readonly data: DataGiven;
  /** `false`: no latency is measured. Default true. */
  readonly latency?: boolean | undefined;
}

/**
 * Two forms of one model on the same samples, as `qtool compare` does: how far the outputs of `b` are from those of `a`, where they part, and
 * the error of each layer, its own apart from what it inherits.
 * @throws QtoolError, also where the inputs or outputs are not the same; the signal's reason.
 */
export async function compare(options: CompareOptions): Promise<CompareReport> {
  checkCall('compare', options, ['a', 'b', 'data']);
  return abortable(options.signal, async (signal) => {
    const [reference, model] = [await openModel(options.a), await openModel(options.b)];
    const data = await openModelData(reference, options.data, options, 'validation');
    const { batchSize, threads, latency = true, onProgress } = options;
    return compareModels({
      ...{ reference, model, data, batchSize, threads, latency, signal },
      log: (event) => onProgress?.(event),
    });
  });
}
