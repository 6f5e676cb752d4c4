import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { readModel } from '../../src/graph/file.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';

/** Signal-to-noise ratio in dB of an output against the right one, both as onnxruntime gave them. */
export function snr(expected: Float32Array, actual: Float32Array): number {
  let signal = 0;
  let error = 0;
  for (let i = 0; i < expected.length; i++) {
    signal += (expected[i] as number) ** 2;
    error += ((expected[i] as number) - (actual[i] as number)) ** 2;
  }
  return 10 * Math.log10(signal / error);
}

/** The operator types of the graph onnxruntime makes of a model, counted: what really runs. */
export async function optimizedOps(model: Model): Promise<Record<string, number>> {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-opt-'));
  try {
    const optimizedModelFilePath = join(folder, 'm.onnx');
    const session = await ort.InferenceSession.create(encodeModel(model), {
      optimizedModelFilePath,
      logSeverityLevel: 3,
    });
    await session.release();
    const counts: Record<string, number> = {};
    for (const node of (await readModel(optimizedModelFilePath)).graph.node)
      counts[node.op_type] = (counts[node.op_type] ?? 0) + 1;
    return counts;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
