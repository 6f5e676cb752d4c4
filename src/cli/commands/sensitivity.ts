import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { batchSizeOf, openModelData, type DataOptions } from '../../api/data.ts';
import { describeValue } from '../../graph/query.ts';
import { openMetrics } from '../../metrics/index.ts';
import { plainFloat32 } from '../../passes/fold/float32_arithmetic.ts';
import { passes } from '../../passes/index.ts';
import type { Pass } from '../../passes/pass.ts';
import type { Paint } from '../../report/paint.ts';
import { quantizeCsv, quantizeMap, quantizeSensitivityText } from '../../report/quantize_sensitivity.ts';
import { sensitivityCsv, sensitivityMap, sensitivityText, solutionYaml } from '../../report/sensitivity.ts';
import { sensitivityPage } from '../../report/sensitivity_page.ts';
import { checkRunFolder } from '../../run/output.ts';
import { quantizeSensitivity, triedWidths, type QuantizeSensitivityReport } from '../../run/quantize_sensitivity.ts';
import { sensitivity, sensitivityUnits, type SensitivityOptions, type SensitivityReport, type SensitivityUnit } from '../../run/sensitivity.ts'; // prettier-ignore
import { QtoolError } from '../../util/error.ts';
import { makeFolder } from '../../util/folder.ts';
import { jsonText } from '../../util/json.ts';
import { didYouMean } from '../../util/suggest.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { openModel } from '../../api/given.ts';
import { watched } from '../watched.ts';

interface SensitivityCommandOptions extends DataOptions {
  readonly data: string;
  readonly quantize?: boolean;
  readonly widths?: string;
  readonly class: string;
  readonly levels: string;
  readonly layers: string;
  readonly metric?: string;
  readonly budget?: string;
  readonly output?: string;
  readonly force?: boolean;
}

/** `qtool sensitivity`: how much each layer bears, and the levels that meet a target at the least drop; or each tensor in fewer bits. */
export async function sensitivityCommand(
  path: string,
  options: SensitivityCommandOptions,
  call: Call,
): Promise<number> {
  const asked = options.quantize === true ? { widths: widthsOf(options.widths ?? '8,6,4') } : pruningOf(options);
  if (options.output !== undefined) await checkRunFolder(options.output, options.force === true);
  const model = plainFloat32(await openModel(path));
  const data = await watched(call, (watch) => openModelData(model, options.data, { ...options, ...watch }));
  const all = await openMetrics(data, model.graph.output.map(describeValue));
  const metric = options.metric === undefined ? all[0] : all.find(({ name }) => name === options.metric);
  if (all.length === 0)
    throw new QtoolError('usage', 'none of the outputs can be compared', { hint: 'add one of numbers to the model' });
  if (!metric)
    throw new QtoolError('usage', `the metric "${options.metric}" is not measured on this data`, {
      hint: `measured are: ${all.map(({ name }) => name).join(', ')}`,
    });
  const setting = {
    ...{ model, data, metrics: [metric], layers: options.layers.split(',').map((name) => name.trim()) },
    ...{ batchSize: batchSizeOf(options, data), threads: options.threads },
  };
  const { report, files, text } = await watched(call, async ({ signal, onProgress }): Promise<Found> => {
    const how = { ...setting, signal, log: onProgress };
    return 'widths' in asked
      ? quantized(await quantizeSensitivity({ ...how, ...asked }))
      : pruned(await sensitivity({ ...how, ...asked }));
  });
  if (options.output !== undefined) {
    await makeFolder(options.output);
    for (const [name, content] of Object.entries({ 'sensitivity.json': jsonText(report), ...files }))
      await writeFile(join(options.output, name), content);
  }
  call.answer(report, () => text(call.paint, call.width));
  return exit.ok;
}

/** A report, and the files besides its JSON. */
interface Found {
  readonly report: SensitivityReport | QuantizeSensitivityReport;
  readonly files: Readonly<Record<string, string>>;
  readonly text: (paint: Paint, width: number) => string;
}

const pruned = (report: SensitivityReport): Found => ({
  report,
  files: {
    'sensitivity.csv': sensitivityCsv(report),
    'sensitivity.html': sensitivityPage(report, sensitivityMap(report)),
    ...(report.solution ? { 'schedule.yaml': `${solutionYaml(report, report.solution)}\n` } : {}),
  },
  text: (paint, width) => sensitivityText(report, paint, width),
});

const quantized = (report: QuantizeSensitivityReport): Found => ({
  report,
  files: {
    'sensitivity.csv': quantizeCsv(report),
    'sensitivity.html': sensitivityPage(report, quantizeMap(report)),
  },
  text: (paint, width) => quantizeSensitivityText(report, paint, width),
});

function pruningOf(
  options: SensitivityCommandOptions,
): Pick<SensitivityOptions, 'pass' | 'class' | 'levels' | 'target'> {
  if (options.widths !== undefined)
    throw new QtoolError('usage', '--widths goes with --quantize', { hint: 'zeros have --levels' });
  const pass = passOf(options.class);
  const target = options.budget === undefined ? undefined : targetOf(options.budget, pass);
  return { pass, class: options.class, levels: levelsOf(options.levels), target };
}

function widthsOf(text: string): number[] {
  const widths = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (widths.every((bits) => triedWidths.includes(bits))) return [...new Set(widths)].sort((a, b) => b - a);
  throw new QtoolError('usage', `--widths takes whole numbers of bits from 2 to 8, not "${text}"`, {
    hint: 'such as 8,6,4',
  });
}

/** Passes whose options are levels by layer. */
export const levelled: readonly Pass[] = passes.filter(
  (pass) => pass.section === 'pruners' && pass.options.safeParse({ levels: {} }).success,
);

function passOf(name: string): Pass {
  const pass = levelled.find(({ classes }) => classes.includes(name));
  if (pass) return pass;
  const names = levelled.flatMap(({ classes }) => classes);
  throw new QtoolError('usage', `${name} is no pruner that takes levels${didYouMean(name, names)}`, {
    hint: `these do: ${names.join(', ')}`,
  });
}

function levelsOf(text: string): number[] {
  const levels = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (levels.every((level) => level > 0 && level < 1)) return [...new Set(levels)].sort((a, b) => a - b);
  throw new QtoolError('usage', `--levels takes shares between 0 and 1, not "${text}"`, {
    hint: 'such as 0.3,0.5,0.7',
  });
}

function targetOf(text: string, pass: Pass): SensitivityOptions['target'] {
  const [unit = '', share = ''] = text.split('=');
  const value = Number(share);
  if (!(sensitivityUnits as readonly string[]).includes(unit) || !(value > 0 && value < 1))
    throw new QtoolError('usage', `--budget takes one of ${sensitivityUnits.join(', ')} and a share, not "${text}"`, {
      hint: 'such as macs=0.7: 70 % of the multiply-accumulates stay',
    });
  if (!pass.name.includes('structure') && (unit === 'macs' || unit === 'latency'))
    throw new QtoolError('usage', `zeros save no ${unit}: onnxruntime multiplies with them`, {
      hint: '--class ChannelPruner removes channels; parameters and bytes are what zeros save',
    });
  return { unit: unit as SensitivityUnit, share: value };
}
