// docs/compatibility.md of what bench/compatibility.mjs found.

/** Verdicts that are faults of qtool, what they mean. */
const faults = {
  crash: 'exit 70, a stack trace, or the end of the process',
  unclear: 'an error in more than one line',
  'time-out': 'not done within the time limit',
  wrong: "SQNR below what the schedule's width promises (8 bits: 5 dB, 16 bits: 20 dB)",
  silent: 'the file stayed as large as it was, and no sentence says why',
};
const others = {
  result: 'a smaller model',
  nothing: 'the file stayed as large as it was; the report says why',
  refused: 'one clear line instead: exit 2, or 1 where a gate of the schedule did not hold',
};

/** The page: counts, what is flagged, a table a model. */
export function page(rows, schedules) {
  const models = Object.entries(rows).sort((a, b) => a[1].bytes - b[1].bytes);
  const all = models.flatMap(([model, { runs }]) =>
    schedules.map((schedule) => ({ model, schedule, run: runs[schedule] })),
  );
  const count = (verdict) => all.filter(({ run }) => (run?.verdict ?? 'not run') === verdict).length;
  const flagged = all.filter(({ run }) => run !== undefined && run.verdict in faults);
  const samples = [...new Set(all.flatMap(({ run }) => run?.samples ?? []))].sort((a, b) => a - b);
  const line = ([verdict, meaning]) => `| ${verdict} | ${count(verdict)} | ${meaning} |`;
  return `# Models and schedules

Every model that was tried with every schedule that ships. \`node bench/compatibility.mjs\` makes this page ([how](../bench/README.md)): each row is one
\`qtool quantize <model> --schedule <name> --no-latency --threads 1\` on ${samples.join(' or ')} samples (\`--limit\`, \`--samples\`). So few, mostly random
ones, show what runs and what is refused, and no accuracy.

| of ${all.length} | count | what it means |
|---|---|---|
${[...Object.entries(others), ...Object.entries(faults)].map(line).join('\n')}
| not run | ${count('not run')} | |

${flagged.length === 0 ? 'Nothing is flagged.' : `Flagged:\n\n${flagged.map(({ model, schedule, run }) => `- **${run.verdict}**: ${model}, ${schedule}: ${run.says || levelsText(run)}`).join('\n')}`}

In the tables: *size*, of the file before. *SQNR* of the outputs against the float model's, onnxruntime's graph optimizations off / on: the first is what the file says, the second what
fused kernels make of it, and much less where products of 8 bits saturate on a processor without VNNI ([targets](targets.md)). *Layers*: with integer kernels + stored small and computed in float, of all with weights.

${models.map(([model, entry]) => table(model, entry, schedules)).join('\n')}`;
}

function table(model, { bytes, runs }, schedules) {
  const data = Object.values(runs)[0]?.data ?? 'random';
  const lines = schedules.map((schedule) => `| \`${schedule}\` | ${cells(runs[schedule]).map(cell).join(' | ')} |`);
  return `## ${model}

${bytes.toLocaleString('en')} bytes; ${data === 'random' ? 'random input' : 'samples of its own kind'}.

| schedule | exit | size | SQNR dB, off / on | metric | layers | |
|---|---|---|---|---|---|---|
${lines.join('\n')}
`;
}

function cells(run) {
  if (run === undefined) return ['', '', '', '', '', 'not run'];
  const flag = run.verdict in faults ? `**${run.verdict}** ` : '';
  if (run.bytes === undefined) return [run.exit, '', '', '', '', flag + run.says];
  const { metric, layers } = run;
  const judged = metric.name === 'sqnr' ? '' : `${metric.name} ${short(metric.value)} of ${short(metric.before)}`;
  return [
    run.exit,
    `${(100 * run.share).toFixed(1)} %`,
    levelsText(run),
    judged,
    layers.all === 0 ? 'none in the main graph' : `${layers.integer} + ${layers.stored} of ${layers.all}`,
    flag + run.says,
  ];
}

function levelsText({ levels, metric }) {
  if (levels === undefined) return metric?.name === 'sqnr' ? short(metric.value) : '';
  return levels.map(short).join(' / ');
}

const short = (value) =>
  value === 'Infinity' ? '∞' : Number.isFinite(Number(value)) ? Number(value).toFixed(1) : value;

/** A bar would end the cell; a long sentence is cut at its end. */
function cell(value) {
  const text = String(value).replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
  return text.length > 320 ? `${text.slice(0, 320)} …` : text;
}
