import { stringify } from 'yaml';
import { parseDataConfig, type DataConfig } from '../data/config.ts';
import type { SampleSets, Samples } from '../data/given.ts';
import type { AxisSizes } from '../data/layout.ts';
import { isSamples, memoryConfig } from '../data/memory.ts';
import { openData, type OpenOptions } from '../data/open.ts';
import { transformsSchema, type Transforms } from '../data/transforms.ts';
import type { MetricConfig, RunData } from '../data/types.ts';
import { ownOutputs } from '../graph/exits.ts';
import { describeValue, modelInputs } from '../graph/query.ts';
import type { Model } from '../graph/model.ts';
import { isUserMetric, userMetric, type UserMetric } from '../metrics/module.ts';
import type { Metric } from '../metrics/metric.ts';
import { openMetrics } from '../metrics/index.ts';
import { steppedDataset } from '../runtime/steps.ts';
import { decideByTrial } from '../run/recipe_trial.ts';
import { QtoolError } from '../util/error.ts';
import { schemaProblems } from '../util/problems.ts';
import type { Modules } from '../util/module.ts';
import type { Watch } from './given.ts';

/**
 * Data: the path or name of a config, a path of data, or `random`; what a config says, as an object (its paths start from the
 * working folder); or samples in memory, one set that is split or two.
 */
export type DataGiven = string | Readonly<Record<string, unknown>> | Samples | SampleSets;

/** A metric by its name, with options, or one of the caller's own. */
export type MetricGiven = string | { readonly name: string; readonly [option: string]: unknown } | UserMetric;

/** How data becomes the model's input: the steps of a data config's `transforms`, a recipe by name, and sizes that the model leaves open. */
export interface PreprocessingOptions {
  readonly preprocess?: string | undefined;
  readonly scale?: Transforms['scale'];
  readonly mean?: Transforms['mean'];
  readonly std?: Transforms['std'];
  readonly layout?: Transforms['layout'];
  readonly resize?: Transforms['resize'];
  /** Sizes of the model's free axes by name, or whole shapes by the name of an input. */
  readonly dims?: AxisSizes | undefined;
}

/** Which samples are used and how they are run, under the names of the command line's flags. */
export interface DataOptions extends PreprocessingOptions {
  /** The folder that relative paths of a data config start from. */
  readonly dataRoot?: string | undefined;
  /** At most so many calibration samples. */
  readonly samples?: number | undefined;
  /** At most so many validation samples. */
  readonly limit?: number | undefined;
  /** Samples a run takes; default: what the data config says, else 32. */
  readonly batchSize?: number | undefined;
  /** Runs the modules that the schedule and the data's config name: code, with all your rights. Default false. */
  readonly allowModules?: boolean | undefined;
  /** Of every random choice; default 0. */
  readonly seed?: number | undefined;
  /** Threads within one operator; default all cores. */
  readonly threads?: number | undefined;
}

/** Samples a run takes where nothing else is said. */
const usualBatch = 32;

/** How many samples a run takes. */
export const batchSizeOf = (options: DataOptions, data: RunData): number =>
  options.batchSize ?? data.batchSize ?? usualBatch;

/**
 * Opens data for a model. Images without a preprocessing get the one that the model is clearly best with on labelled samples; else they
 * are refused.
 * @throws QtoolError('data').
 */
export async function openModelData(
  model: Model,
  given: DataGiven,
  options: DataOptions & Watch,
  part: OpenOptions['part'] = 'both',
  modules = modulesOf(options),
  training = false,
): Promise<RunData> {
  const { batchSize, threads, signal, onProgress, onRecipes } = options;
  const decide: OpenOptions['decide'] = (question) => {
    if (question.labelled)
      onProgress?.({ kind: 'phase', text: 'no preprocessing is given: trying those that are known' });
    return decideByTrial(model, {
      ...{ batchSize, threads },
      ...(signal ? { signal } : {}),
      progress: (done, text) => onProgress?.({ kind: 'progress', done, text }),
      tried: (trial) => onRecipes?.(trial),
    })(question);
  };
  const data = await openData(configOf(given), modelInputs(model), {
    outputs: model.graph.output.map(({ name }) => name),
    root: options.dataRoot,
    calibrationSamples: options.samples,
    validationSamples: options.limit,
    seed: options.seed,
    classes: classCount(model),
    part,
    modules,
    training,
    signal,
    ...preprocessing(options),
    decide,
  });
  return inSteps(data, model, threads);
}

/** Data whose samples are sequences as samples of one step, with the states that the model has there. */
export function inSteps(data: RunData, model: Model, threads?: number): RunData {
  if (data.sequences === undefined) return data;
  const { inputs, feedback } = data.sequences;
  const stepped = (set: RunData['validation']): RunData['validation'] => steppedDataset(set, model, inputs, feedback, { threads }); // prettier-ignore
  return { ...data, calibration: stepped(data.calibration), validation: stepped(data.validation) };
}

/** What becomes of modules. @param dry nothing is to be run */
export const modulesOf = ({ allowModules }: { readonly allowModules?: boolean | undefined }, dry = false): Modules =>
  allowModules !== true ? undefined : dry ? 'name' : 'run';

/** Data in whatever form it is given, as `openData` takes it. */
export function configOf(given: DataGiven): DataConfig | string {
  if (typeof given === 'string') return given;
  return isSamples(given) ? memoryConfig(given) : parseDataConfig(stringify(given), 'data');
}

/** The metrics asked for, in place of those of the data's config; and those that `gates` name besides. */
export function metricsFor(
  model: Model,
  data: RunData,
  asked: readonly MetricGiven[] | undefined,
  gates: readonly string[] = [],
): Promise<Metric[]> {
  const metrics = asked === undefined ? data.metrics : asked.map(metricOf);
  return openMetrics({ ...data, metrics }, model.graph.output.map(describeValue), gates);
}

function metricOf(given: MetricGiven): MetricConfig | Metric {
  if (typeof given !== 'string' && isUserMetric(given)) return userMetric(given, given.name ?? 'metric', 'the library');
  const { name, ...options } = typeof given === 'string' ? { name: given } : given;
  return { name, options, at: () => undefined };
}

/** The preprocessing that single options give. */
export function preprocessing(options: PreprocessingOptions): Pick<OpenOptions, 'preprocess' | 'transforms' | 'dims'> {
  const { preprocess, scale, mean, std, layout, resize, dims } = options;
  const steps = Object.entries({ scale, mean, std, layout, resize }).filter(([, value]) => value !== undefined);
  const given: unknown = Object.fromEntries(steps);
  const { success, data, error } = transformsSchema.safeParse(given);
  if (success) return { preprocess, transforms: data, dims };
  const [first] = schemaProblems(transformsSchema, given, error.issues);
  throw new QtoolError('usage', `${first?.path.join('.')}: ${first?.message}`, { hint: 'docs/data.md describes it' });
}

/** How many classes a classifier tells apart: the last dimension of its only output, where the file says it. */
function classCount(model: Model): number | undefined {
  const [output, ...others] = ownOutputs(model);
  if (!output || others.length > 0) return undefined;
  const last = describeValue(output).dims?.at(-1);
  return typeof last === 'number' && last > 1 ? last : undefined;
}
