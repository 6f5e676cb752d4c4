/**
 * Runs the same quantization through qtool and through its Python peers, alternating, and writes what each cost and gave.
 *
 *   node bench/peers/run.mjs --data <folder with models/ and data/> [--only resnet20,resnet56] [--samples 512]
 *
 * See README.md in this folder for what is measured and how. Results: <out>/peers-<model>.json and docs/benchmarks.md.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MODELS, keyOf, settingsOf } from './cases.mjs';
import { availableMemory, gigabytes, machine, measure } from './measure.mjs';
import { samplesOf } from './samples.mjs';
import { writeTable } from './table.mjs';
import { TOOLS, filesOf, pythonIn, writtenModel } from './tools.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, '../..');

const options = readOptions();
/** The Python that judges every tool's models. */
const EVALUATOR = pythonIn(resolve(options.venvs, 'onnxruntime'));
if (options.table) {
  console.log(`wrote ${writeTable(options.out, options.doc)}`);
} else {
  const ready = prepareTools();
  for (const name of options.only) {
    if (options.steps.includes('run')) await compare(name, ready);
    if (options.steps.includes('judge')) await judge(name);
  }
  console.log(`wrote ${writeTable(options.out, options.doc)}`);
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      only: { type: 'string', default: 'resnet20,resnet56,mobilenet,g2p' },
      samples: { type: 'string' },
      methods: { type: 'string' },
      tools: { type: 'string', default: Object.keys(TOOLS).join(',') },
      steps: { type: 'string', default: 'run,judge' },
      labels: { type: 'string' },
      repetitions: { type: 'string', default: '3' },
      out: { type: 'string', default: join(ROOT, 'bench/results') },
      doc: { type: 'string', default: join(ROOT, 'docs/benchmarks.md') },
      work: { type: 'string', default: join(ROOT, 'bench/runs') },
      unpacked: { type: 'string' },
      venvs: { type: 'string', default: join(ROOT, 'bench/.venv') },
      fresh: { type: 'boolean', default: false },
      'memory-limit': { type: 'string' },
      table: { type: 'boolean', default: false },
    },
  });
  const list = (text) => text?.split(',').map((part) => part.trim());
  const only = list(values.only);
  const tools = list(values.tools);
  const unknown = [...only.filter((name) => !MODELS[name]), ...tools.filter((name) => !TOOLS[name])];
  if (unknown.length) fail(`unknown: ${unknown.join(', ')} (models: ${Object.keys(MODELS).join(', ')})`);
  if (!values.data && !values.table) fail('--data <folder with models/ and data/> is missing');
  return {
    ...values,
    only,
    tools,
    samples: list(values.samples)?.map(Number),
    methods: list(values.methods),
    steps: list(values.steps),
    repetitions: Number(values.repetitions),
    unpacked: resolve(values.unpacked ?? join(values.work, 'data')),
    work: resolve(values.work),
    memoryLimit: values['memory-limit'] ? Number(values['memory-limit']) * 2 ** 30 : availableMemory() * 0.7,
  };
}

function fail(message) {
  console.error(message);
  process.exit(2);
}

/** Installs what is asked for; a tool that does not install is left out, and the results say so. */
function prepareTools() {
  const ready = {};
  // The evaluator lives in onnxruntime's environment, whoever is measured.
  if (options.fresh) rmSync(options.venvs, { recursive: true, force: true });
  const judge = TOOLS.onnxruntime.prepare({ venvs: options.venvs, name: 'onnxruntime' });
  if (judge.failure) fail(`the evaluator ${judge.failure}`);
  for (const name of options.tools) {
    process.stderr.write(`preparing ${name} … `);
    ready[name] = TOOLS[name].prepare({ venvs: options.venvs, name });
    const { failure, versions } = ready[name];
    console.error(
      failure ??
        Object.entries(versions)
          .map((pair) => pair.join(' '))
          .join(', '),
    );
  }
  return ready;
}

async function compare(name, ready) {
  const samples = samplesOf(name, { ...options, python: EVALUATOR });
  const model = resolve(options.data, 'models', MODELS[name].file);
  const rows = [];
  for (const setting of settingsOf(name, options)) {
    const able = options.tools.filter((tool) => TOOLS[tool].takes(setting));
    rows.push(...(await runGroup(name, model, setting, samples, able, ready)));
  }
  save(name, rows, ready);
}

/** One setting through every tool that has it: in each repetition every tool once, starting with another one each time. */
async function runGroup(name, model, setting, samples, tools, ready) {
  const rows = tools.map((tool) => ({
    tool,
    setting: keyOf(setting),
    ...setting,
    seconds: [],
    cpuSeconds: [],
    peakBytes: [],
  }));
  for (const row of rows) {
    delete row.others;
    if (ready[row.tool].failure) row.failure = ready[row.tool].failure;
  }
  for (let repetition = 0; repetition < options.repetitions; repetition++) {
    for (let step = 0; step < rows.length; step++) {
      const row = rows[(step + repetition) % rows.length];
      if (!row.failure) await runOnce(name, model, setting, samples, row);
    }
  }
  return rows;
}

