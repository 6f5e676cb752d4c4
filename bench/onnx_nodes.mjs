#!/usr/bin/env node
// ONNX's own node models (one operator each, with inputs and outputs) through qtool: every result must load, run, agree with itself
// at both ends of onnxruntime's optimization levels and be near the float model, or be refused in one clear line.
//
//   pip install --target /tmp/onnx onnx==1.18.0
//   npm run build && node bench/onnx_nodes.mjs /tmp/onnx/onnx/backend/test/data/node
//     [--filter <regular expression of folders>] [--schedules int8,int8-no-vnni,w4-weight-only,fp16,fold] [--limit <n>] [--skip <n>] [--all]
//
// Each model runs as it is, and with its inputs made constants: all but one (each in turn, three at most), then all. Prints a line for each
// combination that went wrong (--all: for each), then counts. Work is done in a child process, since onnxruntime can end the process.
import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as ort from 'onnxruntime-node';
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { encodeModel, modelOf } from '../dist/graph/model.js';
import { layerFacts } from '../dist/graph/names.js';
import { GraphCodec, ModelCodec } from '../dist/graph/proto.js';
import { describeValue, modelInputs } from '../dist/graph/query.js';
import { makeTensor } from '../dist/graph/tensor.js';
import { openMetrics } from '../dist/metrics/index.js';
import { passes } from '../dist/passes/index.js';
import { run } from '../dist/run/run.js';
import { bindSchedule } from '../dist/schedule/bind.js';
import { parseSchedule } from '../dist/schedule/parse.js';
import { QtoolError } from '../dist/util/error.js';

const folds = ['FoldConstants', 'FoldIdentity', 'FoldAffine', 'FoldBatchNorm'];
const foldText = `version: 1
extensions: { ${folds.map((name) => `${name}: { class: ${name} }`).join(', ')} }
policies:
${folds.map((name, i) => `  - { extension: { instance_name: ${name} }, epochs: [${i}] }`).join('\n')}
`;
/** Least SQNR of the result's outputs, dB: far below what the widths give, far above what a wrong scale or axis leaves. */
const floors = { int8: 18, 'int8-no-vnni': 14, 'w4-weight-only': 8, fp16: 40, fold: 80 };
/** Results of different optimization levels may differ so much, dB, where both are below `high`. */
const [levelsDiffer, high] = [3, 60];
/** Words of onnxruntime or of the graph editor about a graph that qtool made: no refusal, a fault. */
const inner = /fetches|produced twice|do not fill|Duplicate definition|not a float tensor|no such|is not valid ONNX|refuses the model|cannot collect|failed while running/i; // prettier-ignore

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    filter: { type: 'string', default: '' },
    schedules: { type: 'string', default: Object.keys(floors).join(',') },
    limit: { type: 'string', default: '100000' },
    skip: { type: 'string', default: '0' },
    all: { type: 'boolean', default: false },
    child: { type: 'boolean', default: false },
  },
});
const [root] = positionals;
if (root === undefined || !existsSync(root)) {
  console.error(
    'usage: node bench/onnx_nodes.mjs <onnx/backend/test/data/node> [--filter x] [--schedules a,b] [--limit n]',
  );
  process.exit(2);
}
const schedules = values.schedules.split(',');
if (values.child) await child();
else await parent();

async function parent() {
  const wanted = new RegExp(values.filter);
  const from = Number(values.skip);
  const folders = readdirSync(root).filter((name) => wanted.test(name)).sort().slice(from, from + Number(values.limit)); // prettier-ignore
  const counts = new Map();
  const told = (result) => {
    const { folder, variant, schedule, verdict, text } = result;
    const of = counts.get(schedule) ?? new Map();
    counts.set(schedule, of.set(verdict, (of.get(verdict) ?? 0) + 1));
    const fine = ['ok', 'nothing', 'random', 'onnxruntime refuses', 'no tensors'].includes(verdict);
    if (values.all || !fine) console.log(`${verdict}: ${folder} ${variant} ${schedule}: ${text ?? ''}`);
  };
  let todo = folders;
  while (todo.length > 0) todo = await inChild(todo, told);
  console.log('');
  for (const [schedule, of] of counts)
    console.log(`${schedule}: ${[...of].sort().map(([verdict, n]) => `${n} ${verdict}`).join(', ')}`); // prettier-ignore
}

