// Reads the calibration samples and runs the float model on them once, nothing else: what no calibration in onnxruntime can be faster than.
//   node float_once.mjs <model.onnx> <data.yaml> <samples>
import { batches } from '../../dist/data/batch.js';
import { openData } from '../../dist/data/open.js';
import { readModel } from '../../dist/graph/file.js';
import { modelInputs } from '../../dist/graph/query.js';
import { ahead } from '../../dist/runtime/capture.js';
import { withSession } from '../../dist/runtime/session.js';

const [path, data, samples] = process.argv.slice(2);
const model = await readModel(path);
const { calibration } = await openData(data, modelInputs(model), { calibrationSamples: Number(samples) });
await withSession(model, {}, async (session) => {
  for await (const { feeds } of ahead(batches(calibration, { batchSize: 32, reuse: true }))) await session.run(feeds);
});
