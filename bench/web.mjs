#!/usr/bin/env node
// What models do in onnxruntime-web (WebAssembly) beside onnxruntime-node: speed against the first model, and whether outputs are the same.
// In Node.js, or in a real headless Chromium (CHROMIUM=<path> names another than the usual).
//
//   npm run build
//   node bench/web.mjs data=<config or folder> [in=chromium] [threads=1] [root=<folder>] [batch=1] [samples=64] [rounds=15] <float.onnx> <other.onnx> …
//
// Rounds of all models in turn; the ratio is the median of the rounds' ratios, in brackets its quartiles.
import { readFile } from 'node:fs/promises';
import { batches } from '../dist/data/batch.js';
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { modelInputs } from '../dist/graph/query.js';
import { openSession } from '../dist/runtime/session.js';
import { findChromium, openChromium, plain } from './chromium.mjs';

const words = process.argv.slice(2);
const given = Object.fromEntries(words.filter((word) => /^\w+=/.test(word)).map((word) => word.split(/=(.*)/s)));
const files = words.filter((word) => !/^\w+=/.test(word));
if (!given.data || files.length === 0) {
  console.error('usage: node bench/web.mjs data=<config> [in=chromium] [threads=1] [root=] [batch=1] [samples=64] [rounds=15] <model.onnx> …'); // prettier-ignore
  process.exit(2);
}
const threads = Number(given.threads ?? 1);

const inputs = modelInputs(await readModel(files[0]));
const { validation } = await openData(given.data, inputs, { root: given.root });
const held = [];
const options = { batchSize: Number(given.batch ?? 1), limit: Number(given.samples ?? 64) };
for await (const batch of batches(validation, options)) held.push(batch.feeds);

const web = given.in === 'chromium' ? await inChromium() : await inNode();
const models = [];
for (const [i, file] of files.entries()) {
  await web.load(`/${i}`, { threads });
  models.push({ file, address: `/${i}`, times: [], ...(await compared(file, (feeds) => web.run(`/${i}`, feeds))) });
}
for (let round = -1; round < Number(given.rounds ?? 15); round++)
  for (const { address, times } of models) {
    const time = await web.time(address, held.slice(0, 8));
    if (round >= 0) times.push(time);
  }
await web.close();

/** The models in Chromium: how they are loaded, run and timed. */
async function inChromium() {
  const executable = findChromium();
  if (!executable) {
    console.error('there is no Chromium: CHROMIUM=<path> names one');
    process.exit(2);
  }
  const served = Object.fromEntries(files.map((file, i) => [`/${i}`, file]));
  const { version, load, run, time, close } = await openChromium(served, { executable });
  const timed = (address, list) => time(address, list.map(plain));
  return { where: `Chromium ${version}`, load, run: (address, feeds) => run(address, plain(feeds)), time: timed, close }; // prettier-ignore
}

/** The same in this process. */
async function inNode() {
  const ort = await import('onnxruntime-web');
  Object.assign(ort.env.wasm, { numThreads: threads });
  ort.env.logLevel = 'error';
  const sessions = new Map();
  const tensors = (feeds) => Object.fromEntries(Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new ort.Tensor(type, data, dims)])); // prettier-ignore
  const run = (address, feeds) => sessions.get(address).run(tensors(feeds));
  return {
    where: `Node.js ${process.version}`,
    async load(address) {
      const bytes = await readFile(files[Number(address.slice(1))]);
      sessions.set(address, await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] }));
    },
    run,
    async time(address, list) {
      const start = performance.now();
      for (const feeds of list) await run(address, feeds);
      return performance.now() - start;
    },
    close: () => undefined,
  };
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
        const part = all.slice(row * width, (row + 1) * width);
        return part.indexOf(part.reduce((most, v) => Math.max(most, v), -Infinity));
      };
      for (let row = 0; row < data.length / width; row++, rows++) same += top(data, row) === top(other, row) ? 1 : 0;
    }
  }
  await node.close();
  return { worst, same: same / rows };
}

const quartile = (list, q) => list.toSorted((a, b) => a - b)[Math.floor((list.length - 1) * q)];
console.log(
  `onnxruntime-web in ${web.where}, ${threads} thread${threads === 1 ? '' : 's'}, ${held.length} batches of ${options.batchSize}`,
);
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
