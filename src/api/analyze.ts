import { analyzeSqnr } from '../analyze/sqnr/analyze.ts';
import type { Model } from '../graph/model.ts';
import { plainFloat32 } from '../passes/fold/float32_arithmetic.ts';
import { sqnrAllocator } from '../passes/allocate/sqnr.ts';
import { proposalYaml, type AnalysisReport } from '../report/analysis.ts';
import { quantizedAlready } from '../run/broken.ts';
import { noStage, openInstruments, type Instruments } from '../run/context.ts';
import { diagnose } from '../run/diagnosis.ts';
import { layerReports } from '../run/layers.ts';
import { levelWarning, optimizationLevels, saturated } from '../run/levels.ts';
import type { Diagnosis } from '../run/report.ts';
import { refusal } from '../run/trial.ts';
import { batchSizeOf, openModelData, type DataGiven, type DataOptions } from './data.ts';
import { abortable, checkCall, openModel, type ModelGiven, type Watch } from './given.ts';
import { checkedSchedule, scheduleText } from './schedule.ts';

export interface AnalyzeOptions extends DataOptions, Watch {
  readonly model: ModelGiven;
  readonly data: DataGiven;
  /** Mean bits a weight of the proposed widths; default 4. */
  readonly bits?: number | undefined;
  /** Weight scales from the extremes instead of the least squared error. */
  readonly minmax?: boolean | undefined;
}

/** Samples that errors are measured on where nothing is said: SQNR in dB settles within a few tenths. */
const defaultSamples = 128;

/**
 * Says what quantization noise does in a model, and the widths that the closed form would give its layers, as `qtool analyze` does.
 * @throws QtoolError; the signal's reason.
 */
export async function analyze(options: AnalyzeOptions): Promise<AnalysisReport> {
  checkCall('analyze', options, ['model', 'data']);
  return abortable(options.signal, async (signal) => {
    const model = plainFloat32(await openModel(options.model));
    const samples = options.samples ?? defaultSamples;
    const data = await openModelData(model, options.data, { ...options, samples });
    options.onProgress?.({ kind: 'phase', text: `analyzing ${model.path ?? 'the model'}` });
    const instruments = openInstruments({
      ...{ reference: model, data, metrics: [], signal },
      ...{ batchSize: batchSizeOf(options, data), threads: options.threads, memoryLimit: undefined },
      progress: (done, text) => options.onProgress?.({ kind: 'progress', done, text }),
    });
    try {
      const ctx = instruments.context(noStage());
      const scales = options.minmax === true ? 'minmax' : 'mse';
      const bits = options.bits ?? 4;
      const asked = sqnrAllocator.options.parse({ budget: { weights: bits }, scales, samples });
      // It refuses what has no layer to analyse, and that takes no time.
      const { plan } = await sqnrAllocator.apply(model, asked, ctx);
      const found = await analyzeSqnr(ctx, model, { samples, scales, method: 'minmax' });
      const proposal = [...(plan ?? [])].flatMap(([layer, { weights }]) =>
        weights?.kind === 'int' ? [{ layer, bits: weights.bits }] : [],
      );
      const yaml = proposalYaml(proposal, scales);
      const progress = (done: number, text: string): void => options.onProgress?.({ kind: 'progress', done, text });
      const plain = await plainDiagnosis(model, instruments, { signal, progress });
      const warnings = [...quantizedAlready(model), ...plain.warnings];
      return {
        format: 1,
        path: model.path ?? '',
        ...found,
        bits,
        proposal,
        yaml,
        ...plain,
        warnings,
        notes: data.notes,
      };
    } finally {
      await instruments.close();
    }
  });
}

/** The schedule whose result is diagnosed: what is tried first. */
const plainSchedule = 'int8';

/** What the plainest schedule would do to a model: where the error would enter, why, and what mends it. */
async function plainDiagnosis(
  model: Model,
  instruments: Instruments,
  watch: { readonly signal: AbortSignal; readonly progress: (done: number, text: string) => void },
): Promise<Pick<AnalysisReport, 'diagnosis' | 'warnings'>> {
  const text = await scheduleText(plainSchedule);
  const schedule = checkedSchedule(text, { model });
  let diagnosis: Diagnosis | undefined;
  let warning: string | undefined;
  const fails = await refusal(async () => {
    let [now, twin]: [Model, Model | undefined] = [model, undefined];
    for (const { pass, options, clock } of schedule.stages) {
      const result = await pass.apply(now, options, instruments.context({ ...noStage(), twin, clock }));
      [now, twin] = [result.model, result.twin ?? twin];
    }
    const stages = schedule.stages.map(({ index }) => index);
    const { calibration } = instruments;
    const base = twin ?? model;
    const levels = await optimizationLevels(now, base, calibration, watch.signal);
    const layers = levels && (await layerReports(now, base, calibration, watch.signal));
    warning = levels && layers && (await levelWarning(levels, layers));
    const known = levels && layers && { saturated: await saturated(levels, layers) };
    const asked = { ...watch, schedule, scheduleText: text.text, metrics: [], ...known };
    const found = await diagnose(
      { model: now, twin, measurement: undefined, stages, plan: new Map() },
      instruments,
      asked,
    );
    diagnosis = found?.diagnosis;
  });
  const warnings = warning === undefined ? [] : [`\`--schedule ${plainSchedule}\`: ${warning}`];
  return { warnings, diagnosis: fails === undefined ? diagnosis : { sentences: [`none could be made: ${fails}`] } };
}
