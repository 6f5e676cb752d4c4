#!/usr/bin/env node
// What a training step (forward, backward, SGD with momentum) costs beside PyTorch on the same ONNX file: CPU time of one thread and memory.
//
//   npm run build && ORT_DISABLE_TELEMETRY=1 node bench/training.mjs --python <python with torch and numpy>
//     [--only <part of a name>] [--rounds 15] [--steps 2] [--keep: leave the files of each net, and say where]
//
// Both sides run in processes of their own and take turns, `steps` steps a round, so that a busy machine slows both alike; times are CPU
// time, not the clock's. Printed: medians, the median of the rounds' ratios with its quartiles, and the ratio of the smallest times. Memory
// is the peak of three steps above what the process held before (VmHWM, set back before them). Losses of the first step must agree.
import { fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildTraining } from '../dist/autodiff/training_graph.js';
import { encodeModel } from '../dist/graph/model.js';
import { modelInputs } from '../dist/graph/query.js';
import { crossEntropy, rowsInput, sharesInput } from '../dist/passes/train/loss/cross_entropy.js';
import { sgd } from '../dist/passes/train/optimizer/sgd.js';
import { openSession } from '../dist/runtime/session.js';
import { inferShapes } from '../dist/runtime/shapes.js';
import { largest, nets, noise } from './training_nets.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const [lr, momentum] = [0.01, 0.9];
const { values: flags } = parseArgs({
  options: {
    python: { type: 'string' },
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '15' },
    steps: { type: 'string', default: '2' },
    keep: { type: 'boolean', default: false },
    child: { type: 'string' },
  },
});

/** Peak and present memory of this process, MB; `fresh` sets the peak back. */
function memory(fresh = false) {
  if (fresh) writeFileSync('/proc/self/clear_refs', '5');
  const status = readFileSync('/proc/self/status', 'utf8');
  const field = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]) / 1024;
  return { peak: field('VmHWM'), now: field('VmRSS') };
}

/** One batch: inputs and labels, the same for both sides. */
function batchOf({ model, limit }) {
  const [{ dims }] = modelInputs(model);
  const data = noise(7, dims.reduce((a, b) => a * b, 1)); // prettier-ignore
  const x = limit ? BigInt64Array.from(data, (v) => BigInt(Math.floor(((v + 1) / 2) * limit))) : data;
  return { x: { type: limit ? 'int64' : 'float32', dims, data: x }, labels: Array.from({ length: dims[0] }, (_, i) => (i * 7) % 10) }; // prettier-ignore
}

async function prepare(net) {
  const { x, labels } = batchOf(net);
  const shapes = await inferShapes(net.model, {
    ids: [],
    feeds: { x },
    targets: [],
    size: x.dims[0],
    count: x.dims[0],
  });
  const start = performance.now();
  const graph = buildTraining(net.model, shapes, { trainable: net.trainable, loss: crossEntropy(), optimizer: sgd({ momentum }), batchNorm: 'train' }); // prettier-ignore
  return { graph, x, labels, built: performance.now() - start };
}

/** This process: loads a graph, then does as many steps as each line asks for. */
async function serve(folder) {
  const meta = JSON.parse(readFileSync(join(folder, 'ours.json'), 'utf8'));
  const values = new Float32Array(new Uint8Array(readFileSync(join(folder, 'state.bin'))).buffer);
  let at = 0;
  let state = Object.fromEntries(meta.state.map(({ name, dims }) => [name, { type: 'float32', dims, data: values.slice(at, (at += dims.reduce((a, b) => a * b, 1))) }])); // prettier-ignore
  const raw = new Uint8Array(readFileSync(join(folder, 'x.bin'))).buffer;
  const rows = meta.labels.length;
  const shares = new Float32Array(rows * 10);
  meta.labels.forEach((label, i) => (shares[i * 10 + label] = 1));
  const batch = {
    x: { ...meta.x, data: meta.x.type === 'int64' ? new BigInt64Array(raw) : new Float32Array(raw) },
    [sharesInput]: { type: 'float32', dims: [rows, 10], data: shares },
    [rowsInput]: { type: 'float32', dims: [rows, 1], data: new Float32Array(rows).fill(1) },
    [meta.lr]: { type: 'float32', dims: [], data: Float32Array.of(lr) },
  };
  const session = await openSession(join(folder, 'ours.onnx'), { threads: 1 });
  const before = memory(true).now;
  process.on('message', async (steps) => {
    const start = process.cpuUsage();
    let loss;
    for (let i = 0; i < steps; i++) {
      const results = await session.run({ ...batch, ...state });
      state = Object.fromEntries(meta.state.map(({ name, next }) => [name, results[next]]));
      loss = results[meta.loss].data[0];
    }
    const { user, system } = process.cpuUsage(start);
    process.send({ ms: (user + system) / 1000 / steps, loss, added: memory().peak - before });
  });
  process.on('disconnect', () => process.exit());
  process.send('ready');
}

