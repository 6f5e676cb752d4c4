import { selectionNotes } from '../graph/selections.ts';
import { cpus } from 'node:os';
import { basename, join } from 'node:path';
import type { Target } from '../autodiff/rule.ts';
import { withDecodedWeights } from '../analyze/decoded.ts';
import { slowRemark } from '../analyze/speed.ts';
import { zeroShare } from '../analyze/zero_share.ts';
import type { RunData } from '../data/types.ts';
import { checkModel } from '../graph/check.ts';
import { modelBytes, modelHash } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { quantizedLayers } from '../graph/quantized.ts';
import { opset } from '../graph/query.ts';
import { dimsOf, elementCount } from '../graph/tensor.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import type { SensitivityMap } from '../passes/pass.ts';
import { checkLesson } from '../passes/train/check.ts';
import type { EpochPlan } from '../passes/train/plan.ts';
import { onnxruntimeVersion } from '../runtime/onnxruntime.ts';
import { limitProblem } from '../schedule/language.ts';
import type { Schedule } from '../schedule/types.ts';
import { QtoolError } from '../util/error.ts';
import { jsonText } from '../util/json.ts';
import { version } from '../util/version.ts';
import { factsOf, machineName, readCheckpoint, withFloat, writeCheckpoint, type Checkpoint } from './checkpoint.ts';
import { firstOf } from './broken.ts';
import { openInstruments } from './context.ts';
import { deviceFor } from './device.ts';
import type { RunEvent } from './event.ts';
import { findingsOf, type Findings } from './findings.ts';
import { halfFindings, type HalfFindings } from './half.ts';
import { checkRunFolder, checkSourceStays, openRunFolder, statisticsFolder } from './output.ts';
import type { Measurement, RunReport, StageReport } from './report.ts';
import { compressedSizes } from './size.ts';
import { statisticsStore } from './statistics.ts';
import { leftOut, runStage, safeState, type Memories, type State } from './stage.ts';
import { checkLoads } from './trial.ts';
import { timeLeft } from './time_left.ts';
import { unjudged, wasGated } from './verdict.ts';

export interface RunOptions {
  readonly model: Model;
  /** The file as it is, where the model computes in float32 what that computes in 16 bits; default: the model. */
  readonly file?: Model | undefined;
  readonly schedule: Schedule;
  /** The schedule as text, written into the run folder. */
  readonly scheduleText: string;
  readonly data: RunData;
  readonly metrics: readonly Metric[];
  readonly outDir: string;
  readonly force: boolean;
  /** Goes on with the run that was cut off in the folder, to the same bits. */
  readonly resume?: boolean | undefined;
  /** Without it nothing is measured: passes are applied, gates cannot be judged. */
  readonly measure: boolean;
  readonly latency: boolean;
  /** Measures the result under gzip and brotli however large it is; default: up to 64 MB. */
  readonly gzip?: boolean | undefined;
  /** Whether statistics in the run folder may be used and are kept there; default true. */
  readonly cache?: boolean;
  readonly batchSize: number;
  readonly threads?: number | undefined;
  /** What steps of training are to run on, if it is there; default: the CPU. */
  readonly device?: Target | undefined;
  readonly memoryLimit?: number | undefined;
  readonly signal: AbortSignal;
  readonly log: (event: RunEvent) => void;
  /** The command line, for the report. */
  readonly command?: string | undefined;
  /** The same for the schedule that the diagnosis mends. */
  readonly mendedCommand?: string | undefined;
  /** Renders the report for the run folder; given by what stands above. */
  render?(report: RunReport): { readonly html: string };
}

/** Bytes up to which a result is measured under gzip and brotli without being asked. */
const gzipLimit = 2 ** 26;

/**
 * Compresses a model by a schedule: float baseline first, then for each stage apply → load → measure → gate → checkpoint. The
 * best model so far is always in the run folder, under the result's name once the run is over. Ctrl-C (`signal`) ends the run with
 * what was reached; an error leaves that under its other name, and a report of status `failed`.
 * @throws QtoolError before any work for a model that onnxruntime does not load, a gate on a metric that is not measured, and
 * an output folder in use.
 */
