import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { leftNothing, readModel } from '../graph/file.ts';
import { decodeModel, type Model } from '../graph/model.ts';
import { withSession, type SessionOptions } from './session.ts';

/**
 * The graph onnxruntime runs for a model at the session's optimization level. It fits this machine and this onnxruntime only.
 * Without `weights` its larger constants are missing: enough to look at, not to run.
 */
export async function optimizedGraph(model: Model, options: SessionOptions = {}, weights = false): Promise<Model> {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-optimized-'));
  try {
    const path = join(folder, 'optimized.onnx');
    const apart = { 'session.optimized_model_external_initializers_file_name': 'weights.bin' };
    const config = { ...apart, ...options.config };
    await withSession(model, { ...options, config, optimizedModelPath: path }, async () => undefined);
    // The folder goes, so that nothing may stay in it.
    return weights ? await readModel(path, leftNothing) : decodeModel(await readFile(path));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
