import { stat, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { stringify } from 'yaml';
import { modulesOf, preprocessing, type PreprocessingOptions } from '../../api/data.ts';
import { openModel } from '../../api/given.ts';
import { guessedDims } from '../../api/inspect.ts';
import { checkedSchedule, scheduleText } from '../../api/schedule.ts';
import { openData } from '../../data/open.ts';
import type { DataConfigValue } from '../../data/config.ts';
import { configNames, guessConfig } from '../../data/guess.ts';
import { intAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import { isOp, modelInputs } from '../../graph/query.ts';
import { hanging } from '../../report/format.ts';
import { recipeTable } from '../../report/recipes.ts';
import { alreadyQuantized } from '../../run/verdict.ts';
import { decideByTrial } from '../../run/recipe_trial.ts';
import { QtoolError } from '../../util/error.ts';
import { checkFolder, makeFolder } from '../../util/folder.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { interruptible } from '../interrupt.ts';

interface InitOptions extends PreprocessingOptions {
  readonly data?: string;
  readonly allowModules?: boolean;
  readonly schedule?: string;
  readonly output: string;
  readonly force?: boolean;
}

/** What `qtool init` wrote: two files, the schedule it began from and why, the command that runs them. */
export interface InitReport {
  readonly format: 1;
  readonly data: string;
  readonly schedule: string;
  readonly from: string;
  readonly why: string;
  readonly command: string;
  /** What must be known of the model before anything is run. */
  readonly warnings: readonly string[];
}

/** `qtool init`: looks at a model and its data, and writes a data config and a schedule that run as they are. */
export async function init(path: string, options: InitOptions, call: Call): Promise<number> {
  const dataFile = join(options.output, 'data.yaml');
  const scheduleFile = join(options.output, 'schedule.yaml');
  if (options.force !== true) for (const file of [dataFile, scheduleFile]) await mustBeFree(file);
  await checkFolder(options.output);
  const model = await openModel(path);
  const choice = options.schedule === undefined ? scheduleFor(model) : { name: options.schedule, why: 'as asked' };
  const shipped = await scheduleText(choice.name);
  const { stages } = checkedSchedule(shipped, { model });
  const config = await dataConfig(model, options, call);
  await makeFolder(options.output);
  await writeFile(dataFile, `${dataHead(options)}${stringify(config, { flowCollectionPadding: true })}`);
  await writeFile(scheduleFile, shipped.text);
  // What this machine's kernels cannot do stays out of it.
  const target = stages.some(({ pass }) => pass.name === 'quantize/static') ? ' --target auto' : '';
  const command = `qtool quantize ${shellWord(path)} --schedule ${shellWord(scheduleFile)} --data ${shellWord(dataFile)}${target} -o ${shellWord(join(options.output, 'out'))}${config.data?.kind === 'module' ? ' --allow-modules' : ''}`;
  const report: InitReport = {
    format: 1,
    data: dataFile,
    schedule: scheduleFile,
    from: choice.name,
    why: choice.why,
    command,
    warnings: alreadyQuantized(model, stages),
  };
  call.answer(report, () =>
    [
      ...report.warnings.map((text) => call.paint.yellow(hanging('! ', text, call.width))),
      hanging('  ', `${dataFile}: ${describe(config, options)}`, call.width),
      hanging('  ', `${scheduleFile}: ${choice.name}, ${choice.why}`, call.width),
      `\n${command}`,
    ].join('\n'),
  );
  return exit.ok;
}

async function mustBeFree(file: string): Promise<void> {
  if (await stat(file).catch(() => undefined))
    throw new QtoolError('usage', 'this file exists', { at: file, hint: 'name another folder by -o, or give --force' });
}

/** The shipped schedule that fits what a model is made of. */
function scheduleFor({ graph }: Model): { readonly name: string; readonly why: string } {
  const of = (...types: string[]) => graph.node.filter((node) => isOp(node, ...types));
  const convolutions = of('Conv');
  if (convolutions.length === 0 && of('LSTM', 'GRU', 'RNN').length > 0)
    return {
      name: 'w4-weight-only',
      why: 'since recurrent layers compute in float, whatever their weights are stored in',
    };
  if (convolutions.length > 0 && of('MatMul', 'Gemm').length > 4 * convolutions.length)
    return { name: 'int8-fast', why: 'since nearly all layers are dense ones: it needs no calibration' };
  if (convolutions.length === 0)
    return { name: 'int8-fast', why: 'since the model has no convolutions: it needs no calibration' };
  if (convolutions.some((node) => intAttribute(node, 'group', 1) > 1))
    return { name: 'int8-accurate', why: 'since depthwise and grouped convolutions lose too much at plain int8' };
  return { name: 'int8', why: 'which is enough for most nets of plain convolutions' };
}

/** The config that was tried: it opens, and its images have the preprocessing that the model is best with. */
async function dataConfig(model: Model, options: InitOptions, call: Call): Promise<DataConfigValue> {
  const inputs = modelInputs(model);
  if (options.data === undefined || options.data === 'random') {
    const given = Object.entries(options.dims ?? {});
    const axes = given.flatMap(([name, size]) => (typeof size === 'number' ? [[name, size] as const] : []));
    const shapes = given.flatMap(([name, size]) =>
      typeof size === 'number' ? [] : [[name, { dims: [...size] as number[] }] as const],
    );
    const dims = { ...guessedDims(model, options.dims), ...Object.fromEntries(axes) };
    return {
      version: 1,
      data: {
        kind: 'random',
        ...(Object.keys(dims).length > 0 ? { dims } : {}),
        ...(shapes.length > 0 ? { inputs: Object.fromEntries(shapes) } : {}),
      },
    };
  }
  if (/\.ya?ml$/.test(options.data) || configNames().includes(options.data))
    throw new QtoolError('usage', 'this is a data config already', { at: options.data, hint: 'give it to qtool quantize --data as it is, or a folder or a file of data here' }); // prettier-ignore
  const { value } = guessConfig(options.data);
  let recipe = options.preprocess;
  await interruptible(call.io, (signal) =>
    openData(options.data ?? '', inputs, {
      ...{ modules: modulesOf(options), ...preprocessing(options) },
      decide: async (question) => {
        const tried = decideByTrial(model, {
          signal,
          tried: (trial) => call.remark(recipeTable(trial, call.errorPaint)),
        });
        const decided = await tried(question);
        recipe = decided.recipe;
        return decided;
      },
    }),
  );
  const { transforms } = preprocessing(options);
  const source = value.data;
  const path = pathFrom(resolve(options.output), resolve(options.data));
  return {
    version: 1,
    data: { ...source, path } as NonNullable<DataConfigValue['data']>,
    ...(recipe === undefined ? {} : { preprocess: recipe as NonNullable<DataConfigValue['preprocess']> }),
    ...(transforms && Object.keys(transforms).length > 0 ? { transforms } : {}),
  };
}

/** A path as a config in `folder` names it: relative where the two lie near each other, and can be moved together. */
function pathFrom(folder: string, path: string): string {
  const near = relative(folder, path).replace(/\\/g, '/');
  return near.startsWith('../../../') ? path : near || '.';
}

function dataHead({ data }: InitOptions): string {
  return data === undefined || data === 'random'
    ? '# Random input, to try things out: it calibrates nothing well. Name your data here (docs/data.md).\n'
    : '# A fifth of the samples, at most 512, calibrate; the others judge. Further keys: docs/data.md.\n';
}

function describe({ data, preprocess }: DataConfigValue, { data: given }: InitOptions): string {
  if (data?.kind === 'random') return 'random input, since no --data is given: it calibrates nothing well';
  return `${given} as ${data?.kind}${preprocess === undefined ? '' : `, preprocessed as ${preprocess}`}`;
}

const shellWord = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`);
