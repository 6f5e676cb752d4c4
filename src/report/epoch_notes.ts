import type { TrainedEpoch } from '../passes/pass.ts';
import type { RunReport, StageReport } from '../run/report.ts';
import { runs } from './format.ts';

/** What epochs of training say: what many of them say stands once. */

export type EpochReport = StageReport & { readonly trained: TrainedEpoch };

export const epochsOf = ({ stages }: RunReport): EpochReport[] =>
  stages.filter((stage): stage is EpochReport => stage.trained !== undefined);

/** `epoch 3`, `epochs 0–9`. */
const epochsName = (epochs: readonly number[]): string => `epoch${epochs.length === 1 ? '' : 's'} ${runs(epochs)}`;

/**
 * Notes of all epochs, those that differ in their numbers alone as one: `epochs 0–9: ramp: sparsity 0.05 at epoch 0 … ramp: sparsity 0.90 at
 * epoch 9`.
 */
export function epochNotes(report: RunReport): string[] {
  const groups = new Map<string, { epochs: number[]; texts: string[] }>();
  for (const { trained, notes } of epochsOf(report))
    for (const text of new Set(notes)) {
      const form = text.replace(/\d+(\.\d+)?(e[-+]?\d+)?/g, '#');
      const group = groups.get(form) ?? { epochs: [], texts: [] };
      groups.set(form, { epochs: [...group.epochs, trained.epoch], texts: [...group.texts, text] });
    }
  return [...groups.values()].map(({ epochs, texts }) => {
    const [first, last] = [texts[0], texts.at(-1)];
    return `${epochsName([...new Set(epochs)])}: ${first}${first === last ? '' : ` … ${last}`}`;
  });
}

/** What stages left alone: those that left the same alone stand together, by their names. */
export function leftAlone(
  report: RunReport,
): readonly { readonly name: string; readonly skipped: StageReport['skipped'] }[] {
  const groups = new Map<string, StageReport[]>();
  for (const stage of report.stages) {
    if (stage.skipped.length === 0) continue;
    const key = stage.trained ? JSON.stringify(stage.skipped) : String(stage.index);
    groups.set(key, [...(groups.get(key) ?? []), stage]);
  }
  return [...groups.values()].map((stages) => ({
    name: `${runs(stages.map(({ index }) => index))} ${stages[0]!.instance}`,
    skipped: stages[0]!.skipped,
  }));
}
