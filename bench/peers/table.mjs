import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { median } from './measure.mjs';
import { targetsOf } from './targets.mjs';
import { TOOLS } from './tools.mjs';

const START = '<!-- peers: written by bench/peers/run.mjs -->';
const END = '<!-- /peers -->';

/** Writes the part of docs/benchmarks.md between the two marks and leaves the rest of that file alone. */
export function writeTable(results, doc) {
  const files = readdirSync(results).filter((file) => /^peers-.*\.json$/.test(file));
  const all = files.sort().map((file) => JSON.parse(readFileSync(join(results, file), 'utf8')));
  const part = [START, intro(), ...all.map(section), END].join('\n\n');
  const before = existsSync(doc) ? readFileSync(doc, 'utf8') : '# Benchmarks\n';
  const [head, rest = ''] = before.includes(START) ? before.split(START) : [`${before.trimEnd()}\n\n`];
  mkdirSync(dirname(doc), { recursive: true });
  writeFileSync(doc, `${head}${part}${rest.split(END)[1] ?? '\n'}`);
  return doc;
}

function intro() {
  return `## Side by side with Python's quantizers

One command, \`node bench/peers/run.mjs --data <folder>\`, installs the newest peers with pip into throw-away virtual environments
and runs the same model, the same calibration files in the same order and the same setting (QDQ, 8-bit unsigned activations,
8-bit signed weights) through each tool, alternating. Both sides decode the images themselves. **Time** is the wall time of the
whole command, with starting Python or Node and reading the images, without any evaluation (qtool with \`--no-measure --no-latency\`): median of
the repetitions, smallest and largest in brackets; **CPU** is user and system time, which a busy machine disturbs less. **Memory** is the largest resident set of the process or its tree. **Top-1** comes from one evaluator for all models
(Python, onnxruntime) on labelled images that no tool has seen; beside it the difference to the float model with its 95 % interval, paired on the
same images. **Latency** is the time of one run in onnxruntime-node, one thread, relative to the float model (below 1 = faster),
medians of interleaved runs, in brackets the least and the most of five parts of the measurement. Rows where a peer wins, and runs that failed, stay in. How: \`bench/peers/README.md\`.`;
}

function section(result) {
  const { model, machine, versions, rows, evaluator, best } = result;
  const others = rows.filter((row) => row.tool !== 'float');
  const float = rows.find((row) => row.tool === 'float');
  if (!float) return `### ${model}\n\nNot judged yet.`;
  const groups = [...new Set(others.map((row) => row.setting))].sort(bySetting);
  const lines = groups.flatMap((setting) => groupLines(others.filter((row) => row.setting === setting)));
  const hardware = `${machine.cpu}, ${machine.cores} cores, ${machine.memory} (${machine.flags.join(', ')}), ${machine.platform}`;
  const targets = targetsOf(rows);
  return [
    `### ${model}`,
    `Float: ${percent(float.top1)} on ${evaluator.samples} labels, ${whole(float.bytes)} bytes. ${hardware}; load on the machine when measured: ${machine.load}.`,
    [
      '| samples | ranges | tool | time, s | CPU, s | memory, MB | bytes | top-1 | against float | latency, batch 1 | batch 32 |',
      '|---|---|---|---|---|---|---|---|---|---|---|',
      ...lines,
    ].join('\n'),
    ...againstBest(others, best),
    ...(targets.length
      ? [['| what was aimed at | aim | measured | reached |', '|---|---|---|---|', ...targets].join('\n')]
      : []),
    `Versions: ${versionLine(versions)}.`,
  ].join('\n\n');
}

