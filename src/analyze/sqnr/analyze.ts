import { isDepthwise } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { decibels } from '../../numerics/error.ts';
import { composeSqnr } from '../../numerics/sqnr_model.ts';
import { plannedLayers, type PlannedLayer } from '../../passes/allocate/layers.ts';
import { openProbe, type Probe } from '../../passes/allocate/probe.ts';
import { roundLayer, type RoundedLayer, type Scales } from '../../passes/allocate/rounded.ts';
import { prepare } from '../../passes/fold/prepare.ts';
import { untied } from '../../passes/quantize/tied.ts';
import type { Note, PassContext } from '../../passes/pass.ts';
import { quantizedRegion } from '../../passes/quantize/region.ts';
import { staticQuantizer } from '../../passes/quantize/static.ts';
import { openComputer } from '../../runtime/compute.ts';
import { saturates } from '../../runtime/processor.ts';
import {
  activationSources,
  analysedWidths,
  decibel,
  injected,
  outputErrors,
  weightSource,
  type Injection,
  type Rounder,
  type Source,
} from './sources.ts';

export interface AnalyzeOptions {
  readonly samples: number;
  readonly scales: Scales;
  /** Calibration method of the activations' ranges. */
  readonly method: string;
}

/** A source, and what of its noise arrives at the output. */
export interface AnalysedSource extends Source {
  /** Output noise-to-signal ratio for one of this tensor, dB: 0 in a plain chain, less where the net damps it. */
  readonly gain: number;
  /** How much the output shrinks for a noise-to-signal ratio of this tensor: errors along the signal add as amplitudes. */
  readonly shrinkage: number;
  /** What it alone leaves of the output, dB of SQNR at each of `analysedWidths`: measured SQNR − gain. */
  readonly atOutput: readonly number[];
}

/** The harmonic sum against the truth, at one choice of widths. */
export interface Composition {
  readonly weights: number;
  readonly activations: number;
  /** 1/γ_out = Σ g/γ + (Σ k/γ)² with measured gains g and shrinkages k. */
  readonly predicted: number;
  /**
   * What the errors give when they are added with their signs instead of their powers, to first order. It is near `measured`
   * and far from `predicted` where errors of several tensors point the same way.
   */
  readonly firstOrder: number;
  /** The paper's chain: all gains 1. */
  readonly chain: number;
  /** The quantized model's own output. */
  readonly measured: number;
  /** Where predicted and measured are more than 2 dB apart: which assumption does not hold. */
  readonly why?: string;
  /** And the tensors that break it, the worst first. */
  readonly broken: readonly Note[];
}

export interface SqnrAnalysis {
  readonly widths: readonly number[];
  readonly sources: readonly AnalysedSource[];
  readonly compositions: readonly Composition[];
  /** Accumulated SQNR is in the run report of a quantized model; here layers that are not quantized, with the reason. */
  readonly skipped: readonly Note[];
  readonly samples: number;
}

/** Predictions further off than this are looked into. */
const tolerance = 2;

/** Samples that gains are measured on, and what single tensors break: hundreds of models are run on them. */
const few = { gains: 32, breakers: 16 };

/** Share of every error that shows the first order: far above float32's rounding, and small enough to flip hardly a Relu. */
const small = 1 / 64;

/**
 * Widths that tensors are quantized to one at a time to measure gains: their mean evens out luck in the rounding. In a sum over
 * many tensors luck evens out by itself, and each width costs a model a tensor.
 */
function gainWidths(tensors: number): Readonly<Record<Source['kind'], readonly number[]>> {
  return tensors <= 100 ? { weights: [4, 5, 6, 7], activation: [5, 7] } : { weights: [4, 6], activation: [6] };
}

/**
 * What quantization noise does in a model: SQNR of every weight and activation tensor at every width, by statistics and measured,
 * what of it reaches the output, and whether the noises add up there (docs/passes/allocate.md has the derivation).
 */
