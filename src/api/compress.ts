import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Target } from '../autodiff/rule.ts';
import type { RunData } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { Metric } from '../metrics/metric.ts';
import { inFloat32 } from '../passes/fold/float32_arithmetic.ts';
import type { Pass } from '../passes/pass.ts';
import { htmlReport } from '../report/html.ts';
import type { RunReport } from '../run/report.ts';
import { checkRunFolder } from '../run/output.ts';
import { run, type RunOptions } from '../run/run.ts';
import type { Schedule } from '../schedule/types.ts';
import { QtoolError } from '../util/error.ts';
import {
  batchSizeOf,
  metricsFor,
  modulesOf,
  openModelData,
  type DataGiven,
  type DataOptions,
  type MetricGiven,
} from './data.ts';
import { abortable, checkCall, openModel, type ModelGiven, type Watch } from './given.ts';
import { modulePasses } from './modules.ts';
import { checkedSchedule, scheduleText, type ScheduleGiven } from './schedule.ts';
import { findTarget } from './target.ts';

/** What is compressed, by what, and on which data. */
export interface PrepareOptions extends DataOptions, Watch {
  readonly model: ModelGiven;
  readonly schedule: ScheduleGiven;
  readonly data: DataGiven;
  /** What is measured, in place of what the data's config says. What a gate asks for is measured too. */
  readonly metrics?: readonly MetricGiven[] | undefined;
  /** Passes of one's own: a schedule names them by their classes. */
  readonly passes?: readonly Pass[] | undefined;
  /** Holds options within what a processor can do: the name or path of a target, or `auto`. */
  readonly target?: string | undefined;
}

export interface CompressOptions extends PrepareOptions {
  /** The folder for model.onnx, report.json and report.html; without it nothing is left on disk. */
  readonly output?: string | undefined;
  /** Replaces what an earlier run left in the folder. */
  readonly force?: boolean | undefined;
  /** Goes on with a run that trains and was cut off in the output folder, from its last finished epoch and to the same bits. */
  readonly resume?: boolean | undefined;
  /** `false`: nothing is measured, and gates are not judged. Default true. */
  readonly measure?: boolean | undefined;
  /** `false`: no latency is measured. Default true. */
  readonly latency?: boolean | undefined;
  /** Measures the result under gzip and brotli however large it is. Default: up to 64 MB. */
  readonly gzip?: boolean | undefined;
  /** `false`: no statistics are kept in the output folder, and none are taken from there. Default true. */
  readonly cache?: boolean | undefined;
  /** What steps of training run on: `webgpu`, where there is an adapter, else the CPU with a note. All else runs on the CPU. Default `cpu`. */
  readonly device?: Target | undefined;
  /** Bytes that one run of a model may return while statistics are collected. */
  readonly memoryLimit?: number | undefined;
}

/** A compressed model as the bytes of its .onnx file. Its report has no path. */
export interface Compressed {
  readonly model: Uint8Array;
  readonly report: RunReport;
}

/** A compressed model in the output folder. */
export interface CompressedFile {
  readonly path: string;
  readonly report: RunReport;
}

/** A run of which everything has been checked that can be before it starts. */
export interface Prepared {
  readonly model: Model;
  /** The file as it is: the model computes in float32 what that computes in 16 bits. */
  readonly file: Model;
  readonly schedule: Schedule;
  readonly scheduleText: string;
  readonly data: RunData;
  readonly metrics: readonly Metric[];
}

/** Opens and checks all that a run is made of; nothing is written. @param dry no module is run. @throws QtoolError for whatever is wrong. */
export async function prepare(options: PrepareOptions, dry = false): Promise<Prepared> {
  const text = await scheduleText(options.schedule);
  const modules = modulesOf(options, dry);
  const passes = [...(options.passes ?? []), ...(await modulePasses(text, modules))];
  const target = await findTarget(options.target);
  const file = await openModel(options.model);
  const model = inFloat32(file);
  // What a gate asks for is measured, whether the data's config names it or not.
  const { stages } = checkedSchedule(text, { passes });
  const trains = stages.some(({ epoch, pass }) => epoch !== undefined || pass.trains === true);
  const data = await openModelData(model, options.data, options, 'both', modules, trains);
  const gates = stages
    .flatMap(({ gate, fallback }) => [gate, gate?.unlabelled, fallback])
    .flatMap((limit) => limit?.metric ?? []);
  const metrics = await metricsFor(model, data, options.metrics, gates);
  const schedule = checkedSchedule(text, { model, metrics, training: data.training !== undefined, target, passes });
  const made = target === undefined ? '' : `# made with --target ${options.target}\n`;
  return { model, file, schedule, scheduleText: made + text.text, data, metrics };
}

/** The options of the run itself. */
export function runOptions(
  prepared: Prepared,
  options: CompressOptions,
  outDir: string,
  signal: AbortSignal,
): RunOptions {
  return {
    ...prepared,
    outDir,
    force: options.force === true,
    resume: options.resume === true,
    measure: options.measure !== false,
    latency: options.latency !== false,
    gzip: options.gzip,
    cache: options.cache !== false,
    batchSize: batchSizeOf(options, prepared.data),
    threads: options.threads,
    device: options.device,
    memoryLimit: options.memoryLimit,
    signal,
    log: (event) => options.onProgress?.(event),
    render: (finished) => ({ html: htmlReport(finished) }),
  };
}

/**
 * Compresses a model by a schedule, as `qtool quantize` does. With `output` the folder gets the model and its reports, without it the model
 * comes as bytes.
 * @throws QtoolError for whatever is wrong with what is given; `gate` where a gate stopped the run before it had made anything.
 * The signal's reason once it is aborted: a folder then keeps the best model so far.
 */
export function compress(options: CompressOptions & { readonly output: string }): Promise<CompressedFile>;
export function compress(options: CompressOptions & { readonly output?: undefined }): Promise<Compressed>;
export async function compress(options: CompressOptions): Promise<Compressed | CompressedFile> {
  checkCall('compress', options, ['model', 'schedule', 'data']);
  if (options.device !== undefined && !['cpu', 'webgpu'].includes(options.device))
    throw new QtoolError('usage', 'compress: "device" must be "cpu" or "webgpu"');
  return abortable(options.signal, async (signal) => {
    if (options.output !== undefined) await checkRunFolder(options.output, options.force === true, options.resume);
    const prepared = await prepare(options);
    if (options.output !== undefined) {
      const report = await run(runOptions(prepared, options, options.output, signal));
      return { path: resultPath(report, signal), report };
    }
    const folder = await mkdtemp(join(tmpdir(), 'qtool-'));
    try {
      const report = await run(runOptions(prepared, { ...options, cache: false, force: true }, folder, signal));
      const model = await bytesOf(resultPath(report, signal));
      return { model, report: { ...report, result: { ...report.result, path: undefined } } };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

/** Where the model is. @throws the signal's reason, or QtoolError('gate') where there is none. */
function resultPath({ result, stages }: RunReport, signal: AbortSignal): string {
  signal.throwIfAborted();
  if (result.path !== undefined) return result.path;
  const last = stages.at(-1);
  throw new QtoolError('gate', `stopped before any stage was kept: ${last?.why ?? 'no stage ran'}`, { at: last?.at });
}

async function bytesOf(path: string): Promise<Uint8Array> {
  if (await stat(`${path}.data`).catch(() => undefined))
    throw new QtoolError('usage', 'the compressed model is over 1 GiB: it does not fit into one array of bytes', {
      hint: 'give an output folder',
    });
  return readFile(path);
}
