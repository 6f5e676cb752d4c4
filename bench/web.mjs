#!/usr/bin/env node
// What models do in onnxruntime-web (WebAssembly, one thread) beside onnxruntime-node: speed against the first model, and whether outputs are the same.
//
//   npm run build && npm install --no-save onnxruntime-web
//   node bench/web.mjs data=<config or folder> [root=<folder>] [batch=1] [samples=64] <float.onnx> <other.onnx> …
//
// Rounds of all models in turn; the ratio is the median of the rounds' ratios, in brackets its quartiles.
import { readFile } from 'node:fs/promises';
import { batches } from '../dist/data/batch.js';
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { modelInputs } from '../dist/graph/query.js';
import { openSession } from '../dist/runtime/session.js';

const words = process.argv.slice(2);
const given = Object.fromEntries(words.filter((word) => /^\w+=/.test(word)).map((word) => word.split(/=(.*)/s)));
const files = words.filter((word) => !/^\w+=/.test(word));
const ort = await import('onnxruntime-web').catch(() => undefined);
if (!ort || !given.data || files.length === 0) {
  console.error(ort ? 'usage: node bench/web.mjs data=<config> [root=] [batch=1] [samples=64] <model.onnx> …' : 'onnxruntime-web is not installed: npm install --no-save onnxruntime-web'); // prettier-ignore
  process.exit(2);
}
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

const inputs = modelInputs(await readModel(files[0]));
const { validation } = await openData(given.data, inputs, { root: given.root });
const held = [];
const options = { batchSize: Number(given.batch ?? 1), limit: Number(given.samples ?? 64) };
for await (const batch of batches(validation, options)) held.push(batch.feeds);

const models = [];
for (const file of files) {
  const web = await ort.InferenceSession.create(await readFile(file), { executionProviders: ['wasm'] });
  const run = (feeds) =>
    web.run(
      Object.fromEntries(
        Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new ort.Tensor(type, data, dims)]),
      ),
    );
  models.push({ file, run, times: [], ...(await compared(file, run)) });
}
for (let round = -1; round < 15; round++)
  for (const { run, times } of models) {
    const start = performance.now();
    for (const feeds of held.slice(0, 8)) await run(feeds);
    if (round >= 0) times.push(performance.now() - start);
  }

/** Largest difference of an output to that of onnxruntime-node, as a share of its largest value; samples whose largest class is the same. */
async function compared(file, run) {
  const node = await openSession(file, { threads: 1 });
  let [worst, same, rows] = [0, 0, 0];
  for (const feeds of held) {
    const [web, own] = [await run(feeds), await node.run(feeds)];
    for (const [name, { data, dims }] of Object.entries(own)) {
      const other = web[name].data;
      const largest = data.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      data.forEach((v, i) => (worst = Math.max(worst, Math.abs(v - other[i]) / largest)));
      const width = dims.at(-1);
      const top = (all, row) => {
        const part = all.subarray(row * width, (row + 1) * width);
        return part.indexOf(part.reduce((most, v) => Math.max(most, v), -Infinity));
      };
      for (let row = 0; row < data.length / width; row++, rows++) same += top(data, row) === top(other, row) ? 1 : 0;
    }
  }
  await node.close();
  return { worst, same: same / rows };
}

const quartile = (list, q) => list.toSorted((a, b) => a - b)[Math.floor((list.length - 1) * q)];
console.log(`onnxruntime-web ${ort.env.versions.web}, one thread, ${held.length} batches of ${options.batchSize}`);
console.log('| model | bytes | speed against the first | largest difference to onnxruntime-node | same class |');
console.log('|---|--:|---|--:|--:|');
for (const { file, times, worst, same } of models) {
  const ratios = times.map((time, i) => models[0].times[i] / time);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quartile(ratios, q).toFixed(2));
  const bytes = (await readFile(file)).length.toLocaleString('en-US');
  const name = file.split('/').slice(-2).join('/');
  console.log(
    `| ${name} | ${bytes} | ${middle} (${low}–${high}) | ${worst.toExponential(1)} | ${(100 * same).toFixed(2)} % |`,
  );
}
