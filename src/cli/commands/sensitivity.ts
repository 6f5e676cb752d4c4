import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { batchSizeOf, openModelData, type DataOptions } from '../../api/data.ts';
import { describeValue } from '../../graph/query.ts';
import { openMetrics } from '../../metrics/index.ts';
import { passes } from '../../passes/index.ts';
import type { Pass } from '../../passes/pass.ts';
import { sensitivityCsv, sensitivityText, solutionYaml } from '../../report/sensitivity.ts';
import { checkRunFolder } from '../../run/output.ts';
import { sensitivity, sensitivityUnits, type SensitivityOptions, type SensitivityUnit } from '../../run/sensitivity.ts';
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
  readonly class: string;
  readonly levels: string;
  readonly layers: string;
  readonly metric?: string;
  readonly budget?: string;
  readonly output?: string;
  readonly force?: boolean;
}

/** `qtool sensitivity`: how much each layer bears, and the levels that meet a target at the least drop. */
export async function sensitivityCommand(
  path: string,
  options: SensitivityCommandOptions,
  call: Call,
): Promise<number> {
  const pass = passOf(options.class);
  const levels = levelsOf(options.levels);
  const target = options.budget === undefined ? undefined : targetOf(options.budget, pass);
  if (options.output !== undefined) await checkRunFolder(options.output, options.force === true);
  const model = await openModel(path);
  const data = await watched(call, (watch) => openModelData(model, options.data, { ...options, ...watch }));
  const all = await openMetrics(data, model.graph.output.map(describeValue));
  const metric = options.metric === undefined ? all[0] : all.find(({ name }) => name === options.metric);
  if (!metric)
    throw new QtoolError('usage', `the metric "${options.metric}" is not measured on this data`, {
      hint: `measured are: ${all.map(({ name }) => name).join(', ')}`,
    });
  const report = await watched(call, ({ signal, onProgress }) =>
    sensitivity({
      model,
      data,
      metrics: [metric],
      pass,
      class: options.class,
      levels,
      layers: options.layers.split(',').map((name) => name.trim()),
      target,
      batchSize: batchSizeOf(options, data),
      threads: options.threads,
      signal,
      log: onProgress,
    }),
  );
  if (options.output !== undefined) {
    await makeFolder(options.output);
    await writeFile(join(options.output, 'sensitivity.json'), jsonText(report));
    await writeFile(join(options.output, 'sensitivity.csv'), sensitivityCsv(report));
    if (report.solution)
      await writeFile(join(options.output, 'schedule.yaml'), `${solutionYaml(report, report.solution)}\n`);
  }
  call.answer(report, () => sensitivityText(report, call.paint, call.width));
  return exit.ok;
}

/** Classes whose options are levels by layer. */
function passOf(name: string): Pass {
  const usable = passes.filter((pass) => pass.section === 'pruners' && pass.options.safeParse({ levels: {} }).success);
  const pass = usable.find(({ classes }) => classes.includes(name));
  if (pass) return pass;
  const names = usable.flatMap(({ classes }) => classes);
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
