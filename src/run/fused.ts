import { dB } from './culprit.ts';
import type { LayerReport } from './report.ts';

/** dB that a layer may be below what its own and its inherited error make together: they are measured on fewer samples. */
const allowed = 6;

/** Above so many dB no difference is worth a word. */
const negligible = 40;

/**
 * Says of the first layer that is far worse than its own and its inherited error make together what neither holds: they are taken of layers that
 * stand apart, and onnxruntime runs them fused, where sums may saturate. Undefined where there is none.
 */
export function fusedText(layers: readonly LayerReport[], saturating: boolean): string | undefined {
  const found = layers.flatMap((layer) => {
    const { sqnr, own, inherited, kernel } = layer;
    if (sqnr === undefined || own === undefined || inherited === undefined || kernel !== 'integer') return [];
    const sum = -10 * Math.log10(10 ** (-own / 10) + 10 ** (-inherited / 10));
    return sqnr < Math.min(sum, negligible) - allowed ? [{ ...layer, sqnr, sum }] : [];
  })[0];
  if (!found) return undefined;
  const why = saturating ? 'integer kernels saturate on this processor' : 'the kernel that onnxruntime fuses it into computes otherwise'; // prettier-ignore
  return `the output of ${found.layer} is at ${dB(found.sqnr)}, though its own error and what it inherits make only ${dB(found.sum)}: own errors are measured on layers that stand apart, and fused as it runs ${why}`; // prettier-ignore
}

/** Sentences with this one behind the first, which says where the error enters. */
export const withFused = (sentences: readonly string[], text: string | undefined): readonly string[] =>
  text === undefined ? sentences : [...sentences.slice(0, 1), text, ...sentences.slice(1)];
