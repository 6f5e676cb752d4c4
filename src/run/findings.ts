import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import type { Instruments } from './context.ts';
import { layerReports } from './layers.ts';
import { levelWarning, optimizationLevels } from './levels.ts';
import type { LayerReport, Levels, RunReport } from './report.ts';
import type { State } from './stage.ts';

/** What is found out about the model that a run ends with. */
export interface Findings {
  readonly layers: readonly LayerReport[];
  readonly levels: Levels | undefined;
  readonly warnings: readonly string[];
}

interface Asked {
  /** The float model. */
  readonly model: Model;
  readonly measure: boolean;
  readonly signal: AbortSignal;
}

/** Looks at the model that a run ends with; only at its size where nothing is measured, and after Ctrl-C. */
export async function findingsOf(
  { model, twin, stages }: State,
  status: RunReport['result']['status'],
  { calibration }: Instruments,
  { model: float, measure, signal }: Asked,
): Promise<Findings> {
  const base = twin ?? float;
  let [layers, levels, differ]: [readonly LayerReport[], Levels | undefined, string | undefined] = [
    [],
    undefined,
    undefined,
  ];
  if (measure && status !== 'cancelled')
    try {
      layers = await layerReports(model, base, calibration, signal);
      if (stages.length > 0) levels = await optimizationLevels(model, base, calibration, signal);
      differ = levels && (await levelWarning(levels, layers));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  const grown = modelBytes(model) / modelBytes(float);
  const warnings = [
    ...(differ === undefined ? [] : [differ]),
    ...(grown > 1 ? [`the file grew: it has ${(100 * grown).toFixed(1)} % of the float model's bytes`] : []),
    ...(stages.length === 0 && status === 'finished' ? ['no stage was kept: the result is the float model'] : []),
  ];
  return { layers, levels, warnings };
}
