import { outputError } from '../analyze/layer_error.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { notFinite } from '../graph/not_finite.ts';
import { storedTensors } from '../graph/query.ts';
import { quantizedLayers } from '../graph/quantized.ts';

/** A few names of many. */
export const firstOf = (names: readonly string[]): string =>
  `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;

/** That outputs of a model, all or these, hold what is no number, and the weight that may be why; `whose` is "the float model's". */
export function brokenText(model: Model, whose: string, outputs: readonly string[] = []): string {
  const names = outputs.length > 0 ? ` (${firstOf([...new Set(outputs)].map((name) => `"${name}"`))})` : '';
  const bad = [...storedTensors(model)]
    .map(([name, tensor]) => ({ name, why: notFinite(tensor) }))
    .find(({ why }) => why?.startsWith('holds NaN') === true);
  const cause = bad ? `its weight "${bad.name}" ${bad.why}` : 'are the data and its preprocessing right?';
  return `${whose} own outputs${names} hold NaN or infinity: nothing can be compared with them, and no gate can hold; ${cause}`;
}

/** Samples that are looked at. */
const looked = 16;

/** The same of a model that was not compared with itself yet. */
export async function brokenAlone(
  model: Model,
  whose: string,
  { calibration }: { readonly calibration: (samples: number) => AsyncIterable<Batch> },
  signal: AbortSignal,
): Promise<string[]> {
  return Number.isNaN(await outputError(model, model, () => calibration(looked), signal))
    ? [brokenText(model, whose)]
    : [];
}

/** That a model whose layers are asked what quantizing or pruning would cost is quantized itself. */
export function quantizedAlready(model: Model): string[] {
  const layers = quantizedLayers(model);
  if (layers.length === 0) return [];
  return [`the model is quantized already (${firstOf(layers)}): begin from the float model that it was made from; what is shown is beside the model as given, and of what is left in float`]; // prettier-ignore
}
