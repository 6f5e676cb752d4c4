// Every number format on real models: node bench/formats.mjs <name>=<model.onnx>,<data config>[,limit] … [--formats a b …]
// Measures the weights of all layers in each format (activation formats: what all layers read), and writes the table at the end of
// docs/formats.md and bench/results/formats.json; rows of other formats and models stay. Needs the build (npm run build).
import { readFileSync, writeFileSync } from 'node:fs';
import { formats } from '../dist/numerics/formats/index.js';
import { simulate } from '../dist/index.js';

const page = new URL('../docs/formats.md', import.meta.url);
const results = new URL('./results/formats.json', import.meta.url);
const mark = '<!-- measured: the table of formats × models is written below this line by a command -->';
const args = process.argv.slice(2);
const split = args.indexOf('--formats');
const asked = split < 0 ? formats.map(({ name }) => name) : args.slice(split + 1);
const models = (split < 0 ? args : args.slice(0, split)).map((text) => {
  const [, name, rest] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  const [model, data, limit] = (rest ?? '').split(',');
  if (!model || !data) throw new Error(`${text}: expected name=model.onnx,data.yaml[,limit]`);
  return { name, model, data, limit: limit === undefined ? undefined : Number(limit) };
});
const known = (() => {
  try {
    return JSON.parse(readFileSync(results, 'utf8'));
  } catch {
    return {};
  }
})();
for (const { name, model, data, limit } of models) {
  const began = Date.now();
  const say = (event) =>
    event.kind === 'phase' &&
    process.stderr.write(`${name}: ${event.text} (${Math.round((Date.now() - began) / 1000)} s)\n`);
  const report = await simulate({ model, data, limit, sweep: asked, onProgress: say });
  const rows = report.rows.map(({ weights, activations, bits, bytes, metrics }) => {
    const of = (wanted) => metrics.find((metric) => wanted.includes(metric.name))?.value;
    return {
      format: activations === 'float' ? weights : `${activations} (activations)`,
      bits,
      bytes,
      score: of(['top1', 'perplexity']),
      sqnr: of(['sqnr']),
    };
  });
  // A run over some formats adds to what was measured on the same samples.
  const samples = report.data.samples;
  const measured = new Set(rows.map(({ format }) => format));
  const before = known[name]?.samples === samples ? known[name].rows : [];
  known[name] = {
    samples,
    metric: report.rows[0].metrics[0].name,
    bytes: report.model.bytes,
    rows: inOrder([...before.filter(({ format }) => !measured.has(format)), ...rows]),
  };
  writeFileSync(results, `${JSON.stringify(known, undefined, 1)}\n`);
}
const names = Object.keys(known);
const rowsOf = [...new Set(inOrder(names.flatMap((name) => known[name].rows)).map(({ format }) => format))];
/** `float`, then as the list of formats has them. */
function inOrder(rows) {
  const order = formats.map(({ name }) => name);
  const place = ({ format }) => order.indexOf(/^[a-z0-9_]+/.exec(/^int\d/.test(format) ? 'int' : format)[0]);
  return rows.sort((a, b) => place(a) - place(b));
}
const number = (value, digits) =>
  value === undefined
    ? ''
    : value === null || value === Infinity
      ? '∞'
      : value > 9999
        ? value.toExponential(1)
        : value.toFixed(digits);
const cell = (name, format) => {
  const row = known[name].rows.find((one) => one.format === format);
  if (row === undefined) return '';
  return `${number(row.score, row.score > 20 ? 1 : 2)} / ${number(row.sqnr, 1)} / ${(row.bytes / 1000).toFixed(0)}`;
};
const heads = names.map((name) => `${name} (${known[name].metric}, ${known[name].samples} samples)`);
const table = [
  `| format | ${heads.join(' | ')} |`,
  `|---|${names.map(() => '---|').join('')}`,
  ...rowsOf.map((format) => `| \`${format}\` | ${names.map((name) => cell(name, format)).join(' | ')} |`),
].join('\n');
const text = readFileSync(page, 'utf8');
writeFileSync(page, `${text.slice(0, text.indexOf(mark) + mark.length)}\n\n${table}\n`);
