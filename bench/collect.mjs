#!/usr/bin/env node
// What calibration costs beside running the same samples once through the float model.
//
//   npm run build && node bench/collect.mjs <model.onnx> <data: folder, config or "random"> [samples=512] [batch=16] [rounds=7]
//
// Both sides open their sessions and run the same decoded batches, in turns; the ratio is the median of the rounds' ratios, in
// wall time and in processor time (of all threads: what stays comparable while other programs run).
import { fixedBatch } from '../dist/data/layout.js';
import { openData } from '../dist/data/open.js';
import { batches } from '../dist/data/batch.js';
import { readModel } from '../dist/graph/file.js';
import { consumers, isOp, modelInputs } from '../dist/graph/query.js';
import { minmax } from '../dist/numerics/minmax.js';
import { histogram } from '../dist/numerics/histogram.js';
import { collect } from '../dist/runtime/collect.js';
import { pieces } from '../dist/runtime/plan.js';
import { withSession } from '../dist/runtime/session.js';
import { inferShapes } from '../dist/runtime/shapes.js';

const [path, data, samples = '512', size = '16', rounds = '7', threads] = process.argv.slice(2);
if (path === undefined || data === undefined) {
  console.error('usage: node bench/collect.mjs <model.onnx> <data> [samples] [batch] [rounds] [threads]');
  process.exit(2);
}
const model = await readModel(path);
const inputs = modelInputs(model);
const { calibration } = await openData(data, inputs, { calibrationSamples: Number(samples) });
const held = [];
const options = { batchSize: Number(size), fixedBatch: fixedBatch(inputs), limit: Number(samples) };
for await (const batch of batches(calibration, options)) held.push(batch);
const count = held.reduce((sum, batch) => sum + batch.count, 0);
const source = async function* () {
  yield* held;
};

// What a static quantizer asks for: the inputs, and the outputs of layers and sums behind the activation they absorb.
const readers = consumers(model.graph);
const values = inputs.filter((input) => input.type === 'float32').map((input) => input.name);
for (const node of model.graph.node) {
  if (!isOp(node, 'Conv', 'Gemm', 'MatMul', 'Add', 'Concat', 'GlobalAveragePool')) continue;
  const [output] = node.output;
  const list = readers.get(output) ?? [];
  values.push(list.length === 1 && isOp(list[0], 'Relu', 'Clip') ? list[0].output[0] : output);
}
// A quantizer asks for the shapes before, to see which layers it can take.
const [sample] = pieces(held[0], fixedBatch(inputs) ?? 1);
const shapes = await inferShapes(model, sample);
const floats = [...new Set(values)].filter((value) => shapes.get(value)?.type === 'float32');
const elements = floats.reduce((sum, value) => sum + shapes.get(value).dims.reduce((a, b) => a * b, 1), 0);
const wanted = (make) => new Map(floats.map((value) => [value, [make(value)]]));
const whole = (fold) => ({ ...fold, reads: undefined });
const share = Math.ceil(Number(process.env.ELEMENTS ?? 2 ** 18) / count);
const own = { shapes, ...(threads === undefined ? {} : { threads: Number(threads) }) };

const cases = {
  float: () =>
    withSession(model, own, async (session) => {
      for (const batch of held) await session.run(batch.feeds);
    }),
  minmax: () =>
    collect(
      model,
      source,
      wanted((value) => minmax(value)),
      own,
    ),
  'minmax in JavaScript': () =>
    collect(
      model,
      source,
      wanted((value) => whole(minmax(value))),
      own,
    ),
  histogram: () =>
    collect(
      model,
      source,
      wanted((value) => histogram({}, value)),
      own,
    ),
  [`histogram of ${share} elements`]: () =>
    collect(
      model,
      source,
      wanted((value) => histogram({}, value)),
      { ...own, elements: share },
    ),
};

const times = Object.fromEntries(Object.keys(cases).map((name) => [name, { wall: [], cpu: [] }]));
for (let round = -1; round < Number(rounds); round++)
  for (const [name, run] of Object.entries(cases)) {
    const [before, start] = [process.cpuUsage(), performance.now()];
    await run();
    const [wall, used] = [performance.now() - start, process.cpuUsage(before)];
    // Round -1 warms up.
    if (round < 0) continue;
    times[name].wall.push(wall);
    times[name].cpu.push((used.user + used.system) / 1000);
  }

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const ratio = (name, kind) => median(times[name][kind].map((time, i) => time / times.float[kind][i]));
console.log(
  `${path}: ${count} samples, batch ${held[0].size}, ${floats.length} values, ${Math.round(elements / sample.size / 1000)} thousand elements a sample`,
);
for (const name of Object.keys(cases))
  console.log(
    `${name.padEnd(32)} wall ${median(times[name].wall).toFixed(0).padStart(6)} ms  ×${ratio(name, 'wall').toFixed(2)}   processor ${median(times[name].cpu).toFixed(0).padStart(6)} ms  ×${ratio(name, 'cpu').toFixed(2)}`,
  );