function ourSide(folder) {
  const child = fork(fileURLToPath(import.meta.url), ['--child', folder]);
  const next = () => new Promise((done) => child.once('message', done)); // prettier-ignore
  const ready = next();
  return { ready, ask: (steps) => (child.send(steps), next()), close: () => child.disconnect() };
}

function torchSide(folder) {
  const env = { ...process.env, OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };
  const child = spawn(flags.python, [join(here, 'peers/python/train_step.py'), folder], { env, stdio: ['pipe', 'pipe', 'inherit'] }); // prettier-ignore
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value);
  return { ready: next(), ask: (steps) => (child.stdin.write(`${steps}\n`), next()), close: () => child.stdin.end() };
}

const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.round(q * (list.length - 1))];

async function measure(name, { make, target }) {
  const folder = mkdtempSync(join(tmpdir(), 'training-'));
  const net = make();
  const { graph, x, labels, built } = await prepare(net);
  const state = [...graph.state].map(([input, { next, dims }]) => ({ name: input, next, dims }));
  writeFileSync(join(folder, 'net.onnx'), encodeModel(net.model));
  writeFileSync(join(folder, 'ours.onnx'), encodeModel(graph.model));
  writeFileSync(join(folder, 'x.bin'), new Uint8Array(x.data.buffer));
  writeFileSync(join(folder, 'state.bin'), Buffer.concat([...graph.state.values()].map(({ first }) => Buffer.from(first.buffer, first.byteOffset, first.byteLength)))); // prettier-ignore
  const shared = { x: { type: x.type, dims: x.dims }, labels, lr, momentum, trainable: net.trainable };
  writeFileSync(join(folder, 'batch.json'), JSON.stringify(shared));
  writeFileSync(join(folder, 'ours.json'), JSON.stringify({ ...shared, state, lr: graph.scalars.get('lr'), loss: graph.reports.get('loss') })); // prettier-ignore
  const sides = flags.python ? [ourSide(folder), torchSide(folder)] : [ourSide(folder)];
  for (const side of sides) await side.ready;
  const first = [];
  for (const side of sides) first.push(await side.ask(1));
  // The peak of three steps in all.
  const warm = [];
  for (const side of sides) warm.push(await side.ask(2));
  const times = sides.map(() => []);
  for (let i = 0; i < Number(flags.rounds); i++)
    for (const [side, child] of sides.entries()) times[side].push((await child.ask(Number(flags.steps))).ms);
  for (const side of sides) side.close();
  if (flags.keep) console.error(folder);
  else rmSync(folder, { recursive: true });
  const [a, b] = times;
  const n1 = (v) => v.toFixed(1);
  const mine = `| ${name} | ${graph.model.graph.node.length} | ${n1(quantile(a, 0.5))} (${n1(Math.min(...a))})`;
  if (!b) return `${mine} | | | | | | ${n1(warm[0].added)} | | ${n1(built)} |`;
  const ratios = a.map((ms, i) => ms / b[i]);
  const q = (at) => quantile(ratios, at).toFixed(2);
  const agree =
    Math.abs(first[0].loss - first[1].loss) < 1e-4 ? '' : ` LOSSES DIFFER: ${first[0].loss}, ${first[1].loss}`;
  return `${mine} | ${n1(quantile(b, 0.5))} (${n1(Math.min(...b))}) | **${q(0.5)}** (${q(0.25)} to ${q(0.75)}) | ${(Math.min(...a) / Math.min(...b)).toFixed(2)} | ${target} | ${warm.map(({ added }) => n1(added)).join(' | ')} | ${n1(built)}${agree} |`; // prettier-ignore
}

async function main() {
  console.log(`load ${loadavg()[0].toFixed(1)} on ${cpus().length} processors (${cpus()[0].model}), one thread\n`);
  console.log('| net, batch | nodes | qtool ms, median (min) | PyTorch ms | ratio (quartiles) | min/min | target | added MB | PyTorch | graph made, ms |'); // prettier-ignore
  console.log('|---|---|---|---|---|---|---|---|---|---|');
  for (const [name, net] of Object.entries(nets)) if (name.includes(flags.only)) console.log(await measure(name, net));
  if (!largest.name.includes(flags.only)) return;
  const { graph, built } = await prepare(largest.make());
  const start = performance.now();
  const session = await openSession(graph.model, { threads: 1 });
  const loaded = performance.now() - start;
  await session.close();
  console.log(`\n${largest.name}: ${graph.model.graph.node.length} nodes, graph made in ${built.toFixed(0)} ms, session created in ${loaded.toFixed(0)} ms`); // prettier-ignore
}

await (flags.child ? serve(flags.child) : main());
