import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { floatData, makeTensor } from '../../graph/tensor.ts';
import type { NumberFormat } from '../../numerics/format.ts';
import { dequantize, quantize } from '../../numerics/quantize.ts';
import { formatCodes } from '../../numerics/formats/apply.ts';
import type { BoundFormat } from '../../numerics/formats/format.ts';
import { given } from '../../util/must.ts';
import { breathing, type Steps } from '../../util/steps.ts';
import { hasMoments, layerMoments, tooWide, type Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';
import { meanError, polish, roundingProblem, toCodes } from '../recover/rounding_problem.ts';
import type { QuantizedLayer } from '../recover/sites.ts';
import { roundFormat } from '../quantize/format_rounding.ts';
import { weightRows } from '../quantize/format_weights.ts';
import { siteMoments, type SiteMoments } from '../quantize/weight_moments.ts';
import { plannedFormat, type PlannedLayer } from './layers.ts';
import { roundingParams, roundLayer, type RoundedLayer, type Scales } from './rounded.ts';

/** Rounds layers the way the stages after the allocator will. */
export type Rounder = (layer: PlannedLayer, bits: number) => Promise<RoundedLayer>;

/** AdaRound's default pull towards the float weights. */
const damping = 0.01;

/**
 * `nearest` rounds weights by themselves. `descent` is what AdaRound's coordinate descent makes of a layer alone on calibration
 * data, mean error into the bias; the second moments of one layer's input are held at a time, so layers should be asked for one
 * after another. Layers whose moments are not known are rounded to nearest.
 */
export function rounderFor(
  ctx: PassContext,
  float: Model,
  o: { readonly scales: Scales; readonly rounding: 'nearest' | 'descent'; readonly samples: number },
): Rounder {
  if (o.rounding === 'nearest') return (layer, bits) => Promise.resolve(roundLayer(layer, bits, o.scales));
  const near = nearbyFormats(ctx, float, o.samples);
  let held: { readonly layer: PlannedLayer; readonly moments: Moments[] } | undefined;
  return async (layer, bits) => {
    const plain = roundLayer(layer, bits, o.scales);
    const planned = plannedFormat(layer, bits);
    if (planned.kind === 'format') return { ...plain, ...(await near(layer, planned.format)) };
    const linears = layer.weights.map(({ node, weight: { dims } }) => ({ node, dims }));
    if (!linears.every(hasMoments)) return plain;
    const wide = linears.map(tooWide).find((why) => why !== undefined);
    if (wide !== undefined) return { ...plain, remark: `rounded to nearest: ${wide}` };
    if (held?.layer !== layer) {
      const requests = layer.weights.map(({ node, weight }) => ({
        node,
        dims: weight.dims,
        weights: floatData(weight.tensor),
        input: node.input[0] as string,
      }));
      held = { layer, moments: await layerMoments(ctx, float, requests, { samples: o.samples }) };
    }
    const { moments } = held;
    const biases = new Map<string, Float32Array>();
    const data: Float32Array[] = [];
    for (const [i, weight] of layer.weights.entries()) {
      const steps = descended(weight, planned, o.scales, given(moments[i], layer.name), biases);
      data.push(await breathing(steps, { signal: ctx.signal }));
    }
    return { ...plain, data, biases };
  };
}

/** FormatQuantizer's descent in place of AdaRound's. */
function nearbyFormats(ctx: PassContext, float: Model, samples: number) {
  let held: { readonly layer: PlannedLayer; readonly found: SiteMoments[] } | undefined;
  return async (layer: PlannedLayer, format: BoundFormat): Promise<Pick<RoundedLayer, 'data' | 'remark'>> => {
    if (held?.layer !== layer) {
      const found: SiteMoments[] = [];
      for await (const one of siteMoments(ctx, float, layer.weights, samples)) found.push(one);
      held = { layer, found };
    }
    const { found } = held;
    const data: Float32Array[] = [];
    for (const site of layer.weights) {
      const rows = weightRows(site);
      const at = site.weight.tensor.name;
      const codes = formatCodes(format, rows, { at });
      const { moments, most } = found.find((one) => one.site === site) ?? {};
      const rounding = { rounding: 'descent', damping, order: 'activation', refit: false } as const;
      const best = moments ? (await roundFormat(codes, rows, { moments, most }, rounding, ctx, at)).codes : codes;
      data.push(site.weight.fromRows(best.values));
    }
    const why = found.find(({ moments }) => !moments)?.why;
    return { data, ...(why === undefined ? {} : { remark: `rounded to nearest: ${why}` }) };
  };
}

/** One weight rounded by coordinate descent on the error of the layer's output. */
function* descended(
  planned: Layer,
  format: NumberFormat,
  scales: Scales,
  moments: Moments,
  biases: Map<string, Float32Array>,
): Steps<Float32Array> {
  const { node, name, bias, weight } = planned;
  const { dims } = weight;
  const data = floatData(weight.tensor);
  const params = roundingParams(weight, format, scales);
  const codes = quantize(data, dims, params);
  const layer: QuantizedLayer = {
    ...{ name, node, twin: node, dims, weights: data, bias: undefined },
    ...{ codes: makeTensor('codes', 'int8', dims, codes), scale: params.scale, zeroPoint: params.zeroPoint },
    ...{ scaleName: 'scale', rescalable: false },
  };
  const problem = yield* roundingProblem(layer, moments, bias !== undefined, damping);
  const best = problem.nearest;
  yield* polish(problem, best);
  if (bias) {
    const error = meanError(layer, moments, best);
    biases.set(
      bias.name,
      floatData(bias).map((b, c) => b + (error[c] ?? 0)),
    );
  }
  return dequantize(Int8Array.from(toCodes(layer, best)), dims, params);
}