/** qtool's rows beside the most accurate of onnxruntime's, on the same labels. */
function againstBest(rows, best) {
  const name = ({ method, perChannel }) => `${method} per ${perChannel ? 'channel' : 'tensor'}`;
  const peer = best && rows.find((row) => row.tool === best.tool && row.setting === best.setting);
  // Rows that ran again are not judged yet.
  if (peer?.top1 === undefined) return [];
  const mine = rows.filter((row) => row.tool === 'qtool' && row.against_best && !row.failure);
  const differences = mine.map((row) => {
    const { difference, half_interval: half } = row.against_best;
    return `${name(row)} ${signed(difference)} ± ${half.toFixed(2)}${difference < -half ? ' (**worse**)' : ''}`;
  });
  return [
    `Against onnxruntime's most accurate row (${name(peer)}, ${percent(peer.top1)}), paired on the same labels, qtool: ${differences.join('; ')}.`,
  ];
}

function groupLines(rows) {
  const order = Object.keys(TOOLS);
  return rows
    .sort((a, b) => order.indexOf(a.tool) - order.indexOf(b.tool))
    .map((row) => {
      const what = `${row.samples} | ${row.method}, per ${row.perChannel ? 'channel' : 'tensor'} | ${TOOLS[row.tool].label}`;
      if (row.failure) {
        const until = row.seconds.length
          ? `≥ ${row.seconds.at(-1).toFixed(1)} | – | ≥ ${megabytes(row.peakBytes.at(-1))}`
          : '– | – | –';
        return `| ${what} | ${until} | – | – | ${row.failure.replaceAll('|', '/')} | – | – |`;
      }
      const [least, most] = [Math.min(...row.seconds), Math.max(...row.seconds)];
      const time = `${median(row.seconds).toFixed(1)} (${least.toFixed(1)}–${most.toFixed(1)})`;
      const cpu = row.cpuSeconds.length ? median(row.cpuSeconds).toFixed(1) : '–';
      if (TOOLS[row.tool].writes === false)
        return `| ${what} | ${time} | ${cpu} | ${megabytes(median(row.peakBytes))} | – | – | – | – | – |`;
      if (row.top1 === undefined)
        return `| ${what} | ${time} | ${cpu} | ${megabytes(median(row.peakBytes))} | ${whole(row.bytes)} | not judged | – | – | – |`;
      const drop = `${signed(row.difference)} ± ${row.half_interval.toFixed(2)}`;
      const latency = [1, 32].map((batch) => latencyOf(row.latency[`batch${batch}`])).join(' | ');
      return `| ${what} | ${time} | ${cpu} | ${megabytes(median(row.peakBytes))} | ${whole(row.bytes)} | ${percent(row.top1)} | ${drop} | ${latency} |`;
    });
}

function bySetting(a, b) {
  const [countA, restA] = split(a);
  const [countB, restB] = split(b);
  return countA - countB || rank(restA) - rank(restB);
}

function split(setting) {
  const at = setting.indexOf('-');
  return [Number(setting.slice(0, at)), setting.slice(at + 1)];
}

function rank(rest) {
  return ['minmax-tensor', 'minmax-channel', 'entropy-channel', 'percentile-channel', 'default-channel'].indexOf(rest);
}

function versionLine(versions) {
  const seen = Object.entries(versions).map(([tool, found]) => {
    if (TOOLS[tool].writes === false) return undefined;
    if (typeof found === 'string') return `${TOOLS[tool].label}: ${found}`;
    const list = Object.entries(found).map(([name, version]) => `${name} ${version}`);
    return `${TOOLS[tool].label}: ${list.join(', ')}`;
  });
  return [...new Set(seen.filter((line) => line && !line.startsWith('onnxruntime, ')))].join('; ');
}

function latencyOf(entry) {
  return entry ? `${entry.ratio.toFixed(2)} (${entry.least.toFixed(2)}–${entry.most.toFixed(2)})` : '–';
}

function percent(value) {
  return `${value.toFixed(2)} %`;
}

function signed(value) {
  return `${value > 0 ? '+' : value < 0 ? '−' : ''}${Math.abs(value).toFixed(2)}`;
}

function megabytes(bytes) {
  return whole(Math.round(bytes / 2 ** 20));
}

function whole(value) {
  return value.toLocaleString('en-US');
}
