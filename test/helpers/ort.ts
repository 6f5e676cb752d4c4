import * as ort from 'onnxruntime-node';
import { encodeModel, type Model } from '../../src/graph/model.ts';

type OrtFeeds = Record<string, ort.Tensor>;

/** Runs a model in a bare onnxruntime session, without qtool's runtime: the outside judge of graph edits. */
export async function runBare(
  model: Model | Uint8Array,
  feeds: OrtFeeds,
  options: ort.InferenceSession.SessionOptions = {},
): Promise<Record<string, Float32Array>> {
  const session = await ort.InferenceSession.create(model instanceof Uint8Array ? model : encodeModel(model), {
    logSeverityLevel: 3,
    ...options,
  });
  const results = await session.run(feeds);
  await session.release();
  return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, tensor.data as Float32Array]));
}

export const tensor = (data: Float32Array, dims: number[]): ort.Tensor => new ort.Tensor('float32', data, dims);
