import { formats } from '../numerics/formats/index.ts';
import type { BoundFormat } from '../numerics/formats/format.ts';
import { unfit, writtenFormat } from '../numerics/formats/written.ts';
import { plainFloat32 } from '../passes/fold/float32_arithmetic.ts';
import { simulate as simulated, type Candidate, type SimulateReport } from '../run/simulate.ts';
import { QtoolError } from '../util/error.ts';
import { batchSizeOf, metricsFor, openModelData, type DataGiven, type DataOptions, type MetricGiven } from './data.ts';
import { abortable, checkCall, openModel, type ModelGiven, type Watch } from './given.ts';

export interface SimulateOptions extends DataOptions, Watch {
  readonly model: ModelGiven;
  readonly data: DataGiven;
  /** Format of the weights, as a schedule writes it: `nf4`, `minifloat:exponent=4,mantissa=3`. Default: float. */
  readonly weights?: string | undefined;
  /** Format of what layers read. Default: float. */
  readonly activations?: string | undefined;
  /** Formats of weights that are tried one after the other, in place of `weights`; `all`: every one there is. */
  readonly sweep?: readonly string[] | undefined;
  /** Patterns of the layers that are held so. Default: all. */
  readonly layers?: readonly string[] | undefined;
  /** What an error of a weight counts when its format is fitted. Default: `none`, all alike. */
  readonly importance?: 'none' | 'inputs' | undefined;
  /** What is measured, in place of what the data's config says. */
  readonly metrics?: readonly MetricGiven[] | undefined;
}

/** Measures a model with its weights and activations held in number formats, as `qtool simulate` does. @throws QtoolError; the signal's reason. */
export async function simulate(options: SimulateOptions): Promise<SimulateReport> {
  checkCall('simulate', options, ['model', 'data']);
  return abortable(options.signal, async (signal) => {
    const candidates = candidatesOf(options);
    const model = plainFloat32(await openModel(options.model));
    const data = await openModelData(model, options.data, options);
    return simulated({
      ...{ model, data, candidates, signal, layers: options.layers ?? ['*'] },
      ...{ importance: options.importance ?? 'none', sharing: undefined, threads: options.threads },
      metrics: await metricsFor(model, data, options.metrics),
      batchSize: batchSizeOf(options, data),
      log: (event) => options.onProgress?.(event),
    });
  });
}

/** What is to be simulated. @throws QtoolError where a format is not known, or holds nothing of a model. */
function candidatesOf({
  weights,
  activations,
  sweep,
}: Pick<SimulateOptions, 'weights' | 'activations' | 'sweep'>): Candidate[] {
  const inputs = activations === undefined ? null : formatOf(activations, 'notActivations');
  if (sweep === undefined) {
    if (weights === undefined && inputs === null)
      throw new QtoolError('usage', 'nothing to simulate', { hint: 'give --weights, --activations or --sweep' });
    return [{ weights: weights === undefined ? null : formatOf(weights, 'notWeights'), activations: inputs }];
  }
  const all = sweep.flatMap((text) => (text === 'all' ? formats.map(({ name }) => name) : [text]));
  return all.map((text) => {
    const one = formatOf(text);
    // A format of activations alone is tried there.
    return one.notWeights === undefined ? { weights: one, activations: inputs } : { weights: null, activations: one };
  });
}

function formatOf(text: string, place?: 'notWeights' | 'notActivations'): BoundFormat {
  const read = writtenFormat.safeParse(text);
  if (!read.success)
    throw new QtoolError('usage', read.error.issues.map(({ message }) => message).join('; '), {
      hint: 'docs/formats.md describes every format',
    });
  const why = place && unfit(read.data, place);
  if (why !== undefined) throw new QtoolError('usage', why);
  return read.data;
}
