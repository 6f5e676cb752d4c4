import type * as z from 'zod';
import type { MetricConfig, RunData } from '../data/types.ts';
import type { ModelInput } from '../graph/query.ts';
import { QtoolError } from '../util/error.ts';
import { schemaProblems } from '../util/problems.ts';
import { didYouMean } from '../util/suggest.ts';
import type { Against } from './against.ts';
import { agreement } from './agreement.ts';
import { boxOptions } from './boxes.ts';
import { cer } from './cer.ts';
import { compareOptions } from './compare.ts';
import { cosine } from './cosine.ts';
import { crossEntropy } from './cross_entropy.ts';
import { ctc } from './ctc.ts';
import { detection } from './detection.ts';
import { greedyOptions } from './greedy.ts';
import { likelihoodOptions } from './likelihood.ts';
import { meanAp, meanApOptions } from './mean_ap.ts';
import { meanIou, meanIouOptions } from './mean_iou.ts';
import type { Metric } from './metric.ts';
import { isModule } from '../util/module.ts';
import { moduleMetric } from './module.ts';
import { mse } from './mse.ts';
import { perplexity } from './perplexity.ts';
import { psnr, psnrOptions } from './psnr.ts';
import { rankCorrelation, rankCorrelationOptions } from './rank_correlation.ts';
import { isFloat } from './select.ts';
import { siSnr, snr } from './snr.ts';
import { sqnr } from './sqnr.ts';
import { scoreOptions, topK } from './topk.ts';

/** A kind of metric: its name in a config, and how it is made from its options. */
export interface MetricKind<O = unknown> {
  readonly name: string;
  readonly options: z.ZodType<O>;
  /** @param labelled whether the data has labels: what answers are judged by where the options do not say it */
  create(options: O, labelled: boolean): Metric;
}

/** Hides the options' type, so that kinds of different options can stand in one list. */
function kind<O>(name: string, options: z.ZodType<O>, create: MetricKind<O>['create']): MetricKind {
  const typed: MetricKind<O> = { name, options, create };
  return typed;
}

/** Options that say what answers are judged by: labels where there are any, unless they say it. */
function judged<O extends { readonly against?: Against | undefined }>(options: O, labelled: boolean): O {
  return { ...options, against: options.against ?? (labelled ? 'labels' : 'float') };
}

export const metricKinds: readonly MetricKind[] = [
  kind('top1', scoreOptions, (o) => topK(1, o)),
  kind('top5', scoreOptions, (o) => topK(5, o)),
  kind('perplexity', likelihoodOptions, perplexity),
  kind('cross_entropy', likelihoodOptions, crossEntropy),
  kind('agreement', scoreOptions, agreement),
  kind('sqnr', compareOptions, sqnr),
  kind('cosine', compareOptions, cosine),
  kind('mse', compareOptions, mse),
  kind('psnr', psnrOptions, psnr),
  kind('snr', compareOptions, snr),
  kind('si_snr', compareOptions, siSnr),
  kind('rank_correlation', rankCorrelationOptions, rankCorrelation),
  kind('ctc', greedyOptions, (o, labelled) => ctc(judged(o, labelled))),
  kind('cer', greedyOptions, (o, labelled) => cer(judged(o, labelled))),
  kind('mean_iou', meanIouOptions, (o, labelled) => meanIou(judged(o, labelled))),
  kind('detection', boxOptions, detection),
  kind('mean_ap', meanApOptions, meanAp),
];

/**
 * The metrics of a run: those that its config asks for, else what the data and the types of the model's `outputs` allow
 * (labelled: top1, agreement, sqnr; not labelled: sqnr, cosine; no output of floats: agreement of classes, of text or one number: none), and those
 * that `asked` names besides, as far as the data allows. @throws QtoolError `data` at the config's line for an unknown name or option,
 * or labels that are missing.
 */
export async function openMetrics(
  data: MetricData,
  outputs: Outputs = [],
  asked: readonly string[] = [],
): Promise<Metric[]> {
  const { labelled } = data.validation.info;
  const chosen = await chosenMetrics(data, outputs);
  const missing = [...new Set(asked)].filter((name) => !chosen.some((metric) => metric.name === name));
  const more = metricKinds.filter(({ name }) => missing.includes(name)).map((known) => known.create({}, labelled));
  return [...chosen, ...more.filter(({ needs }) => labelled || needs !== 'labels')];
}

/** Metrics by name, and some that are made already. */
type MetricData = Pick<RunData, 'folder' | 'validation' | 'modules'> & {
  readonly metrics: readonly (MetricConfig | Metric)[];
};
type Outputs = readonly Pick<ModelInput, 'type' | 'dims'>[];

async function chosenMetrics(data: MetricData, outputs: Outputs): Promise<Metric[]> {
  const { labelled } = data.validation.info;
  if (data.metrics.length === 0) {
    const compares = outputs.length === 0 || outputs.some(isFloat);
    if (labelled) return [topK(1), agreement(), ...(compares ? [sqnr()] : [])];
    if (compares) return [sqnr(), cosine()];
    // A single number of a whole batch says nothing of its samples.
    return outputs.some(({ type, dims }) => type !== 'string' && dims?.length !== 0) ? [agreement()] : [];
  }
  return Promise.all(
    data.metrics.map(async (config) => {
      const metric = 'finish' in config ? config : await openMetric(config, data);
      if (metric.needs === 'labels' && !labelled)
        throw new QtoolError('data', `metric ${metric.name} needs labels, and the validation data has none`, { at: 'at' in config ? config.at() : undefined, hint: 'Use sqnr or agreement, or give labels.' }); // prettier-ignore
      return metric;
    }),
  );
}

async function openMetric(config: MetricConfig, { folder, modules, validation }: MetricData): Promise<Metric> {
  const { name, options, at } = config;
  if (isModule(name)) return moduleMetric(config, folder, modules);
  const found = metricKinds.find((known) => known.name === name);
  if (found === undefined) {
    const names = metricKinds.map((known) => known.name);
    throw new QtoolError('data', `metric "${name}" is not known${didYouMean(name, names)}; known: ${names.join(', ')}, or the path of a module`, { at: at() }); // prettier-ignore
  }
  const result = found.options.safeParse(options);
  if (result.success) return found.create(result.data, validation.info.labelled);
  const [first] = schemaProblems(found.options, options, result.error.issues);
  const key = first?.path[0] === undefined ? undefined : String(first.path[0]);
  throw new QtoolError('data', `metric ${name}: ${key === undefined ? '' : `${key}: `}${first?.message ?? 'wrong options'}`, { at: at(key) }); // prettier-ignore
}
