import { makeNode, makeValue } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { NodeCodec } from '../../graph/proto.ts';
import { floatData, makeTensor } from '../../graph/tensor.ts';
import { chooseParams, type AffineFormat } from '../../numerics/affine.ts';
import { calibrators, observerOf } from '../../numerics/calibrators.ts';
import { decibels } from '../../numerics/error.ts';
import { sealed } from '../../numerics/fold.ts';
import { histogram, type Histogram } from '../../numerics/histogram.ts';
import { expectedSqnr } from '../../numerics/mse.ts';
import { modelSqnr, type Model as Distribution } from '../../numerics/optimal_steps.ts';
import { closestModel, fitSlope } from '../../numerics/sqnr_model.ts';
import type { PlannedLayer } from '../../passes/allocate/layers.ts';
import type { RoundedLayer } from '../../passes/allocate/rounded.ts';
import type { PassContext } from '../../passes/pass.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { addParams, quantizeValue } from '../../passes/quantize/qdq.ts';
import type { Region } from '../../passes/quantize/region.ts';
import { given, must } from '../../util/must.ts';

/** The widths that are looked at. */
export const analysedWidths = [2, 3, 4, 5, 6, 7, 8, 16] as const;

/** A tensor whose quantization adds noise: the weights of a layer, or an activation. */
export interface Source {
  readonly kind: 'weights' | 'activation';
  /** The layer's name, or the value's. */
  readonly name: string;
  readonly elements: number;
  /** The distribution whose mean deviation is nearest to the tensor's. */
  readonly closest: Distribution;
  /** SQNR in dB at each of `analysedWidths` by each model with the tensor's own mean and deviation, and measured. */
  readonly modelled: Readonly<Record<Distribution, readonly number[]>>;
  readonly measured: readonly number[];
  /** κ in dB a bit, fitted to the measured SQNRs at 2 to 8 bits. */
  readonly slope: number;
  /** Only weights: the error at the layer's own output, dB at each width, everything else in float. */
  readonly output?: readonly number[];
}

/** A layer's weights as a width leaves them. */
export type Rounder = (layer: PlannedLayer, bits: number) => RoundedLayer;

/** How a source is put into the float model. */
export type Injection =
  | { readonly kind: 'weights'; readonly layer: PlannedLayer; readonly rounded: RoundedLayer }
  | { readonly kind: 'activation'; readonly value: string; readonly params: QuantParams };

/**
 * The float model with these tensors quantized, in float arithmetic: any subset of what a quantizer does at once. With a
 * `share` below 1 each tensor gets only that share of its error: a small one shows what the errors do to first order.
 */
export function injected(float: Model, injections: readonly Injection[], share = 1): Model {
  const fed = new Set(float.graph.input.map((input) => input.name));
  // An input that is an output too has no producer whose value could be rounded: it goes out as it came in.
  const outputs = new Set(float.graph.output.map((output) => output.name).filter((name) => !fed.has(name)));
  return edit(float, (draft) => {
    for (const injection of injections) {
      if (injection.kind === 'activation') {
        const { value, params } = injection;
        const names = addParams(draft, value, [], params);
        const made = quantizeValue(draft, { value, params: names, reads: () => true, isOutput: outputs.has(value) });
        if (share < 1) dampen(draft, value, made, share);
        continue;
      }
      injection.layer.weights.forEach(({ weight: { tensor, dims } }, i) => {
        const rounded = injection.rounded.data[i]!;
        const data = share < 1 ? floatData(tensor).map((w, k) => w + share * ((rounded[k] ?? w) - w)) : rounded;
        draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dims, data));
      });
    }
  });
}

/** Leaves a share of the error that QuantizeLinear and DequantizeLinear give a value: v + share · (v̂ − v). */
function dampen(
  draft: Draft,
  value: string,
  { source, restore }: ReturnType<typeof quantizeValue>,
  share: number,
): void {
  const [restored = ''] = restore.output;
  const fresh = (what: string): string => draft.freshName(`${value}_${what}`);
  const [whole, error, part] = [fresh('whole'), fresh('error'), fresh('part')];
  const factor = draft.add(`${value}_share`, makeTensor('share', 'float32', [], Float32Array.of(share)));
  draft.update(restore, { output: [whole] });
  draft.addNode(makeNode('Sub', [whole, source], [error]));
  draft.addNode(makeNode('Mul', [error, factor], [part]));
  draft.addNode(makeNode('Add', [source, part], [restored]));
}

const distributions: readonly Distribution[] = ['gauss', 'laplace', 'uniform'];

/** What a model of zero mean and unit variance gives, for a tensor of this mean square: the mean carries signal, no noise. */
function modelled(meanSquare: number, variance: number): Readonly<Record<Distribution, readonly number[]>> {
  const carried = decibels(meanSquare, Math.max(0, variance));
  const row = (model: Distribution): number[] => analysedWidths.map((bits) => modelSqnr(model, bits) + carried);
  return Object.fromEntries(distributions.map((model) => [model, row(model)])) as Record<Distribution, number[]>;
}

const fitted = (measured: readonly number[]): number =>
  fitSlope([2, 3, 4, 5, 6, 7, 8], measured.slice(0, 7))?.slope ?? 0;

