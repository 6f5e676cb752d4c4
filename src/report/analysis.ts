import type { AnalysedSource, SqnrAnalysis } from '../analyze/sqnr/analyze.ts';
import type { Diagnosis } from '../run/report.ts';
import { diagnosisText } from './diagnosis.ts';
import { distinct, grouped, hanging, percent, plural } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table } from './table.ts';

/** What `qtool analyze` found, with the plan it proposes. */
export interface AnalysisReport extends SqnrAnalysis {
  readonly format: 1;
  readonly path: string;
  /** Mean bits a weight of the proposed plan. */
  readonly bits: number;
  /** Layer → bits that the closed form gives. */
  readonly proposal: readonly { readonly layer: string; readonly bits: number }[];
  /** The proposal as a quantizer of a schedule. */
  readonly yaml: string;
  /** Of what `--schedule int8` would make of the model; undefined where it has nothing to quantize. */
  readonly diagnosis: Diagnosis | undefined;
  readonly notes: readonly string[];
  /** What must be known before int8 is used here, first of all. */
  readonly warnings: readonly string[];
}

/** A quantizer with these widths, for a schedule. */
export function proposalYaml(proposal: AnalysisReport['proposal'], scales: string): string {
  const quoted = (name: string): string => `'${name.replaceAll("'", "''")}'`;
  return [
    'quantizers:',
    '  mixed:',
    '    class: PostTrainLinearQuantizer',
    '    bits_activations: 8',
    `    weight_scales: ${scales}`,
    '    overrides:',
    ...proposal.map(({ layer, bits }) => `      ${quoted(layer)}: { bits_weights: ${bits} }`),
  ].join('\n');
}

const dB = (value: number): string => (Number.isFinite(value) ? value.toFixed(1) : value > 0 ? '∞' : '-∞');

/** Eighths of a block, so that bars of a few columns still tell values apart. */
const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar of at most `width` columns for a share of 1. */
function bar(share: number, width: number): string {
  const steps = Math.max(0, Math.min(width * 8, Math.round((Number.isFinite(share) ? share : 0) * width * 8)));
  return '█'.repeat(Math.floor(steps / 8)) + (eighths[steps % 8] ?? '');
}

/** Tensors, the harmonic sum against what is measured, and the YAML to paste. */
export function analysisText(report: AnalysisReport, paint: Paint, width: number): string {
  const { sources, widths } = report;
  const weights = sources.filter((source) => source.kind === 'weights');
  const activations = sources.filter((source) => source.kind === 'activation');
  return [
    ...report.warnings.map((text) => paint.yellow(hanging('! ', text, width))),
    paint.bold(`${report.path}: quantization noise on ${plural(report.samples, 'calibration sample')}, SQNR in dB`),
    section('weights', `bar: share of the output's noise at 4 bits`, weights, widths, 4, paint, width),
    section('activations', `bar: share of the output's noise at 8 bits`, activations, widths, 8, paint, width),
    compositions(report, paint, width),
    paint.bold(`closed form at a mean of ${report.bits} bits a weight, to paste into a schedule`),
    report.yaml,
    ...(report.diagnosis
      ? [diagnosisText(report.diagnosis, 'diagnosis of plain int8 (`--schedule int8`)', undefined, paint, width)]
      : []),
    ...[...report.skipped.map((n) => `${n.layer}: ${n.text}`), ...report.notes].map((text) =>
      paint.dim(hanging('', text, width)),
    ),
  ].join('\n\n');
}

/** The last two parts of an exporter's path, without the operator's type: what tells layers apart. */
function brief({ name, kind }: AnalysedSource): string {
  const parts = name.split('/').filter((part) => part !== '');
  return (kind === 'weights' && parts.length > 1 ? parts.slice(0, -1) : parts).slice(-2).join('/');
}

function section(
  title: string,
  legend: string,
  sources: readonly AnalysedSource[],
  widths: readonly number[],
  at: number,
  paint: Paint,
  width: number,
): string {
  const index = widths.indexOf(at);
  const noise = (source: AnalysedSource): number => 10 ** (-(source.atOutput[index] ?? Infinity) / 10);
  const total = sources.reduce((sum, source) => sum + noise(source), 0);
  const barWidth = 10;
  const briefs = sources.map(brief);
  const told = new Set(briefs).size === briefs.length ? briefs : sources.map(({ name }) => name);
  const names = distinct(told, Math.max(22, width - 98));
  const rows = sources.map((source, row) => {
    const share = total > 0 ? noise(source) / total : 0;
    const model = source.modelled[source.closest];
    return [
      names[row] ?? '',
      grouped(source.elements),
      source.closest,
      source.slope.toFixed(1),
      ...widths.map((_, i) => dB(source.measured[i] ?? NaN)),
      dB(model[index] ?? NaN),
      ...(source.output ? [dB(source.output[index] ?? NaN)] : []),
      dB(source.gain),
      dB(source.atOutput[index] ?? NaN),
      `${bar(share, barWidth)} ${percent(share, 0)}`,
    ];
  });
  const columns = [
    { title: title },
    right('elements'),
    { title: 'like' },
    right('κ'),
    ...widths.map((bits) => right(`${bits}b`)),
    right(`model ${at}b`),
    ...(sources[0]?.output ? [right(`own ${at}b`)] : []),
    right('gain'),
    right(`out ${at}b`),
    { title: legend.split(':')[0] ?? '' },
  ];
  return `${table(columns, rows, paint, width)}\n${paint.dim(
    hanging(
      '',
      `κ: dB a bit. model: by the nearest distribution with the tensor's mean and deviation.${sources[0]?.output ? " own: at the layer's own output." : ''} gain: of its noise, at the output. out: what it alone leaves there. ${legend}.`,
      width,
    ),
  )}`;
}

function compositions({ compositions: list }: AnalysisReport, paint: Paint, width: number): string {
  const rows = list.map((c) => {
    const difference = c.predicted === c.measured ? 0 : c.predicted - c.measured;
    const text = `${difference >= 0 ? '+' : ''}${difference.toFixed(1)}`;
    return [
      `${c.weights} × ${c.activations}`,
      dB(c.predicted),
      dB(c.measured),
      c.why === undefined ? paint.green(text) : paint.red(text),
      dB(c.firstOrder),
      dB(c.chain),
    ];
  });
  const titles = ['predicted', 'measured', 'difference', 'first order', 'chain (all gains 1)'];
  const columns = [{ title: 'weights × activations' }, ...titles.map(right)];
  const why = list
    .filter((c) => c.why !== undefined)
    .map((c) =>
      hanging(
        `${c.weights} × ${c.activations}: `,
        `the sum is off by ${Math.abs(c.predicted - c.measured).toFixed(1)} dB: ${c.why}. ${c.broken.map((n) => `${n.layer} ${n.text}`).join('; ')}`.trimEnd(),
        width,
      ),
    );
  return [table(columns, rows, paint, width), ...why].join('\n');
}