async function runOnce(name, model, setting, samples, row) {
  const work = join(options.work, 'peers', name, row.setting, row.tool);
  rmSync(work, { recursive: true, force: true });
  const output = join(work, 'out');
  mkdirSync(output, { recursive: true });
  const { calibration, validation } = samples;
  const context = {
    model,
    setting,
    samples: calibration(setting.samples),
    validation,
    work,
    output,
    venvs: options.venvs,
    name: row.tool,
  };
  const log = join(work, 'log');
  const limits = { log, cwd: work, memoryLimit: options.memoryLimit, timeLimit: 30 * 60 * 1000 };
  try {
    const { command, args } = TOOLS[row.tool].command(context);
    const { seconds, cpuSeconds, peakBytes, failure } = await measure(command, args, limits);
    row.seconds.push(seconds);
    row.peakBytes.push(peakBytes);
    if (cpuSeconds !== undefined) row.cpuSeconds.push(cpuSeconds);
    if (failure) row.failure = withoutPaths(failure);
  } catch (error) {
    row.failure = withoutPaths(error.message);
  }
  const file = row.failure ? undefined : writtenModel(output);
  if (file) {
    row.bytes = bytesOf(file);
    row.sha256 = hashOf(file);
  } else if (TOOLS[row.tool].writes !== false) row.failure ??= 'wrote no model';
  const said =
    row.failure ?? `${row.seconds.at(-1).toFixed(1)} s, ${gigabytes(row.peakBytes.at(-1))}, ${row.bytes ?? 'no'} bytes`;
  console.error(`${name} ${row.setting} ${row.tool}: ${said}`);
}

function bytesOf(file) {
  return filesOf(file).reduce((sum, part) => sum + statSync(part).size, 0);
}

function hashOf(file) {
  const hash = createHash('sha256');
  for (const part of filesOf(file)) hash.update(readFileSync(part));
  return hash.digest('hex');
}

/**
 * Accuracy (one evaluator for all) and latency of every different model that rows of the results stand for and that still
 * lies in the working folder; neither is part of anyone's time. Rows whose model is gone keep what they have.
 */
async function judge(name) {
  const path = resultsOf(name);
  const result = JSON.parse(readFileSync(path, 'utf8'));
  const model = resolve(options.data, 'models', MODELS[name].file);
  const work = join(options.work, 'peers', name);
  const files = new Map();
  const present = result.rows.filter((row) => row.sha256 && !row.failure && hasModel(work, row, files));
  const order = [...files.keys()];
  const placeOf = (row) => 1 + order.indexOf(row.sha256);
  const models = [model, ...files.values()];
  const { validation } = samplesOf(name, { ...options, python: EVALUATOR });
  const samples = options.labels ? firstOf(validation, Number(options.labels)) : validation;
  const peers = present.filter((row) => row.tool.startsWith('onnxruntime'));
  const request = { models, samples, batch: 100, best_of: [...new Set(peers.map(placeOf))] };
  const speed = { models, inputs: MODELS[name].latency, batches: [1, 32], seconds: 10 };
  const accuracy = await child(EVALUATOR, join(HERE, 'python/evaluate.py'), request, work);
  const latency = await child(process.execPath, join(HERE, 'latency.mjs'), speed, work);
  const float = { tool: 'float', bytes: bytesOf(model), measured: today() };
  for (const [row, at] of [[float, 0], ...present.map((row) => [row, placeOf(row)])]) {
    const { failure, ...quality } = accuracy.models[at];
    const { failure: noSession, ...times } = latency[at];
    Object.assign(row, quality, { latency: times });
    if (failure ?? noSession) row.failure = withoutPaths(failure ?? noSession);
  }
  const best = peers.find((row) => placeOf(row) === accuracy.best);
  result.rows = [float, ...result.rows.filter((row) => row.tool !== 'float')];
  result.evaluator = { samples: accuracy.counted, onnxruntime: accuracy.onnxruntime };
  if (best) result.best = { tool: best.tool, setting: best.setting };
  write(path, result);
}

/** The first labelled images, which are shuffled; an archive of arrays is judged whole. */
function firstOf(samples, count) {
  if (samples.kind !== 'images') return samples;
  return { ...samples, files: samples.files.slice(0, count), labels: samples.labels.slice(0, count) };
}

/** Whether the row's model is there, as it was written; notes it under its hash. */
function hasModel(work, row, files) {
  const file = writtenModel(join(work, row.setting, row.tool, 'out'));
  if (!file || hashOf(file) !== row.sha256) return false;
  files.set(row.sha256, file);
  return true;
}

async function child(command, script, request, work) {
  const file = join(work, 'request.json');
  const output = join(work, 'answer.json');
  rmSync(output, { force: true });
  writeFileSync(file, JSON.stringify({ ...request, output }));
  const log = join(work, 'judge.log');
  const { failure } = await measure(command, [script, file], { log, memoryLimit: Infinity, timeLimit: 60 * 60 * 1000 });
  if (failure) throw new Error(`${script}: ${failure}`);
  return JSON.parse(readFileSync(output, 'utf8'));
}

/** Rows that this call did not measure again are kept. */
function save(name, rows, ready) {
  mkdirSync(options.out, { recursive: true });
  const path = resultsOf(name);
  const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : { rows: [], versions: {} };
  const same = (a, b) => a.tool === b.tool && a.setting === b.setting;
  const fresh = rows.map((row) => ({ ...row, measured: today() }));
  const kept = before.rows.filter((row) => !fresh.some((other) => same(row, other)));
  const versions = Object.fromEntries(options.tools.map((tool) => [tool, ready[tool].versions ?? ready[tool].failure]));
  write(path, {
    ...before,
    model: MODELS[name].file,
    machine: { ...machine(), load: Number(loadavg()[1].toFixed(1)) },
    versions: { ...before.versions, ...versions },
    rows: [...kept, ...fresh],
  });
}

function today() {
  return new Date().toISOString().slice(0, 10);
}

function resultsOf(name) {
  return join(options.out, `peers-${name}.json`);
}

function write(path, result) {
  writeFileSync(path, JSON.stringify(result, null, 1) + '\n');
}

/** Results are published: messages keep file names and lose the folders of this machine. */
function withoutPaths(text) {
  return String(text).replaceAll(/(?:\/[\w.+~-]+)+\/([\w.+-]+)/g, '$1');
}