/** Statistics and SQNRs of a layer's weights. */
export function weightSource(layer: PlannedLayer, round: Rounder, output: readonly number[]): Source {
  let [count, sum, squares, absolute] = [0, 0, 0, 0];
  for (const { weight } of layer.weights)
    for (const w of floatData(weight.tensor)) {
      count++;
      sum += w;
      squares += w * w;
      absolute += Math.abs(w);
    }
  const variance = squares / count - (sum / count) ** 2;
  const measured = analysedWidths.map((bits) => decibel(round(layer, bits).noise));
  return {
    ...{ kind: 'weights', name: layer.name, elements: count, measured, output, slope: fitted(measured) },
    closest: closestModel(absolute / count, Math.sqrt(variance)),
    modelled: modelled(squares / count, variance),
  };
}

/** Statistics, SQNRs and the quantizer at each width of every activation, from one pass over the data. */
export async function activationSources(
  ctx: PassContext,
  float: Model,
  region: Region,
  options: { readonly samples: number; readonly method: string },
): Promise<{ readonly source: Source; readonly params: readonly QuantParams[] }[]> {
  const roots = [...new Set([...region.values.values()].map((value) => value.root))];
  const asked = calibrators.find((c) => c.name === options.method);
  const calibrator = given(asked, `the calibrator ${options.method}`);
  const [kind = 'histogram'] = calibrator.statistics;
  const wanted = new Map(
    roots.map((value) => [value, [sealed(histogram({}, value)), observerOf(kind, {}, value)]] as const),
  );
  const found = await ctx.collect<unknown>(float, wanted, options.samples);
  return roots.map((value) => {
    const [h, statistic] = must(found, value, 'the statistics of') as [Histogram, never];
    const clip = region.values.get(value)?.clip;
    const params: QuantParams[] = [];
    const measured = analysedWidths.map((bits) => {
      const format: AffineFormat = { kind: 'int', bits, signed: false, symmetric: false };
      const range = calibrator.range(statistic, format);
      const high = Math.min(range.max, clip?.max ?? Infinity);
      const low = Math.min(high, Math.max(range.min, clip?.min ?? -Infinity));
      const { scale, zeroPoint } = chooseParams(low, high, format, value);
      params.push({
        ...{ format, granularity: { per: 'tensor' } },
        ...{ scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zeroPoint) },
      });
      return expectedSqnr(h, low, high, format);
    });
    const [mean, square] = [h.sum / h.count, h.sumSquares / h.count];
    const variance = Math.max(0, square - mean * mean);
    const source: Source = {
      ...{ kind: 'activation', name: value, elements: h.count, measured, slope: fitted(measured) },
      closest: closestModel(meanDeviation(h, mean), Math.sqrt(variance)),
      modelled: modelled(square, variance),
    };
    return { source, params };
  });
}

/** E|x − mean|, from the bins. */
function meanDeviation(h: Histogram, mean: number): number {
  let sum = 0;
  h.counts.forEach((n, i) => (sum += n * Math.abs((h.first + i + 0.5) * h.width - mean)));
  return sum / Math.max(1, h.count);
}

export const decibel = (noise: number): number => (noise > 0 ? decibels(1, noise) : Infinity);

/**
 * Each layer's own error at its own output, at every width: Σ(ΔW·x)² / Σy² on the float model's inputs. One graph a width holds
 * the error products of all layers and returns two sums a layer, so memory does not grow with the model's activations.
 * @returns layer → dB at each of `analysedWidths`.
 */
export async function outputErrors(
  ctx: PassContext,
  float: Model,
  layers: readonly PlannedLayer[],
  round: Rounder,
  samples: number,
): Promise<Map<string, number[]>> {
  const result = new Map(layers.map((layer) => [layer.name, [] as number[]]));
  for (const bits of analysedWidths) {
    const energies = new Map<string, { readonly noise: string; readonly signal: string }>();
    const probe = edit(float, (draft) => {
      for (const layer of layers) {
        const rounded = round(layer, bits);
        const [first] = layer.weights;
        if (!first) continue;
        const { tensor, dims } = first.weight;
        const { node } = first;
        const own = floatData(tensor);
        const error = own.map((w, k) => w - (rounded.data[0]?.[k] ?? w));
        const noise = draft.add('noise', makeTensor('noise', 'float32', dims, error));
        const name = draft.freshName('error');
        draft.addNode(NodeCodec.amend(node, { name, input: [node.input[0] ?? '', noise], output: [name] }));
        const energyOf = (value: string): string => {
          const energy = draft.freshName(`${value}_energy`);
          draft.addNode(makeNode('ReduceSumSquare', [value], [energy], { keepdims: 0 }));
          draft.addOutput(makeValue(energy, 'float32', []));
          return energy;
        };
        // Both are taken before a Relu behind the layer.
        energies.set(layer.name, { noise: energyOf(name), signal: energyOf(node.output[0] ?? '') });
      }
    });
    const sums = new Map<string, number>();
    const names = [...energies.values()].flatMap(({ noise, signal }) => [noise, signal]);
    for await (const values of ctx.capture(probe, names, samples))
      for (const name of names) {
        const [sum] = values[name]!.data as Float32Array;
        sums.set(name, (sums.get(name) ?? 0) + (sum ?? 0));
      }
    for (const { name } of layers) {
      const of = energies.get(name);
      const [noise, signal] = of ? [sums.get(of.noise) ?? 0, sums.get(of.signal) ?? 0] : [0, 0];
      result.get(name)?.push(decibel(signal > 0 ? noise / signal : 0));
    }
  }
  return result;
}
