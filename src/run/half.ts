import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { describeValue } from '../graph/query.ts';
import { optimizationLevels } from './levels.ts';
import { checkLoads, refusal } from './trial.ts';

/** dB that float16's own rounding stays well above, over some tens of layers: below, the two forms are not the same model. */
const alike = 30;

/** What is said of a file that computes in 16 bits and of the same model in float32, which the run works on. */
export interface HalfFindings {
  readonly note: string;
  readonly warning?: string;
}

/**
 * Holds a model in float32 arithmetic against the file that it was made from. @returns undefined where they are one.
 * @param batches absent: nothing is measured.
 */
export async function halfFindings(
  file: Model,
  model: Model,
  batches: ((samples: number) => AsyncIterable<Batch>) | undefined,
  signal: AbortSignal,
): Promise<HalfFindings | undefined> {
  if (file === model) return undefined;
  const now = new Map([...model.graph.input, ...model.graph.output].map(describeValue).map((v) => [v.name, v.type]));
  const ends = [...file.graph.input, ...file.graph.output].map(describeValue);
  const retyped = ends.filter(({ name, type }) => now.get(name) !== type).map(({ name }) => name);
  const types = retyped.length > 0 ? `; ${retyped.join(', ')}: float32 instead of bfloat16, which onnxruntime for Node.js hands over to no one` : '; inputs and outputs keep their types'; // prettier-ignore
  const refused = await refusal(() => checkLoads(file));
  const levels = refused === undefined && batches ? await optimizationLevels(model, file, batches, signal) : undefined;
  const against =
    refused !== undefined
      ? `; onnxruntime does not run the file as it is (${refused}), so that the float baseline is this model`
      : levels
        ? `; on ${levels.samples} samples its outputs have an SQNR of ${levels.all.toFixed(1)} dB against those of the file as it is`
        : '';
  const note = `the file computes in 16-bit floats: the model does so in float32 now, where sums and products are not rounded to 16 bits and do not overflow beyond 65504${types}; weights left in float stay stored in 16 bits${against}`;
  // NaN is no agreement either.
  if (!levels || levels.all >= alike) return { note };
  const warning = `the file in float32 arithmetic is another model than in its own: its outputs have an SQNR of ${levels.all.toFixed(1)} dB against it; numbers that overflow in 16 bits make such differences`;
  return { note, warning };
}
