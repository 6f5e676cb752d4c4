import { openData } from '../src/data/open.ts';
import { batches } from '../src/data/batch.ts';
import { readModel } from '../src/graph/file.ts';
import { modelInputs } from '../src/graph/query.ts';
import { ownErrors } from '../src/analyze/own_error.ts';
import { foldPasses } from '../src/passes/fold/prepare.ts';
it('x', async () => {
  const float0 = await readModel(process.env.M as string);
  const q = await readModel(process.env.Q as string);
  const data = await openData(process.env.D as string, modelInputs(float0));
  let float = float0;
  const ctx = { progress() {}, signal: new AbortController().signal } as never;
  for (const p of foldPasses) { try { float = (await p.apply(float, {}, ctx)).model; } catch (e) { console.log(p.name, String(e)); } }
  const t = Date.now();
  const errors = await ownErrors(float, q, () => batches(data.calibration, { batchSize: 16, limit: 32 }));
  console.log(errors.map((e) => `${e.layer.padEnd(40)} ${e.value.slice(0,30).padEnd(30)} own ${e.own.toFixed(1)} input ${e.input.toFixed(1)} weights ${e.weights.toFixed(1)} inherited ${e.inherited.toFixed(1)}`).join('\n'), Date.now() - t);
}, 600000);
