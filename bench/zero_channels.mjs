#!/usr/bin/env node
// Whether cutting channels that are exactly zero leaves a model's outputs as they are, on real models.
//
//   npm run build && node bench/zero_channels.mjs <model.onnx> ... [--share 0.4] [--batches 1,3]
//
// For each model: zeros the weights and biases of a random share of all channels, cuts those that then provably change nothing
// (what FilterRemover and StructureRemover cut), and compares the outputs of both on random input. Prints a Markdown table; exits with 1 where outputs differ by more than 1e-5 of their largest.
import { parseArgs } from 'node:util';
import { batches } from '../dist/data/batch.js';
import { fixedBatch } from '../dist/data/layout.js';
import { openData } from '../dist/data/open.js';
import { channelGroups, leaveOne, removableChannels, removeChannels } from '../dist/graph/channels.js';
import { maskChannels } from '../dist/graph/channels/mask.js';
import { readModel } from '../dist/graph/file.js';
import { encodeModel } from '../dist/graph/model.js';
import { modelInputs } from '../dist/graph/query.js';
import { openSession } from '../dist/runtime/session.js';
import { inferShapes } from '../dist/runtime/shapes.js';
import { seeded } from '../dist/passes/prune/structure/random.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { share: { type: 'string', default: '0.4' }, batches: { type: 'string', default: '1,3' } },
});
if (positionals.length === 0) {
  console.error('usage: node bench/zero_channels.mjs <model.onnx> ... [--share 0.4] [--batches 1,3]');
  process.exit(2);
}
console.log('| model | groups | channels | zeroed | cut | bytes left | largest difference |');
console.log('|---|---|---|---|---|---|---|');
let worst = 0;
for (const path of positionals) {
  const model = await readModel(path);
  const inputs = modelInputs(model);
  const data = await openData('random', inputs);
  const first = async (size) => {
    for await (const batch of batches(data.validation, {
      batchSize: size,
      fixedBatch: fixedBatch(inputs),
      limit: size,
    }))
      return batch;
  };
  const channels = channelGroups(model, await inferShapes(model, await first(1)));
  const all = channels.groups.flatMap((group) => group.atoms);
  const next = seeded(1);
  const atoms = leaveOne(
    channels,
    all.filter(() => next() < Number(values.share)),
  );
  const masked = maskChannels(model, channels, atoms);
  const provable = removableChannels(masked, channels);
  const gone = new Set([...atoms].filter((atom) => provable.has(atom)));
  const cut = removeChannels(masked, channels, gone);
  const sizes = fixedBatch(inputs) === undefined ? values.batches.split(',').map(Number) : [1];
  let difference = 0;
  for (const size of sizes) {
    const { feeds } = await first(size);
    const [before, after] = [await outputs(masked, feeds), await outputs(cut, feeds)];
    for (const [name, { data: x }] of Object.entries(before)) {
      const y = after[name].data;
      let [most, apart] = [1, 0];
      for (let i = 0; i < x.length; i++) {
        most = Math.max(most, Math.abs(Number(x[i])));
        apart = Math.max(apart, Math.abs(Number(x[i]) - Number(y[i])));
      }
      difference = Math.max(difference, x.length === y.length ? apart / most : Infinity);
    }
  }
  worst = Math.max(worst, difference);
  const left = ((100 * encodeModel(cut).length) / encodeModel(model).length).toFixed(1);
  const name = path.replace(/.*\//, '');
  console.log(
    `| ${[name, channels.groups.length, all.length, atoms.size, gone.size, `${left} %`, difference.toExponential(1)].join(' | ')} |`,
  );
}
process.exitCode = worst > 1e-5 ? 1 : 0;

async function outputs(model, feeds) {
  const session = await openSession(model, { threads: 1 });
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}
