#!/usr/bin/env node
// Every model that it is given with every schedule that ships: a result, or one clear line. Writes docs/compatibility.md.
//
//   npm run build && ORT_DISABLE_TELEMETRY=1 node bench/compatibility.mjs <models or folders …>
//     [--data <model file>=<data config> …] [--schedules int8,fp16] [--filter <regular expression of "model schedule">]
//     [--samples 16] [--seconds 120 (of processor time)] [--jobs 1] [--again <verdicts, or all>]
//
// Each pair is one `qtool quantize` of its own on a few samples. Data: of --data; else of bench/compatibility.yaml; else random. What was done before stands in
// bench/results/compatibility.json and is not done again but with --again (such as crash,wrong). Without models only the page is written.
// Small models and cheap schedules come first, so that a run that is cut off has filled most of the table.
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { parse, stringify } from 'yaml';
import { page } from './compatibility_page.mjs';

const root = resolve(import.meta.dirname, '..');
const results = join(root, 'bench/results/compatibility.json');
/** Schedules by what they cost, the cheapest first; one that is not named here comes last. */
const order = 'fp16 int8-fast w4-weight-only int8 int8-no-vnni nf4 mxfp4 minifloat8 shift log2 ternary binary int8-transformer w4a8 deep-compression sqnr-mixed int8-accurate inq-like smallest'.split(' '); // prettier-ignore
/** Least SQNR of the outputs, dB, that the width of a schedule promises on any input; below it a scale or an axis is wrong. The others promise none. */
const floors = { fp16: 20, ...Object.fromEntries(['int8', 'int8-fast', 'int8-no-vnni', 'int8-accurate', 'int8-transformer', 'minifloat8'].map((name) => [name, 5])) }; // prettier-ignore
/** A run that waits may take so many times its limit by the clock: the limit is of processor seconds, which other work on the machine does not change. */
const waits = 10;
/** A file of this share of the float one counts as nothing done. */
const nothing = 0.99;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string', multiple: true, default: [] },
    schedules: { type: 'string' },
    filter: { type: 'string', default: '' },
    samples: { type: 'string', default: '16' },
    seconds: { type: 'string', default: '120' },
    jobs: { type: 'string', default: '1' },
    again: { type: 'string', default: '' },
  },
});
const shipped = readdirSync(join(root, 'schedules'))
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => basename(name, '.yaml'))
  .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
const schedules = values.schedules?.split(',') ?? shipped;
const given = new Map(values.data.map((text) => text.split('=')));
const recipes = parse(readFileSync(join(root, 'bench/compatibility.yaml'), 'utf8'));
const rows = existsSync(results) ? JSON.parse(readFileSync(results, 'utf8')) : {};
const again = new RegExp(values.again === 'all' ? '' : `^(${values.again.replaceAll(',', '|') || 'none'})$`);
const scratch = mkdtempSync(join(tmpdir(), 'qtool-compatibility-'));

try {
  const todo = pairs(positionals.flatMap(modelsOf));
  await Promise.all(Array.from({ length: Number(values.jobs) }, () => worker(todo)));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
save();

function rank(schedule) {
  const index = order.indexOf(schedule);
  return index < 0 ? order.length : index;
}

function modelsOf(path) {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).filter((name) => name.endsWith('.onnx')).map((name) => join(path, name)); // prettier-ignore
}

/** What is to be done, in order: place of the model by size and of the schedule by cost, added. */
function pairs(models) {
  const bySize = models.toSorted((a, b) => statSync(a).size - statSync(b).size);
  for (const model of bySize) rows[basename(model)] ??= { bytes: statSync(model).size, runs: {} };
  const wanted = new RegExp(values.filter);
  return bySize
    .flatMap((model, i) => schedules.map((schedule) => ({ model, schedule, place: i + rank(schedule) })))
    .filter(({ model, schedule }) => wanted.test(`${basename(model)} ${schedule}`))
    .filter(({ model, schedule }) => {
      const before = rows[basename(model)].runs[schedule];
      return before === undefined || again.test(before.verdict);
    })
    .sort((a, b) => a.place - b.place);
}

async function worker(todo) {
  for (let next = todo.shift(); next !== undefined; next = todo.shift()) {
    const { model, schedule } = next;
    const row = await quantize(model, schedule);
    rows[basename(model)].runs[schedule] = row;
    save();
    console.log(`${row.verdict}: ${basename(model)} ${schedule} ${row.seconds} s ${row.says}`);
  }
}

function save() {
  mkdirSync(dirname(results), { recursive: true });
  writeFileSync(results, `${JSON.stringify(rows, undefined, 1)}\n`);
  writeFileSync(join(root, 'docs/compatibility.md'), page(rows, shipped));
}