export async function analyzeSqnr(ctx: PassContext, model: Model, o: AnalyzeOptions): Promise<SqnrAnalysis> {
  const { model: float } = untied((await prepare(model, ctx, 13)).model);
  const shapes = await ctx.shapes(float);
  const rules = { widths: [...analysedWidths], first: null, last: null, limits: {}, together: [] };
  const { layers, skipped } = plannedLayers(float, shapes, {
    ...rules,
    quantizer: 'PostTrainLinearQuantizer',
    scales: o.scales,
  });
  const region = quantizedRegion(float, shapes, () => undefined);
  const round = rounder(layers, o.scales);
  ctx.progress(0, 'statistics of activations');
  const activations = await activationSources(ctx, float, region, o);
  ctx.progress(0.05, 'errors at the layers’ own outputs');
  const own = await outputErrors(ctx, float, layers, round, o.samples);
  const probe = await openProbe(ctx, float, o.samples);
  const gainProbe = await openProbe(ctx, float, Math.min(o.samples, few.gains));
  const quick = await openProbe(ctx, float, Math.min(o.samples, few.breakers));
  const inject = (index: number, bits: number): Injection => {
    const layer = layers[index];
    if (layer) return { kind: 'weights', layer, rounded: round(layer, bits) };
    const { source, params } = activations[index - layers.length]!;
    const at = (analysedWidths as readonly number[]).indexOf(bits);
    return { kind: 'activation', value: source.name, params: params[at]! };
  };
  const plain: Source[] = [
    ...layers.map((layer) => weightSource(layer, round, own.get(layer.name) ?? [])),
    ...activations.map(({ source }) => source),
  ];
  const sources: AnalysedSource[] = [];
  for (const [i, source] of plain.entries()) {
    ctx.signal.throwIfAborted();
    ctx.progress(0.1 + (0.6 * i) / plain.length, `gain of ${source.name}`);
    const widths = gainWidths(plain.length)[source.kind];
    const found: { own: number; noise: number; along: number }[] = [];
    for (const bits of widths) {
      const own = noiseAt(source, bits);
      if (own > 0) found.push({ own, ...(await gainProbe.error(injected(float, [inject(i, bits)]))) });
    }
    const mean = (of: (entry: (typeof found)[number]) => number): number =>
      found.reduce((sum, entry) => sum + of(entry), 0) / Math.max(1, found.length);
    const shrinkage = found.length === 0 ? 0 : mean((e) => e.along) / mean((e) => e.own);
    const gain = mean((e) => Math.max(0, e.noise - e.along ** 2) / e.own);
    const atOutput = analysedWidths.map((bits) => {
      const own = noiseAt(source, bits);
      return decibel(gain * own + (shrinkage * own) ** 2);
    });
    sources.push({ ...source, gain: decibels(gain, 1), shrinkage, atOutput });
  }
  const compositions: Composition[] = [];
  const pairs = [4, 5, 6, 7, 8].flatMap((bits) => [...new Set([8, bits])].map((acts) => [bits, acts] as const));
  for (const [i, [weights, acts]] of pairs.entries()) {
    ctx.progress(0.7 + (0.3 * i) / pairs.length, `quantized to ${weights} and ${acts} bits`);
    compositions.push(
      await composition(ctx, { model, float, layers, sources, inject, probe, quick, o }, weights, acts),
    );
  }
  return { widths: analysedWidths, sources, compositions, skipped, samples: probe.samples };
}

/** Bytes of rounded weights that are kept: every width of a layer is asked for several times, and the search takes long. */
const kept = 256 * 2 ** 20;

function rounder(layers: readonly PlannedLayer[], scales: Scales): Rounder {
  const known = new Map(layers.map((layer) => [layer, new Map<number, RoundedLayer>()]));
  let left = kept;
  return (layer, bits) => {
    const found = known.get(layer)?.get(bits);
    if (found) return found;
    const rounded = roundLayer(layer, bits, scales);
    left -= rounded.data.reduce((sum, data) => sum + data.byteLength, 0);
    if (left >= 0) known.get(layer)?.set(bits, rounded);
    return rounded;
  };
}

/** Noise-to-signal ratio of a tensor at a width. */
function noiseAt({ measured }: Source, bits: number): number {
  return 10 ** (-measured[(analysedWidths as readonly number[]).indexOf(bits)]! / 10);
}

interface Bench {
  readonly model: Model;
  readonly float: Model;
  readonly layers: readonly PlannedLayer[];
  readonly sources: readonly AnalysedSource[];
  readonly inject: (index: number, bits: number) => Injection;
  readonly probe: Probe;
  /** On few samples. */
  readonly quick: Probe;
  readonly o: AnalyzeOptions;
}

