import { intAttribute } from '../graph/attribute.ts';
import type { Model } from '../graph/model.ts';
import { layerName } from '../graph/query.ts';
import type { Latency } from '../runtime/time.ts';
import type { LayerCoverage } from './coverage.ts';

type Covered = Pick<LayerCoverage, 'layer' | 'op' | 'why'> & { readonly kernel: LayerCoverage['kernel'] | 'unknown' };

/**
 * Below this the quickest quarter of the pairs says nothing: two sessions of the very same model come out up to 2 % apart, as their
 * memory lies otherwise.
 */
export const sure = 1.02;

/** A run shorter than this is mostly what onnxruntime spends on any call, in ms. */
const mostlyOverhead = 0.1;

/**
 * Says where a model is not surely faster than float, and why as far as its layers tell; nothing where it is faster at every
 * batch size.
 *
 * @param layers what coverage() found of this model; empty: no reason can be given.
 */
export function slowRemark(
  latency: readonly Latency[],
  layers: readonly Covered[],
  model: Model,
  other = 'float',
): string | undefined {
  const slow = latency.filter((one) => one.ratioLow < sure);
  if (slow.length === 0) return undefined;
  const times = (ratio: number): string => `${ratio.toFixed(2)}×`;
  const found = (list: readonly Latency[]): string =>
    list
      .map((one) => `${times(one.ratio)} (${times(one.ratioLow)} to ${times(one.ratioHigh)}) at batch ${one.batch}`)
      .join(', ');
  const slower = slow.filter((one) => one.ratioHigh < 1);
  const equal = slow.filter((one) => one.ratioHigh >= 1);
  const verdicts = [
    ...(slower.length > 0 ? [`slower than ${other}: ${found(slower)}`] : []),
    ...(equal.length > 0 ? [`not surely faster than ${other}: ${found(equal)}`] : []),
  ];
  const reasons = slowReasons(slow, layers, model);
  const why = reasons.length > 0 ? `because ${reasons.join('; ')}` : unknownReason(layers);
  return `the model is ${verdicts.join('; ')}; ${why}`;
}

function slowReasons(latency: readonly Latency[], layers: readonly Covered[], model: Model): string[] {
  if (layers.length === 0) return [];
  const integer = layers.filter((layer) => layer.kernel === 'integer');
  const float = layers.filter((layer) => layer.kernel === 'float');
  const grouped = new Set(model.graph.node.filter((node) => intAttribute(node, 'group', 1) > 1).map(layerName));
  const convolutions = integer.filter(({ op, layer }) => op === 'Conv' && grouped.has(layer));
  const packed = integer.filter(({ why }) => why.includes('MatMulNBits'));
  const short = latency.filter((one) => one.floatMilliseconds < mostlyOverhead);
  const all = integer.length + float.length;
  const reasons = [
    float.length > 0 && `${float.length} of ${all} layers run in float (${whysOf(float)})`,
    convolutions.length > 0 &&
      `${convolutions.length} of ${all} layers are depthwise or grouped convolutions, whose integer kernel takes longer than the float one: they are bound by memory`,
    packed.length > 0 &&
      `${packed.length} of ${all} layers run as MatMulNBits, which unpacks its weights at every run: that pays where reading them is what takes the time`,
    short[0] !== undefined &&
      `the float model takes ${short[0].floatMilliseconds.toPrecision(2)} ms a run, most of it spent on any call`,
  ];
  return reasons.filter((reason) => reason !== false);
}

/** The two most frequent reasons with how many layers they are of, and how many layers have others. */
function whysOf(layers: readonly Covered[]): string {
  const counts = new Map<string, number>();
  for (const { why } of layers) counts.set(why, (counts.get(why) ?? 0) + 1);
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const rest = sorted.slice(2).reduce((sum, [, count]) => sum + count, 0);
  const named = sorted.slice(0, 2).map(([why, count]) => (sorted.length === 1 ? why : `${count}: ${why}`));
  return [...named, ...(rest > 0 ? [`${rest}: other reasons`] : [])].join('; ');
}

function unknownReason(layers: readonly Covered[]): string {
  return layers.length === 0
    ? 'without measuring layers the reason is not known'
    : 'every layer runs in integer, so it is the conversions between them, or layers too small to gain';
}