/** The data config of a model, and how the page calls it. */
function dataOf(name) {
  const config = given.get(name);
  if (config !== undefined) return { config, data: 'samples' };
  if (recipes[name] === undefined) return { config: 'random', data: 'random' };
  const file = join(scratch, `${name}.yaml`);
  writeFileSync(file, stringify({ version: 1, ...recipes[name] }));
  return { config: file, data: 'random' };
}

/** One run of the command: its row. */
async function quantize(model, schedule) {
  const name = basename(model);
  const { config, data } = dataOf(name);
  const out = join(scratch, `${name}-${schedule}`);
  const began = Date.now();
  const { code, signal, errors, late } = await command([
    'quantize', model, '--schedule', schedule, '--data', config, '-o', out, '--no-latency', '--threads', '1',
    '--limit', values.samples, '--samples', values.samples, '--quiet', '--json', '--no-cache', '--allow-modules',
  ]); // prettier-ignore
  const seconds = Math.round((Date.now() - began) / 1000);
  const clean = (text) => withoutPaths(text, [out, scratch, dirname(model), dirname(config), root]);
  const lines = errors.split('\n').filter((line) => line.trim() !== '').map(clean); // prettier-ignore
  const file = join(out, 'report.json');
  const report = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  rmSync(out, { recursive: true, force: true });
  const base = { exit: code ?? signal, seconds, data, samples: Number(values.samples) };
  if (late) return { ...base, verdict: 'time-out', says: `not done after ${values.seconds} s of processor time` };
  if (lines.some((line) => /^\s+at .*:\d+|a bug in qtool/i.test(line)) || code === null || code === 70 || code > 128)
    return { ...base, verdict: 'crash', says: lines.join(' ').slice(0, 600) };
  if (code !== 0)
    return { ...base, verdict: clear(lines) ? 'refused' : 'unclear', says: lines.join(' ').replaceAll(/\s+/g, ' ') };
  return { ...base, ...judged(schedule, report, clean) };
}

function command(args) {
  return new Promise((done) => {
    const limited = [
      '-c',
      'ulimit -t "$0"; exec "$@"',
      values.seconds,
      process.execPath,
      join(root, 'bin/qtool'),
      ...args,
    ];
    const child = spawn('sh', limited, { stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (text) => (errors += text));
    const timer = setTimeout(() => child.kill('SIGALRM'), waits * Number(values.seconds) * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      done({ code, signal, errors, late: ['SIGXCPU', 'SIGALRM', 'SIGKILL'].includes(signal) });
    });
  });
}

/** What went wrong in one line, and perhaps a hint. */
function clear(lines) {
  return lines.filter((line) => !/^\s+hint:/.test(line)).length === 1;
}

/** Folders of the machine that it ran on are nobody's business. */
function withoutPaths(text, folders) {
  const known = [...folders, homedir()].filter((folder) => folder.length > 1);
  return known.reduce((rest, folder) => rest.replaceAll(`${folder}/`, ''), text);
}

/** What a report says of a run that ended well. */
function judged(schedule, report, clean) {
  const { result, baseline, layers } = report;
  const own = layers.filter((layer) => layer.parameters !== undefined);
  const integer = own.filter((layer) => layer.kernel === 'integer').length;
  const stored = own.filter(
    (layer) => layer.kernel !== 'integer' && layer.bits !== undefined && layer.bits < 32,
  ).length;
  const metric = result.measurement.metrics[0];
  const [before, after] = [baseline.bytes, result.measurement.bytes];
  const levels = result.levels === undefined ? undefined : [Number(result.levels.disabled), Number(result.levels.all)];
  const lowest = Math.min(...(levels ?? []), metric.name === 'sqnr' ? Number(metric.value) : Infinity);
  const row = {
    bytes: after,
    share: after / before,
    levels: levels?.map(String),
    metric: {
      name: metric.name,
      value: String(metric.value),
      before: String(baseline.metrics[0].value),
      unit: metric.unit,
    },
    layers: { integer, stored, all: own.length },
  };
  const said = [...report.warnings, ...report.notes].map(clean);
  const stages = report.stages.filter((stage) => stage.verdict !== 'kept').map((stage) => `${stage.instance}: ${stage.verdict}, ${clean(stage.why)}`); // prettier-ignore
  const says = [...stages, ...report.warnings.map(clean).slice(0, 1)].join('; ');
  if (!(lowest >= (floors[schedule] ?? -Infinity))) return { ...row, verdict: 'wrong', says };
  if (after < nothing * before) return { ...row, verdict: 'result', says };
  const skipped = report.stages
    .flatMap((stage) => [...stage.skipped.map(({ layer, text }) => `${layer}: ${text}`), ...stage.notes])
    .map(clean);
  const why = [...stages, ...said, ...skipped];
  return { ...row, verdict: why.length === 0 ? 'silent' : 'nothing', says: why.slice(0, 2).join('; ') };
}