/** Runs folders in a process of their own until it ends; returns those that are left. */
function inChild(folders, told) {
  return new Promise((resolve) => {
    const worker = fork(process.argv[1], [...process.argv.slice(2), '--child'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }); // prettier-ignore
    let at = -1;
    let doing;
    let timer;
    const late = () => worker.kill('SIGKILL');
    worker.on('message', (message) => {
      clearTimeout(timer);
      timer = setTimeout(late, 120_000);
      if (message.start !== undefined) [at, doing] = [message.start, undefined];
      else if (message.doing !== undefined) doing = message.doing;
      else told(message);
    });
    worker.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve([]);
      told({ folder: folders[at], variant: '', schedule: '', ...doing, verdict: 'crash', text: `the process ended: ${signal ?? code}` }); // prettier-ignore
      resolve(folders.slice(at + 1));
    });
    worker.send(folders);
  });
}

async function child() {
  const folders = await new Promise((resolve) => process.once('message', resolve));
  const out = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'nodes-'));
  try {
    for (const [i, folder] of folders.entries()) {
      process.send({ start: i });
      await oneFolder(folder, out);
    }
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
  process.exit(0);
}

async function oneFolder(folder, out) {
  const say = (verdict, variant, schedule, text) => process.send({ folder, variant, schedule, verdict, text });
  const everywhere = (verdict, text) => schedules.forEach((schedule) => say(verdict, 'as it is', schedule, text));
  let model;
  let data;
  try {
    model = await readModel(join(root, folder, 'model.onnx'));
    data = await openData(join(root, folder), modelInputs(model), { part: 'validation', outputs: model.graph.output.map(({ name }) => name) }); // prettier-ignore
  } catch (error) {
    return everywhere(...verdictOf(error));
  }
  const { value: sample } = await data.validation.samples(1)[Symbol.asyncIterator]().next();
  for (const { variant, changed, feeds } of variants(model, sample.feeds)) {
    let float;
    try {
      float = await bare(encodeModel(changed), feeds, 'disabled');
      const again = await bare(encodeModel(changed), feeds, 'all');
      if (Object.values(float).some((value) => value === null)) throw new Error('not tensors');
      if (!(worst(float, again).db > 30)) throw new Error('levels of the float model');
    } catch (error) {
      const verdict = /not tensors/.test(error.message) ? 'no tensors' : /levels/.test(error.message) ? 'random' : 'onnxruntime refuses'; // prettier-ignore
      for (const schedule of schedules) say(verdict, variant, schedule, error.message.slice(0, 100));
      continue;
    }
    for (const schedule of schedules) {
      process.send({ doing: { folder, variant, schedule } });
      say(...(await judged(changed, feeds, data, float, schedule, out).then(([verdict, text]) => [verdict, variant, schedule, text]))); // prettier-ignore
    }
  }
}

/** The model as it is, and with constants in place of inputs. */
function* variants(model, feeds) {
  yield { variant: 'as it is', changed: model, feeds };
  const names = modelInputs(model).map(({ name }) => name);
  const kept = names.length > 1 ? names.slice(0, 3).map((name) => [name]) : [];
  for (const keep of [...kept, []]) {
    const fixed = names.filter((name) => !keep.includes(name) && feeds[name] !== undefined);
    const tensors = fixed.map((name) => makeTensor(name, feeds[name].type, feeds[name].dims, feeds[name].data));
    const { graph } = model;
    const changed = modelOf(
      ModelCodec.create({
        ...model.proto,
        graph: GraphCodec.create({
          ...graph,
          input: graph.input.filter(({ name }) => !fixed.includes(name)),
          initializer: [...graph.initializer, ...tensors],
        }),
      }),
    );
    const left = Object.fromEntries(Object.entries(feeds).filter(([name]) => !fixed.includes(name)));
    yield { variant: keep.length === 0 ? 'all constant' : `only ${keep[0]} fed`, changed, feeds: left };
  }
}

