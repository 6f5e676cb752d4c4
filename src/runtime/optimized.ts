import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileState } from '../graph/bytes.ts';
import { leftNothing, readModel } from '../graph/file.ts';
import { openModelFile, type Model } from '../graph/model.ts';
import { withSession, type SessionOptions } from './session.ts';

/** Bytes from which on a constant is not read where only the graph is wanted. */
const largeConstant = 2 ** 16;

/**
 * The graph onnxruntime runs for a model at the session's optimization level. It fits this machine and this onnxruntime only.
 * Without `weights` its larger constants are missing: enough to look at, not to run.
 */
export async function optimizedGraph(model: Model, options: SessionOptions = {}, weights = false): Promise<Model> {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-optimized-'));
  try {
    const path = join(folder, 'optimized.onnx');
    const apart = { 'session.optimized_model_external_initializers_file_name': 'weights.bin' };
    const session: SessionOptions = weights
      ? { ...options, config: { ...apart, ...options.config } }
      : { lookedAt: true, ...options };
    await withSession(model, { ...session, optimizedModelPath: path }, async () => undefined);
    // The folder goes, so that nothing may stay in it.
    return weights ? await readModel(path, leftNothing) : openModelFile(fileState(path), largeConstant);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