async function composition(ctx: PassContext, bench: Bench, weights: number, activations: number): Promise<Composition> {
  const { model, float, sources, inject, probe, o } = bench;
  const bitsOf = (source: Source): number => (source.kind === 'weights' ? weights : activations);
  const own = (source: Source): number => noiseAt(source, bitsOf(source));
  const spread = sources.reduce((sum, source) => sum + 10 ** (source.gain / 10) * own(source), 0);
  const along = sources.reduce((sum, source) => sum + source.shrinkage * own(source), 0);
  const predicted = decibel(spread + along ** 2);
  const chain = composeSqnr(sources.map((source) => decibel(own(source))));
  const options = staticQuantizer.options.parse({
    ...{ bits_weights: weights, bits_activations: activations, weight_scales: o.scales },
    calibration: { method: o.method, samples: o.samples },
  });
  const quantized = await staticQuantizer.apply(model, options, { ...ctx, plan: new Map(), twin: undefined });
  const measured = decibel(await probe.noise(quantized.model));
  const all = sources.map((source, i) => inject(i, bitsOf(source)));
  const firstOrder = decibel((await probe.noise(injected(float, all, small))) / small ** 2);
  const found = { weights, activations, predicted, firstOrder, chain, measured };
  // Both are infinite where nothing reaches the outputs.
  if (predicted === measured || Math.abs(predicted - measured) <= tolerance) return { ...found, broken: [] };
  const plainly = measured < predicted ? await unsaturated(ctx, bench, quantized.model, weights) : undefined;
  if (plainly !== undefined)
    return { ...found, why: `this processor has no VNNI, where sums of products of 8-bit weights saturate: with onnxruntime's graph optimizations off it measures ${plainly.toFixed(1)} dB`, broken: [] }; // prettier-ignore
  const why =
    Math.abs(firstOrder - measured) <= tolerance
      ? `errors of several tensors ${predicted > measured ? 'point the same way' : 'cancel'}: added with their signs they give ${firstOrder.toFixed(1)} dB`
      : `errors are too large to add: their first order has ${firstOrder.toFixed(1)} dB, even with their signs`;
  return { ...found, why, broken: await breakers(ctx, bench, all, bitsOf, along) };
}

/** dB that a model gains without graph optimizations, where its sums saturate with them. */
const saturationCosts = 1;

/** What a model measures where its sums do not saturate, dB on few samples; undefined where they do not here either. */
async function unsaturated(
  ctx: PassContext,
  { float, quick }: Bench,
  model: Model,
  weights: number,
): Promise<number | undefined> {
  if (weights < 8 || !(await saturates())) return undefined;
  const plain = openComputer(1, { optimization: 'disabled' });
  try {
    const probe = await openProbe(
      { ...ctx, compute: (graph, feeds) => plain.compute(graph, feeds) },
      float,
      few.breakers,
    );
    const there = decibel(await probe.noise(model));
    return there > decibel(await quick.noise(model)) + saturationCosts ? there : undefined;
  } finally {
    await plain.close();
  }
}

/** Sources that are named at most, and that are looked at: those with most noise by the sum. Each costs a model. */
const named = 3;
const suspects = 24;

/**
 * What breaks the sum: for each suspect, how much the noise of the whole falls when it alone stays in float, against what the
 * sum says it adds. The largest differences are named.
 */
async function breakers(
  ctx: PassContext,
  { float, layers, sources, quick }: Bench,
  all: readonly Injection[],
  bitsOf: (source: Source) => number,
  along: number,
): Promise<Note[]> {
  const whole = await quick.noise(injected(float, all));
  const found: { name: string; difference: number; text: string }[] = [];
  const expected = sources.map((source) => {
    const own = noiseAt(source, bitsOf(source));
    return 10 ** (source.gain / 10) * own + along ** 2 - (along - source.shrinkage * own) ** 2;
  });
  const loudest = [...sources.entries()].sort(([a], [b]) => Math.abs(expected[b] ?? 0) - Math.abs(expected[a] ?? 0));
  for (const [i, source] of loudest.slice(0, suspects)) {
    ctx.signal.throwIfAborted();
    const sum = expected[i] ?? 0;
    const others = all.filter((_, k) => k !== i);
    const real = whole - (await quick.noise(injected(float, others)));
    const share = (noise: number): string => `${((100 * noise) / whole).toFixed(0)} %`;
    const text = `adds ${share(real)} of the output's noise where the sum has ${share(sum)}`;
    const layer = layers[i];
    const kind = layer && isDepthwise(layer.weights[0]?.weight) ? `depthwise ${source.kind}` : source.kind;
    found.push({ name: `${source.name} (${kind})`, difference: Math.abs(real - sum), text });
  }
  return found
    .sort((a, b) => b.difference - a.difference)
    .slice(0, named)
    .map(({ name, text }) => ({ layer: name, text }));
}
