import { openData, type OpenOptions } from '../data/open.ts';
import type { Transforms } from '../data/transforms.ts';
import type { RunData } from '../data/types.ts';
import { describeValue, modelInputs } from '../graph/query.ts';
import type { Model } from '../graph/model.ts';
import { recipeTable } from '../report/recipes.ts';
import { decideByTrial } from '../run/recipe_trial.ts';
import type { Call } from './call.ts';
import { interruptible } from './interrupt.ts';
import { progressFor } from './progress.ts';

/** The options of `withPreprocessing`, as commander hands them over. */
export interface PreprocessingOptions {
  readonly preprocess?: string;
  readonly scale?: string | number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
  readonly layout?: 'NCHW' | 'NHWC';
  readonly resize?: Transforms['resize'];
}

/** The options of `withData`. */
export interface DataOptions extends PreprocessingOptions {
  readonly dataRoot?: string;
  readonly limit?: number;
  readonly batchSize?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly samples?: number;
}

/**
 * Opens the data of a command for a model. Images without a preprocessing get the one that the model is clearly best with on labelled samples,
 * after a table of all that were tried; else they are refused.
 */
export function openModelData(
  model: Model,
  options: DataOptions & { readonly data: string },
  call: Call,
  part: OpenOptions['part'] = 'both',
): Promise<RunData> {
  const decide: OpenOptions['decide'] = async (question) => {
    const progress = await progressFor(call.io, call.quiet);
    if (question.labelled)
      progress.show({ kind: 'phase', text: 'no preprocessing is given: trying those that are known' });
    return interruptible(call.io, (signal) =>
      decideByTrial(model, {
        ...{ batchSize: options.batchSize, threads: options.threads, signal },
        progress: (done, text) => progress.show({ kind: 'progress', done, text }),
        tried: (trial) => {
          progress.close();
          // A refusal needs the table; of a choice the notes tell.
          if (!call.quiet || trial.chosen === undefined) call.io.stderr(`${recipeTable(trial, call.errorPaint)}\n`);
        },
      })(question),
    ).finally(() => progress.close());
  };
  return openData(options.data, modelInputs(model), { ...dataOptions(options, model, part), decide });
}

/** What the data layer is asked for. */
function dataOptions(options: DataOptions, model: Model, part: OpenOptions['part']): OpenOptions {
  return {
    root: options.dataRoot,
    calibrationSamples: options.samples,
    validationSamples: options.limit,
    seed: options.seed,
    classes: classCount(model),
    part,
    ...preprocessing(options),
  };
}

/** The preprocessing that the command line gives. */
export function preprocessing(options: PreprocessingOptions): Pick<OpenOptions, 'preprocess' | 'transforms'> {
  const { preprocess, scale, mean, std, layout, resize } = options;
  const steps = Object.entries({ scale, mean, std, layout, resize }).filter(([, value]) => value !== undefined);
  return { preprocess, transforms: Object.fromEntries(steps) };
}

/** How many classes a classifier tells apart: the last dimension of its only output, where the file says it. */
function classCount(model: Model): number | undefined {
  const [output, ...others] = model.graph.output;
  if (!output || others.length > 0) return undefined;
  const last = describeValue(output).dims?.at(-1);
  return typeof last === 'number' && last > 1 ? last : undefined;
}
