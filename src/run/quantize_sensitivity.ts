import { selectionNotes } from '../graph/selections.ts';
import { activationSources, analysedWidths, injected, type Injection } from '../analyze/sqnr/sources.ts';
import type { DatasetInfo } from '../data/types.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { harmOf, type MetricResult } from '../metrics/metric.ts';
import type { PlannedLayer } from '../passes/allocate/layers.ts';
import { prepareGround, type Ground } from '../passes/allocate/plan.ts';
import { roundLayer, type Scales } from '../passes/allocate/rounded.ts';
import { sensitivityAllocator } from '../passes/allocate/sensitivity.ts';
import { packedBytes } from '../passes/allocate/spend.ts';
import type { PassContext } from '../passes/pass.ts';
import { quantizedRegion } from '../passes/quantize/region.ts';
import { staticQuantizer } from '../passes/quantize/static.ts';
import { given } from '../util/must.ts';
import { brokenAlone, quantizedAlready } from './broken.ts';
import { noStage, openInstruments } from './context.ts';
import { chosenLayers, measurable, type SensitivityOptions } from './sensitivity.ts';

/** One tensor in one width, everything else in float. */
export interface WidthPoint {
  readonly bits: number;
  readonly value: number;
  /** How much worse than the float model, in the metric's unit; as noise to signal where the metric has no bound (SQNR). */
  readonly drop: number;
  /** Bytes of the weights in that width; of an activation nothing is stored. */
  readonly bytes?: number;
}

export interface WidthCurve {
  readonly kind: 'weights' | 'activation';
  /** The layer of the weights, or the value: what overrides of a schedule call them. */
  readonly name: string;
  readonly points: readonly WidthPoint[];
}

export interface QuantizeSensitivityReport {
  readonly format: 1;
  readonly model: { readonly path: string; readonly bytes: number };
  readonly data: DatasetInfo;
  /** The quantizer whose tensors and ranges these are. */
  readonly class: string;
  readonly widths: readonly number[];
  readonly metric: { readonly name: string; readonly unit: MetricResult['unit']; readonly value: number };
  readonly tensors: readonly WidthCurve[];
  readonly notes: readonly string[];
  /** What must be known of the model before the figures are believed. */
  readonly warnings: readonly string[];
}

export type QuantizeSensitivityOptions = Omit<SensitivityOptions, 'pass' | 'class' | 'levels' | 'target'> & {
  /** Whole numbers of bits, 2 to 8. */
  readonly widths: readonly number[];
};

/** Widths that may be tried: those that both weights and activations of the quantizer have. */
export const triedWidths: readonly number[] = analysedWidths.filter((bits) => bits <= 8);

/**
 * Quantizes the weights of each layer alone, and each activation alone, to each width and measures the model in float arithmetic:
 * what a quantizer does to all of them at once, one at a time. Weights have a scale of least squared error for each output channel,
 * as the allocators round them; activations their range on the calibration samples.
 */
export async function quantizeSensitivity(options: QuantizeSensitivityOptions): Promise<QuantizeSensitivityReport> {
  const { model, data, widths, signal, log } = options;
  const instruments = openInstruments({
    ...{ ...options, reference: model, memoryLimit: undefined },
    progress: () => undefined,
  });
  const measured = async (one: Model): Promise<MetricResult> =>
    given((await instruments.measure(one))[0], 'the metric');
  try {
    const base = measurable(await measured(model));
    const context = instruments.context(noStage());
    const asked = sensitivityAllocator.options.parse({ budget: { weights: 8 }, widths: [...widths] });
    const ground = await prepareGround(model, asked, context);
    const tensors = await candidates(ground, options, asked.scales, context);
    const curves: WidthCurve[] = [];
    for (const [i, { kind, name, at }] of tensors.entries()) {
      log({ kind: 'phase', text: `tensor ${i + 1} of ${tensors.length}: ${kind} ${name}` });
      const points: WidthPoint[] = [];
      for (const [k, bits] of widths.entries()) {
        signal.throwIfAborted();
        const found = at(bits);
        if (found === undefined) continue;
        const metric = await measured(injected(ground.float, [found.injection]));
        points.push({ bits, value: metric.value, drop: harmOf(metric), ...found.cost });
        log({ kind: 'progress', done: (k + 1) / widths.length, text: `${bits} bits` });
      }
      curves.push({ kind, name, points });
    }
    return {
      format: 1,
      model: { path: model.path ?? '', bytes: modelBytes(model) },
      data: data.validation.info,
      class: given(staticQuantizer.classes[0], 'a class'),
      widths,
      metric: { name: base.name, unit: base.unit, value: base.value },
      tensors: curves,
      warnings: [...quantizedAlready(model), ...(await brokenAlone(model, "the model\'s", instruments, signal))],
      notes: [...data.notes, ...selectionNotes(model), ...ground.skipped.map(({ layer, text }) => `${layer}: ${text}`)],
    };
  } finally {
    await instruments.close();
  }
}

/** A tensor that is tried, and what it is in a width: undefined where it may not have it. */
interface Candidate extends Pick<WidthCurve, 'kind' | 'name'> {
  readonly at: (
    bits: number,
  ) => { readonly injection: Injection; readonly cost: { readonly bytes?: number } } | undefined;
}

/** Weights in the order of the graph, then activations: all, or those that the chosen layers read. */
async function candidates(
  { float, layers }: Ground,
  { layers: selectors, data }: QuantizeSensitivityOptions,
  scales: Scales,
  context: PassContext,
): Promise<Candidate[]> {
  const nodes = new Set(chosenLayers(float, selectors).map(({ fact }) => fact.node));
  const chosen = layers.filter((layer) => layer.nodes.some((name) => nodes.has(name)));
  const { calibration } = staticQuantizer.options.parse({});
  const region = quantizedRegion(float, await context.shapes(float), () => undefined);
  const read = new Set(chosen.flatMap((layer) => layer.weights.flatMap(({ node }) => node.input.map((value) => region.values.get(value)?.root)))); // prettier-ignore
  const all = selectors.includes('*');
  const samples = Math.min(calibration.samples, data.calibration.info.samples);
  const activations = await activationSources(context, float, region, { samples, method: calibration.method });
  return [
    ...chosen.map((layer: PlannedLayer): Candidate => ({
      ...{ kind: 'weights', name: layer.name },
      at: (bits) =>
        layer.widths.includes(bits)
          ? {
              injection: { kind: 'weights', layer, rounded: roundLayer(layer, bits, scales) },
              cost: { bytes: packedBytes(layer, bits) },
            }
          : undefined,
    })),
    ...activations
      .filter(({ source }) => all || read.has(source.name))
      .map(({ source: { name }, params }): Candidate => ({
        ...{ kind: 'activation', name },
        at: (bits) => {
          const own = params[(analysedWidths as readonly number[]).indexOf(bits)];
          return own && { injection: { kind: 'activation', value: name, params: own }, cost: {} };
        },
      })),
  ];
}
