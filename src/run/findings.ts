import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import type { Metric } from '../metrics/metric.ts';
import type { Schedule } from '../schedule/types.ts';
import type { Instruments } from './context.ts';
import { diagnose } from './diagnosis.ts';
import { fusedText, withFused } from './fused.ts';
import { layerReports, withOwnErrors } from './layers.ts';
import { levelWarning, optimizationLevels, saturated } from './levels.ts';
import type { Diagnosis, LayerReport, Levels, Measurement, RunReport, StageReport } from './report.ts';
import { refusal } from './trial.ts';
import { alreadyQuantized, brokenOutputs, figureWarnings } from './verdict.ts';
import { undoneQuantizer, type State } from './stage.ts';

/** What is found out about the model that a run ends with. */
export interface Findings {
  readonly layers: readonly LayerReport[];
  readonly levels: Levels | undefined;
  readonly diagnosis: Diagnosis | undefined;
  readonly warnings: readonly string[];
}

interface Asked {
  /** The float model. */
  readonly model: Model;
  readonly measure: boolean;
  readonly schedule: Schedule;
  readonly scheduleText: string;
  readonly mendedCommand?: string | undefined;
  readonly baseline: Measurement;
  readonly reports: readonly StageReport[];
  readonly metrics: readonly Metric[];
  readonly signal: AbortSignal;
  readonly progress: (done: number, text: string) => void;
}

/** Looks at the model that a run ends with; only at its size where nothing is measured, and after Ctrl-C. */
export async function findingsOf(
  state: State,
  status: RunReport['result']['status'],
  instruments: Instruments,
  asked: Asked,
): Promise<Findings> {
  const { model, twin, stages, held } = state;
  const { calibration } = instruments;
  const { model: float, measure, signal } = asked;
  const base = twin ?? float;
  let [layers, levels, differ]: [readonly LayerReport[], Levels | undefined, string | undefined] = [
    [],
    undefined,
    undefined,
  ];
  let diagnosis: Diagnosis | undefined;
  if (measure && status !== 'cancelled')
    try {
      layers = await layerReports(model, base, calibration, signal, held);
      if (stages.length > 0) levels = await optimizationLevels(model, base, calibration, signal);
      differ = levels && (await levelWarning(levels, layers));
      let found: Awaited<ReturnType<typeof diagnose>>;
      // A diagnosis that cannot be made is no reason to lose the result.
      const known = levels && { saturated: await saturated(levels, layers) };
      const fails = await refusal(
        async () => void (found = await diagnose(state, instruments, { ...asked, ...known })),
      );
      diagnosis = fails === undefined ? found?.diagnosis : { sentences: [`none could be made: ${fails}`] };
      layers = withOwnErrors(layers, found?.errors ?? []);
      const fused = await fusedText(layers, base, model, calibration, signal);
      if (fused !== undefined) diagnosis = { ...diagnosis, sentences: withFused(diagnosis?.sentences ?? [], fused) };
    } catch (error) {
      if (!signal.aborted) throw error;
      diagnosis = { sentences: ['none: interrupted before it was made'] };
    }
  const grown = modelBytes(model) / modelBytes(float);
  const { baseline, reports, metrics } = asked;
  const result = state.measurement ?? baseline;
  const undone = undoneQuantizer(reports, asked.schedule.stages);
  const broken = measure ? brokenOutputs(float, baseline, metrics) : undefined;
  const warnings = [
    ...alreadyQuantized(float, asked.schedule.stages),
    ...(broken === undefined ? [] : [broken]),
    ...(undone === undefined || broken !== undefined
      ? []
      : [undoneText(undone, stages.length > 0, status, asked.schedule)]),
    ...(asked.schedule.warnings ?? []),
    ...(measure ? figureWarnings({ float, metrics, baseline, result, stages: reports, kept: stages }) : []),
    ...(differ === undefined ? [] : [differ]),
    ...(grown > 1 ? [`the file grew: it has ${(100 * grown).toFixed(1)} % of the float model's bytes`] : []),
    ...(stages.length === 0 && status === 'finished' && undone === undefined
      ? ['no stage was kept: the result is the float model']
      : []),
  ];
  return { layers, levels, diagnosis, warnings };
}

/** That nothing is quantized, and what may mend that. */
function undoneText(
  { index, instance, why, verdict }: StageReport,
  others: boolean,
  status: RunReport['result']['status'],
  schedule: Schedule,
): string {
  const nothing = status === 'finished' ? 'the result is the float model' : 'no model is written';
  const what = others ? 'the result computes in float, with what the other stages did to it' : nothing;
  const { options } = schedule.stages.find((stage) => stage.index === index) ?? {};
  const eight = (options as { readonly bits_weights?: unknown } | undefined)?.bits_weights === 8;
  return `the quantizer (${index} ${instance}) was ${verdict === 'stopped' ? 'refused' : 'undone'}, so ${what}: ${why}; give the stages before it less to lose, its gate more room or the quantizer a fallback${eight ? ', or take int8-accurate' : ''}`;
}
