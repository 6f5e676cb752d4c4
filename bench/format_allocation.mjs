#!/usr/bin/env node
// An allocator over number formats beside one over widths, at equal bytes of the packed file; weights only.
//
//   npm run build && node bench/format_allocation.mjs <name>=<model.onnx>,<data config>[,limit] … [--budgets 2.5,3,4] [--rounding nearest,descent]
//     [--samples 128] [--widths int2,int3,…] [--formats ternary,nf4,…]
//
// Both sides are SensitivityAllocator, FormatQuantizer and WeightEncoder with the same options on the same calibration samples; the list of
// formats is that of the widths and more. The widths get the budget (mean bits a weight); the formats get the largest budget whose file, as
// written, has no more bytes. Writes bench/results/format_allocation.json and the table in docs/passes/allocate.md; rows of other nets stay.
import { readFileSync, writeFileSync } from 'node:fs';
import { modelBytes, readModel } from '../dist/graph/file.js';
import { openModelData, metricsFor } from '../dist/api/data.js';
import { passes } from '../dist/passes/index.js';
import { noStage, openInstruments } from '../dist/run/context.js';

const page = new URL('../docs/passes/allocate.md', import.meta.url);
const results = new URL('./results/format_allocation.json', import.meta.url);
const [mark, end] = ['<!-- measured: formats beside widths -->', '<!-- measured until here -->'];
const words = process.argv.slice(2);
const flag = (name, otherwise) => {
  const at = words.indexOf(`--${name}`);
  return at < 0 ? otherwise : words.splice(at, 2)[1];
};
const budgets = flag('budgets', '2.5,3,4').split(',').map(Number);
const roundings = flag('rounding', 'nearest').split(',');
const samples = Number(flag('samples', '128'));
const widths = flag('widths', 'int2 int3 int4 int5 int6 int7 int8').split(/[ ]+/);
const more = flag('formats', 'ternary codebook:bits=3 codebook codebook:bits=5 nf4 fp4_e2m1 apot mxfp4').split(/[ ]+/);
/** Budgets of the formats that are tried until their file is as large as that of the widths, but for 0.2 %. */
const tries = 5;

const find = (name) => passes.find((pass) => pass.classes.includes(name));
const known = (() => {
  try {
    return JSON.parse(readFileSync(results, 'utf8'));
  } catch {
    return [];
  }
})();

for (const text of words) {
  const [, net, rest = ''] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  const [path, config, limit] = rest.split(',');
  if (!path || !config) throw new Error(`${text}: expected name=model.onnx,data.yaml[,limit]`);
  const model = await readModel(path);
  const data = await openModelData(model, config, { limit: limit && Number(limit) });
  const tools = openInstruments({
    ...{ reference: model, data, metrics: await metricsFor(model, data), batchSize: 32, threads: 2 },
    ...{ signal: new AbortController().signal, progress: () => undefined },
  });
  const measured = async (candidate) => {
    const metrics = await tools.measure(candidate);
    const of = (name) => metrics.find((metric) => metric.name === name);
    const score = of('top1') ?? of('perplexity');
    return { metric: score.name, score: score.value, sqnr: of('sqnr').value };
  };
  const float = await measured(model);
  for (const rounding of roundings) {
    const memories = { widths: new Map(), formats: new Map() };
    const made = async (side, weights) => {
      const context = tools.context({ ...noStage(), memory: memories[side] });
      const apply = (name, on, options, more = {}) =>
        find(name).apply(on, find(name).options.parse(options), { ...context, ...more });
      const formats = side === 'widths' ? widths : [...widths, ...more];
      const { plan } = await apply('SensitivityAllocator', model, {
        ...{ quantizer: 'FormatQuantizer', formats, budget: { weights }, rounding, samples },
      });
      const held = await apply('FormatQuantizer', model, { rounding, samples }, { plan });
      const packed = await apply('WeightEncoder', held.model, {});
      const used = new Map();
      for (const { weights: one } of plan.values()) used.set(one.format.label, 1 + (used.get(one.format.label) ?? 0));
      return { model: held.model, weights, bytes: modelBytes(packed.model), used: Object.fromEntries(used) };
    };
    for (const budget of budgets) {
      const began = Date.now();
      const plain = await made('widths', budget);
      // The price of a layer is what it adds to the file, but for what decoders share: the budget is corrected by what came out.
      let best;
      for (let i = 0, at = budget; i < tries; i++) {
        const tried = await made('formats', at);
        if (tried.bytes <= plain.bytes && !(best?.bytes > tried.bytes)) best = tried;
        if (tried.bytes <= plain.bytes && tried.bytes > 0.998 * plain.bytes) break;
        at *= (0.9995 * plain.bytes) / tried.bytes;
      }
      const row = { net, rounding, budget, samples: data.validation.info.samples, float };
      for (const [side, one] of Object.entries({ widths: plain, formats: best })) {
        if (one === undefined) continue;
        const { bytes, used } = one;
        row[side] = { bytes, used, ...(await measured(one.model)) };
      }
      const place = known.findIndex((k) => k.net === net && k.rounding === rounding && k.budget === budget);
      if (place < 0) known.push(row);
      else known[place] = row;
      writeFileSync(results, `${JSON.stringify(known, undefined, 1)}\n`);
      console.log(`${line(row)} (${Math.round((Date.now() - began) / 1000)} s)`);
    }
  }
  await tools.close();
}

function line({ net, rounding, budget, float, widths: w, formats: f }) {
  const cell = (side) =>
    side
      ? `${side.bytes.toLocaleString('en-US')}: ${side.score.toFixed(side.score > 20 ? 1 : 2)}, ${side.sqnr.toFixed(1)} dB`
      : 'none as small';
  const won = f ? `${(f.sqnr - w.sqnr).toFixed(1)} dB` : '';
  return `| ${net} (${float.score.toFixed(1)}) | ${rounding} | ${budget} | ${cell(w)} | ${cell(f)} | ${won} |`;
}

const rows = known.map(line).join('\n');
const table = `| net (float) | rounding | mean bits | widths | formats | formats better by |\n|---|---|---|---|---|---|\n${rows}`;
const text = readFileSync(page, 'utf8');
if (text.includes(mark))
  writeFileSync(
    page,
    `${text.slice(0, text.indexOf(mark) + mark.length)}\n\n${table}\n\n${text.slice(text.indexOf(end))}`,
  );
