import { layerErrors, layerPairs } from '../analyze/layer_error.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { saturates } from '../runtime/processor.ts';
import { dB } from './culprit.ts';
import type { LayerReport } from './report.ts';
import { refusal } from './trial.ts';

/** dB that figures on different samples may differ by. */
const allowed = 6;

/** Above so many dB no difference is worth a word. */
const negligible = 40;

/** Samples and layers that are looked at once more. */
const [samples, suspects] = [16, 3];

interface Found {
  readonly layer: string;
  readonly sqnr: number;
  readonly own: number;
}

/** Layers that are far worse than their own and their inherited error make together: by what fusing, or the rounding of their outputs, adds. */
export function unexplained(layers: readonly LayerReport[]): Found[] {
  return layers.flatMap(({ layer, sqnr, own, inherited, kernel }) => {
    if (sqnr === undefined || own === undefined || inherited === undefined || kernel !== 'integer') return [];
    const sum = -10 * Math.log10(10 ** (-own / 10) + 10 ** (-inherited / 10));
    return sqnr < Math.min(sum, negligible) - allowed ? [{ layer, sqnr, own }] : [];
  });
}

/**
 * Says of the first layer that is far worse as it runs than with graph optimizations off what its own error does not hold: that is measured on layers
 * that stand apart. Undefined where there is none.
 */
export async function fusedText(
  layers: readonly LayerReport[],
  float: Model,
  model: Model,
  batches: (samples: number) => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = unexplained(layers).slice(0, suspects);
  const pairs = layerPairs(float, model).filter(({ layer }) => found.some((one) => one.layer === layer));
  const plain = new Map<string, number>();
  await refusal(async () => {
    const errors = await layerErrors(float, model, pairs, () => batches(samples), { signal, optimization: 'disabled' });
    for (const { layer, sqnr } of errors) plain.set(layer, sqnr);
  });
  const first = found.find(({ layer, sqnr }) => (plain.get(layer) ?? sqnr) > sqnr + allowed);
  if (!first) return undefined;
  const why = (await saturates()) ? 'integer kernels saturate on this processor' : 'onnxruntime computes it otherwise';
  return `the output of ${first.layer} is at ${dB(first.sqnr)} as it runs, and at ${dB(plain.get(first.layer) ?? NaN)} with graph optimizations off: its own error (${dB(first.own)}) is measured on the layer apart, and fused ${why}`; // prettier-ignore
}

/** Sentences with this one behind the first, which says where the error enters. */
export const withFused = (sentences: readonly string[], text: string | undefined): readonly string[] =>
  text === undefined ? sentences : [...sentences.slice(0, 1), text, ...sentences.slice(1)];