async function judged(model, feeds, given, float, name, out) {
  const set = { info: given.validation.info, async *samples() { yield { id: 'test', feeds }; } }; // prettier-ignore
  const data = { ...given, calibration: set, validation: set };
  const text = name === 'fold' ? foldText : readFileSync(new URL(`../schedules/${name}.yaml`, import.meta.url), 'utf8');
  try {
    const metrics = await openMetrics(data, model.graph.output.map(describeValue));
    const schedule = bindSchedule(parseSchedule(text, `${name}.yaml`, { passes }), {
      layers: layerFacts(model),
      metrics: metrics.map((metric) => metric.name),
    });
    const report = await run({
      model, schedule, scheduleText: text, data, metrics, outDir: out, force: true, measure: true, latency: false, cache: false,
      batchSize: 32, threads: 1, signal: new AbortController().signal, log: () => undefined,
    }); // prettier-ignore
    const failed = report.stages.find((stage) => stage.verdict !== 'kept');
    if (failed) return ['undone', failed.why];
    const bytes = readFileSync(join(out, 'model.onnx'));
    const off = worst(float, await bare(bytes, feeds, 'disabled'));
    const on = worst(float, await bare(bytes, feeds, 'all'));
    const words = `${off.text}, optimized ${on.text}`;
    if (Math.abs(Math.min(off.db, high) - Math.min(on.db, high)) > levelsDiffer) return ['levels differ', words];
    if (!(on.db >= floors[name])) return ['wrong', words];
    return [report.stages.every((stage) => stage.changed.length === 0) ? 'nothing' : 'ok', words];
  } catch (error) {
    return verdictOf(error);
  }
}

function verdictOf(error) {
  const text = `${error.at ?? ''} ${error.message}`.trim();
  if (!(error instanceof QtoolError)) return ['crash', (error.stack ?? text).split('\n').slice(0, 3).join(' | ')];
  if (/is not a tensor|no tensor output|tensor holds \d+ elements, its shape|optional.*has no input_0/.test(text))
    return ['no tensors', text];
  return [inner.test(text) || text.includes('\n') ? 'inner fault' : 'refused', text];
}

/** Outputs of a bare session; null for what is no tensor. */
async function bare(bytes, feeds, level) {
  const session = await ort.InferenceSession.create(bytes, { graphOptimizationLevel: level, logSeverityLevel: 4, intraOpNumThreads: 1 }); // prettier-ignore
  try {
    const values = [...session.inputMetadata, ...session.outputMetadata];
    if (values.some(({ isTensor }) => !isTensor)) throw new Error('not tensors');
    if (values.some(({ type }) => /int4$/.test(type))) throw new Error('4 bits end the process');
    const given = Object.fromEntries(Object.entries(feeds).map(([name, { type, dims, data }]) => [name, new ort.Tensor(type, data, dims)])); // prettier-ignore
    return await session.run(given);
  } finally {
    await session.release();
  }
}

/** SQNR of the worst output in dB; −Infinity where shapes, types, or values that are no numbers differ. */
function worst(wanted, got) {
  let least = { db: Infinity, text: 'equal' };
  for (const [name, { type, dims, data }] of Object.entries(wanted)) {
    const found = compared({ type, dims, data }, got[name]);
    if (found.db < least.db || Number.isNaN(found.db)) least = { db: found.db, text: `${name} ${found.text}` };
  }
  return least;
}

function compared(wanted, got) {
  if (got === undefined || got.dims.join() !== wanted.dims.join() || got.type !== wanted.type)
    return { db: -Infinity, text: `${got?.type}[${got?.dims}] in place of ${wanted.type}[${wanted.dims}]` };
  const [x, y] = [wanted, got].map(({ type, data }) => (type === 'string' ? data : Array.from(data, (v) => (type === 'float16' ? half(v) : Number(v))))); // prettier-ignore
  if (!wanted.type.startsWith('float')) {
    const differ = x.filter((value, i) => value !== y[i]).length;
    return { db: differ === 0 ? Infinity : -Infinity, text: `${differ} of ${x.length} ${wanted.type} differ` };
  }
  let [signal, noise] = [0, 0];
  for (const [i, value] of x.entries()) {
    if (!Number.isFinite(value)) {
      if (!Object.is(value, y[i])) return { db: -Infinity, text: `${value} became ${y[i]}` };
      continue;
    }
    signal += value ** 2;
    noise += (value - y[i]) ** 2;
  }
  const db = noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
  return { db, text: `${db.toFixed(1)} dB` };
}

/** A float16 as a number; onnxruntime-node gives its bits up to Node 23. */
function half(bits) {
  if (!Number.isInteger(bits)) return bits;
  const exponent = (bits >> 10) & 31;
  const part = bits & 1023;
  const size = exponent === 31 ? (part === 0 ? Infinity : NaN) : exponent === 0 ? part * 2 ** -24 : (1 + part / 1024) * 2 ** (exponent - 15); // prettier-ignore
  return bits & 0x8000 ? -size : size;
}
