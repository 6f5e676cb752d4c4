import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { sqnr } from '../metrics/sqnr.ts';
import { keepReferences, measure } from '../runtime/measure.ts';
import { saturates } from '../runtime/processor.ts';
import { QtoolError } from '../util/error.ts';
import type { LayerReport, Levels } from './report.ts';

/** A few samples tell a wrong graph from a right one. */
const levelSamples = 8;

/** Runs a model at both levels. Undefined where it has no outputs of floats, or does not run at one of them. */
export async function optimizationLevels(
  model: Model,
  float: Model,
  batches: (samples: number) => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<Levels | undefined> {
  const at = async (optimization: 'disabled' | 'all') =>
    (await measure(model, float, batches(levelSamples), [sqnr()], { optimization, signal }))[0];
  try {
    const [disabled, all] = [await at('disabled'), await at('all')];
    return disabled && all && { samples: all.samples, disabled: disabled.value, all: all.value };
  } catch (error) {
    if (error instanceof QtoolError && error.code !== 'cancelled') return undefined;
    throw error;
  }
}

/** A layer as far as its kernel may be why levels differ. */
type Run = Pick<LayerReport, 'kernel' | 'why'>;

/** dB that the levels may differ by, and above which no difference is worth a word: rounding of float alone makes some there. */
const [allowed, negligible] = [1, 50];

/** Whether the optimized model is worse because sums of 8-bit products saturate in its kernels. */
export async function saturated({ disabled, all }: Levels, layers: readonly Run[]): Promise<boolean> {
  const integer = layers.some((layer) => layer.kernel === 'integer' && !unpacks(layer));
  return all < Math.min(disabled, negligible) - allowed && integer && (await saturates());
}

const unpacks = ({ why }: Run): boolean => why.includes('MatMulNBits');

/** Says that a model is another one when it is optimized, and why as far as that is known; undefined where it is not. */
export async function levelWarning(levels: Levels, layers: readonly Run[]): Promise<string | undefined> {
  const { disabled, all, samples } = levels;
  const [low, high] = [Math.min(disabled, all), Math.max(disabled, all)];
  // NaN at one level only is a difference as well.
  if (Number.isNaN(low) ? Number.isNaN(disabled) === Number.isNaN(all) : high - low <= allowed || low >= negligible)
    return undefined;
  return `the outputs have an SQNR of ${dB(all)} as onnxruntime runs the model, but of ${dB(disabled)} with its graph optimizations off (${samples} samples): ${await causeOf(levels, layers)}`;
}

const dB = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(1)} dB` : String(value));

async function causeOf(levels: Levels, layers: readonly Run[]): Promise<string> {
  return (await saturated(levels, layers))
    ? 'this processor has no VNNI, where sums of 8-bit products saturate: quantize with --target auto'
    : layers.some(unpacks)
      ? 'MatMulNBits, which onnxruntime runs there, rounds activations to 8 bits'
      : 'onnxruntime makes another model of it: look at the layers of lowest SQNR';
}

/**
 * Says that a model is another one when it is optimized, measured against nothing but itself; undefined where it is not, or that cannot be told.
 * @param layers as onnxruntime runs them, asked for where there is something to say
 */
export async function selfWarning(
  name: string,
  model: Model,
  layers: () => Promise<readonly Run[]>,
  batches: (samples: number) => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const references = keepReferences(Infinity);
  const at = async (optimization: 'disabled' | 'all', reference: Model) =>
    (await measure(model, reference, batches(levelSamples), [sqnr()], { optimization, signal, references }))[0];
  try {
    await at('disabled', model);
    // Another object, or it would be taken for its own reference; its outputs are known by now.
    const own = await at('all', { ...model });
    if (own === undefined || own.value >= negligible) return undefined;
    const cause = await causeOf({ samples: own.samples, disabled: Infinity, all: own.value }, await layers());
    return `${name} is another model as onnxruntime runs it: its outputs have an SQNR of ${dB(own.value)} against its own with graph optimizations off (${own.samples} samples): ${cause}`;
  } catch (error) {
    if (error instanceof QtoolError && error.code !== 'cancelled') return undefined;
    throw error;
  }
}