export async function run(options: RunOptions): Promise<RunReport> {
  const began = Date.now();
  const { model, file = model, schedule, data, log, signal } = options;
  checkModel(model);
  await checkLoads(model);
  const bytes = modelBytes(file);
  checkGates(options);
  const lesson = schedule.stages.find(({ epoch }) => epoch);
  if (lesson) await checkLesson(model, lesson.options as EpochPlan);
  await checkRunFolder(options.outDir, options.force, options.resume);
  await checkSourceStays(options.outDir, model.path);
  const { device, note } = await deviceFor(options.device ?? 'cpu', schedule, signal);
  if (note !== undefined) log({ kind: 'note', text: note });
  // Files are looked at for it, which only what may be gone on with is worth.
  const facts = lesson ? await factsOf({ ...options, device }, lesson.options as EpochPlan) : {};
  const point = options.resume === true ? await readCheckpoint(options.outDir, facts) : undefined;
  const told: string[] = note === undefined ? [] : [note];
  const statistics = statisticsStore(join(options.outDir, statisticsFolder), (text) => {
    told.push(text);
    say({ kind: 'note', text });
  });
  const instruments = openInstruments({
    ...options,
    device,
    statistics: options.cache === false ? undefined : statistics,
    reference: model,
    progress: (done, text) => log({ kind: 'progress', done, text, left: left.at(done, text === 'measuring') }),
  });
  const left = timeLeft(point?.reports.flatMap(({ trained, seconds }) => (trained ? [seconds] : [])));
  const reports: StageReport[] = [...(point?.reports ?? [])];
  let state: State = { model, plan: new Map(), twin: undefined, held: new Map(), measurement: undefined, stages: [] };
  let sensitivity: SensitivityMap | undefined;
  let half: HalfFindings | undefined;
  let baseline: Measurement = { metrics: [], bytes, zeros: zeroShare(await withDecodedWeights(model)), latency: [] };
  try {
    log({ kind: 'phase', text: 'float baseline' });
    if (options.measure) baseline = { ...baseline, metrics: await instruments.measure(model) };
    checkGates(options, baseline.metrics);
    half = await halfFindings(file, model, options.measure ? instruments.calibration : undefined, signal);
    if (half) told.push(half.note);
    if (point) told.push(resumedText(point, baseline, schedule.stages.length));
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  if (point) ({ baseline } = point);
  // Only now is all validation data known to be good: bad data leaves no folder behind, and no earlier results are lost.
  const folder = await openRunFolder(options.outDir, options.force, options.resume);
  const record = (event: RunEvent): void => {
    if (event.kind !== 'progress') void folder.log(`${new Date().toISOString()} ${jsonText(event, 0).trimEnd()}`);
  };
  const say = (event: RunEvent): void => {
    log(event);
    record(event);
  };
  if (note !== undefined) record({ kind: 'note', text: note });
  const started = point?.started ?? began;
  const worked = (): number => (point?.seconds ?? 0) + (Date.now() - began) / 1000;
  const report = async (
    status: RunReport['result']['status'],
    { layers = [], levels, diagnosis, warnings }: Partial<Findings> & Pick<Findings, 'warnings'>,
  ): Promise<RunReport> => {
    const measurement = state.measurement ?? baseline;
    const idle = nothingChanged(model, reports);
    const slow = idle.length > 0 ? undefined : slowRemark(measurement.latency, layers, state.model);
    // The float model alone is no result of a run that did not come to its end.
    const any = state.stages.length > 0 || status === 'finished';
    const path = status === 'failed' ? folder.partialPath : folder.modelPath;
    return {
      format: 1,
      tool: {
        qtool: version,
        onnxruntime: await onnxruntimeVersion(),
        node: process.version,
        platform: `${process.platform} ${process.arch}`,
        cpu: cpus()[0]?.model.trim() ?? 'unknown',
      },
      started: new Date(started).toISOString(),
      seconds: worked(),
      command: options.command,
      model: {
        path: model.path ?? '',
        bytes,
        sha256: modelHash(file),
        opset: opset(model),
        parameters: parameters(model),
      },
      schedule: options.scheduleText,
      data: { calibration: data.calibration.info, validation: data.validation.info, notes: data.notes },
      baseline,
      stages: reports,
      planned: schedule.stages.length,
      layers,
      diagnosis,
      sensitivity,
      result: {
        path: any ? path : undefined,
        sha256: any ? modelHash(state.model, basename(path)) : undefined,
        measurement,
        levels,
        ...(any
          ? await compressedSizes(folder.partialPath, options.gzip === true ? Infinity : gzipLimit)
          : { gzip: 0, brotli: 0 }),
        stages: state.stages,
        gated: wasGated(reports, state.stages),
        unjudged: unjudged(reports),
        status,
      },
      warnings: [...warnings, ...(half?.warning === undefined ? [] : [half.warning])],
      notes: [
        ...idle,
        ...(slow === undefined ? [] : [slow]),
        ...schedule.waiting.map((w) => `${w.name} (${w.at}) waits for training: ${w.reason}`),
        ...schedule.notes,
        ...selectionNotes(options.model),
        ...told,
      ],
    };
  };
  const write = async (finished: RunReport): Promise<void> => {
    await folder.write('report.json', jsonText(finished));
    if (finished.diagnosis?.schedule !== undefined) await folder.write('mended.yaml', finished.diagnosis.schedule);
    if (options.render) await folder.write('report.html', options.render(finished).html);
  };
  let status: RunReport['result']['status'] = 'finished';
  // What an end that is none says of the checkpoint that is left; empty where there is none.
  let resumable = point ? `; --resume goes on behind stage ${reports.length}` : '';
  let lacking = false;
  try {
    await folder.write('schedule.yaml', options.scheduleText);
    state = (point && withFloat(point.state, model)) ?? { ...state, measurement: baseline };
    say({ kind: 'baseline', measurement: baseline });
    if (point) {
      say({ kind: 'note', text: told.at(-1) ?? '' });
      const { model: safe, stages } = safeState(state);
      if (stages.length > 0) await folder.keep(safe);
    }
    const memories: Memories = point?.memories ?? new Map<string, Map<string, unknown>>();
    try {
      signal.throwIfAborted();
      for (const stage of schedule.stages.slice(reports.length)) {
        signal.throwIfAborted();
        say({ kind: 'phase', text: `stage ${stage.index} of ${schedule.stages.length}: ${stage.pass.name}` });
        left.begin(stage.epoch && schedule.stages.filter(({ epoch, index }) => epoch && index > stage.index).length);
        const idle = leftOut(stage, state, reports, schedule.stages);
        const outcome = idle ? { report: idle, state, sensitivity: undefined } : await runStage(stage, state, instruments, { ...options, baseline, say: (text) => say({ kind: 'note', text }) }, memories); // prettier-ignore
        reports.push(outcome.report);
        left.end(outcome.report.seconds);
        sensitivity = outcome.sensitivity ?? sensitivity;
        say({ kind: 'stage', report: outcome.report });
        if (outcome.state !== state) {
          state = outcome.state;
          if (state.safe === undefined) await folder.keep(state.model);
        }
        if (outcome.report.verdict === 'stopped') {
          status = 'stopped';
          break;
        }
        if (stage.epoch && !lacking) {
          const made = {
            facts,
            machine: machineName(),
            started,
            seconds: worked(),
            baseline,
            reports,
            state,
            memories,
          };
          const why = await writeCheckpoint(options.outDir, made);
          if (why === undefined) resumable = `; --resume goes on behind stage ${stage.index}`;
          else say({ kind: 'note', text: `no checkpoint: ${why}` });
          lacking = why !== undefined;
        }
      }
      // No quantizer came to carry the plan out: what the model itself gives is another thing.
      if (state.previewed === true && state.measurement && options.measure) {
        const metrics = await instruments.measure(state.model);
        state = { ...state, measurement: { ...state.measurement, metrics } };
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      status = 'cancelled';
      state = safeState(state);
      const kept = state.stages.length > 0;
      say({
        kind: 'note',
        text: `cancelled: ${kept ? 'the best model so far is kept' : 'no stage was kept yet'}${resumable}`,
      });
    }
    say({ kind: 'phase', text: 'report' });
    const findings = await findingsOf(state, status, instruments, {
      ...options,
      baseline,
      reports,
      progress: (done, text) => say({ kind: 'progress', done, text }),
    });
    // What nothing was done to is left as it came.
    if (state.stages.length === 0) state = { ...state, model: file };
    if (status === 'finished' && state.stages.length === 0) await folder.keep(state.model);
    const finished = await report(status, findings);
    await write(finished);
    if (finished.result.path !== undefined) await folder.finish(state.model);
    if (status !== 'cancelled') await folder.forget();
    return finished;
  } catch (error) {
    // What is on disk is the last model that held.
    state = safeState(state);
    if (state.stages.length === 0 && resumable === '') {
      await statistics.discard();
      await folder.discard();
    } else {
      const made = `What ${state.stages.length === 1 ? 'stage' : 'stages'} ${state.stages.join(', ')} made is kept as ${folder.partialPath}; it is no result`;
      const kept = state.stages.length > 0 ? made : 'No stage was kept yet';
      const text = `failed: ${error instanceof Error ? error.message : String(error)}. ${kept}${resumable}`;
      say({ kind: 'note', text });
      // What went wrong is what has to be told: not that the report of it could not be written either.
      await report('failed', { warnings: [text] })
        .then(write)
        .catch(() => undefined);
    }
    throw error;
  } finally {
    await folder.release().catch(() => undefined);
    await instruments.close();
  }
}

/**
 * What is said of a run that goes on.
 * @throws QtoolError('usage') where the float model now gives other figures, and no other processor is why: data are not what they were.
 */
function resumedText({ reports, machine, baseline: was }: Checkpoint, baseline: Measurement, stages: number): string {
  const text = `resumed behind stage ${reports.length} of ${stages}`;
  const other = machine !== machineName();
  if (!other && jsonText(was.metrics) !== jsonText(baseline.metrics))
    throw new QtoolError('usage', 'the float model gives other figures than in the run that was cut off here: its data are not the same', { hint: 'leave out --resume and give --force: the run then begins anew' }); // prettier-ignore
  return other ? `${text}, on another processor (before: ${machine}): not to the same bits` : text;
}

/**
 * Checks gates and fallbacks against what will be measured, before anything runs, and against what the float model reached, before
 * any stage does. @throws QtoolError naming the policy.
 */
function checkGates({ schedule, metrics, measure }: RunOptions, baseline?: readonly MetricResult[]): void {
  if (!measure) return;
  for (const { gate, fallback, at } of schedule.stages)
    for (const [what, limit] of Object.entries({ gate, fallback })) {
      if (!limit) continue;
      const metric = metrics.find(({ name }) => name === limit.metric);
      if (!metric)
        throw new QtoolError('schedule', `the ${what}'s metric "${limit.metric}" is not measured on this data`, {
          at,
          hint: `measured are: ${metrics.map((m) => m.name).join(', ') || 'none'}`,
        });
      const known = baseline?.find(({ name }) => name === limit.metric);
      const facts = known ?? (metric.perfect === undefined ? undefined : { reference: metric.perfect });
      const problem = facts && limitProblem(limit, facts);
      if (problem !== undefined) throw new QtoolError('schedule', `${what}: ${problem}`, { at });
    }
}

/** That no stage changed anything, and what is quantized already. */
function nothingChanged(model: Model, reports: readonly StageReport[]): string[] {
  if (reports.length === 0 || reports.some(({ verdict, changed }) => verdict !== 'kept' || changed.length > 0))
    return [];
  const quantized = quantizedLayers(model);
  const already = quantized.length > 0 ? `; already quantized: ${firstOf(quantized)}` : '';
  return [`there is nothing to compress: no stage found a layer that it could change${already}`];
}

/** Elements of all initializers of floating-point type. */
function parameters(model: Model): number {
  const floats = new Set([1, 10, 11, 16]);
  return model.graph.initializer.reduce((sum, t) => sum + (floats.has(t.data_type) ? elementCount(dimsOf(t)) : 0), 0);
}
