import { selectionNotes } from '../graph/selections.ts';
import { cost } from '../analyze/cost.ts';
import type { DatasetInfo, RunData } from '../data/types.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { assignNames, layerFacts, type LayerFact } from '../graph/names.ts';
import { tensorData, typeOf } from '../graph/tensor.ts';
import { harmOf, type Metric, type MetricResult } from '../metrics/metric.ts';
import { knapsack, type Choice } from '../numerics/knapsack.ts';
import type { Pass } from '../passes/pass.ts';
import { latency } from '../runtime/time.ts';
import { QtoolError } from '../util/error.ts';
import { given } from '../util/must.ts';
import { brokenAlone, quantizedAlready } from './broken.ts';
import { noStage, openInstruments, type Instruments } from './context.ts';
import type { RunEvent } from './event.ts';

/** What a target may be counted in: weights that are not zero, multiply-accumulates, bytes, milliseconds at batch 1. */
export const sensitivityUnits = ['parameters', 'macs', 'bytes', 'latency'] as const;
export type SensitivityUnit = (typeof sensitivityUnits)[number];

/** Costs of a model as shares of the whole one's. */
export type CostShares = Readonly<Record<Exclude<SensitivityUnit, 'latency'>, number>> & { readonly latency?: number };

/** One layer pruned to one sparsity, everything else whole. */
export interface SensitivityPoint {
  readonly sparsity: number;
  readonly value: number;
  /** How much worse than the whole model, in the metric's unit; as noise to signal where the metric has no bound (SQNR). */
  readonly drop: number;
  readonly costs: CostShares;
}

export interface LayerCurve {
  readonly layer: string;
  /** What `levels` of the pruner call it. */
  readonly name: string;
  readonly points: readonly SensitivityPoint[];
}

/** The shares that reach a target at the least drop the curves foretell, and what they really gave together. */
export interface SensitivitySolution {
  readonly unit: SensitivityUnit;
  readonly target: number;
  readonly levels: Readonly<Record<string, number>>;
  readonly foretold: number;
  readonly value: number;
  readonly drop: number;
  readonly costs: CostShares;
}

export interface SensitivityReport {
  readonly format: 1;
  readonly model: { readonly path: string; readonly bytes: number };
  readonly data: DatasetInfo;
  readonly class: string;
  readonly metric: { readonly name: string; readonly unit: MetricResult['unit']; readonly value: number };
  readonly curves: readonly LayerCurve[];
  readonly solution: SensitivitySolution | undefined;
  readonly notes: readonly string[];
  /** What must be known of the model before the figures are believed. */
  readonly warnings: readonly string[];
}

export interface SensitivityOptions {
  readonly model: Model;
  readonly data: RunData;
  /** The first is what curves are of. */
  readonly metrics: readonly Metric[];
  /** A pruner that takes `levels: { name: share }`. */
  readonly pass: Pass;
  /** Its class, and options besides `levels`. */
  readonly class: string;
  readonly levels: readonly number[];
  readonly layers: readonly string[];
  readonly target: { readonly unit: SensitivityUnit; readonly share: number } | undefined;
  readonly batchSize: number;
  readonly threads: number | undefined;
  readonly signal: AbortSignal;
  readonly log: (event: RunEvent) => void;
}

/**
 * Prunes each layer alone to each sparsity and measures the model; with a target, solves for the levels that meet it at the least
 * sum of drops (a multiple-choice knapsack over the curves, made monotone), applies them together and measures what they give.
 * Savings of layers that are cut together do not add up exactly: the target is tightened until the model itself meets it.
 */
export async function sensitivity(options: SensitivityOptions): Promise<SensitivityReport> {
  const { model, data, target } = options;
  const instruments = openInstruments({
    ...options,
    reference: model,
    memoryLimit: undefined,
    progress: () => undefined,
  });
  try {
    const probe = await openProbe(options, instruments);
    const base = measurable(await probe.measure(model));
    const { curves, notes } = await sweep(options, probe);
    const solution = target && (await solve(options, curves, target, probe));
    return {
      format: 1,
      model: { path: model.path ?? '', bytes: modelBytes(model) },
      data: data.validation.info,
      class: options.class,
      metric: { name: base.name, unit: base.unit, value: base.value },
      curves,
      solution,
      warnings: [
        ...quantizedAlready(model),
        ...(await brokenAlone(model, "the model\'s", instruments, options.signal)),
      ],
      notes: [...data.notes, ...selectionNotes(model), ...notes],
    };
  } finally {
    await instruments.close();
  }
}

/** What a model measures beside itself. @throws QtoolError where that is no number: no layer could be told from another. */
export function measurable(base: MetricResult): MetricResult {
  if (!Number.isNaN(base.value)) return base;
  throw new QtoolError('data', `${base.name} of the model as it is is no number: its outputs hold NaN or infinity`, {
    hint: 'give data on which they are finite, or another metric (--metric)',
  });
}

/** Applies the pruner and looks at what comes out. */
interface Probe {
  apply(levels: Readonly<Record<string, number>>): Promise<Model>;
  measure(model: Model): Promise<MetricResult>;
  costs(model: Model): Promise<CostShares>;
}

async function openProbe(options: SensitivityOptions, instruments: Instruments): Promise<Probe> {
  const { model, pass, signal, target } = options;
  const context = instruments.context(noStage());
  const counted = async (m: Model): Promise<{ parameters: number; macs: number; bytes: number }> => ({
    ...weightsOf(m),
    macs: cost(m, await context.shapes(m)).macs,
  });
  const whole = await counted(model);
  const sample = target?.unit === 'latency' ? await instruments.sample() : undefined;
  return {
    async apply(levels) {
      const parsed = pass.options.parse({ levels });
      return (await pass.apply(model, parsed, { ...context, memory: new Map() })).model;
    },
    async measure(m) {
      return (await instruments.measure(m))[0] as MetricResult;
    },
    async costs(m) {
      const now = await counted(m);
      const shares = {
        parameters: now.parameters / whole.parameters,
        macs: now.macs / whole.macs,
        bytes: now.bytes / whole.bytes,
      };
      if (!sample) return shares;
      const [one] = await latency(m, model, sample, { batches: [1], seconds: 1, signal });
      return { ...shares, latency: 1 / given(one, 'a batch size').ratio };
    },
  };
}

async function sweep(
  { model, layers, levels, signal, log }: SensitivityOptions,
  probe: Probe,
): Promise<{ readonly curves: readonly LayerCurve[]; readonly notes: readonly string[] }> {
  const chosen = chosenLayers(model, layers);
  const curves: LayerCurve[] = [];
  const notes: string[] = [];
  for (const [i, { fact, name }] of chosen.entries()) {
    log({ kind: 'phase', text: `layer ${i + 1} of ${chosen.length}: ${fact.node}` });
    const points: SensitivityPoint[] = [];
    for (const [k, sparsity] of levels.entries()) {
      signal.throwIfAborted();
      const pruned = await probe.apply({ [name]: sparsity });
      if (pruned.graph === model.graph) break;
      const metric = await probe.measure(pruned);
      points.push({ sparsity, value: metric.value, drop: harmOf(metric), costs: await probe.costs(pruned) });
      log({ kind: 'progress', done: (k + 1) / levels.length, text: `sparsity ${sparsity}` });
    }
    if (points.every(({ costs }) => costs.parameters >= 1))
      notes.push(`${fact.node}: nothing of it can be pruned alone by this class`);
    else curves.push({ layer: fact.node, name, points });
  }
  return { curves, notes };
}

/** Layers with float weights that the selectors name, with the name that a pruner's `levels` call them. */
export function chosenLayers(
  model: Model,
  selectors: readonly string[],
): { readonly fact: LayerFact; readonly name: string }[] {
  const facts = layerFacts(model);
  const { nodes } = assignNames(selectors, facts);
  const floats = new Set(model.graph.initializer.filter((t) => typeOf(t) === 'float32').map((t) => t.name));
  const found = facts.flatMap((fact) => {
    const name = fact.weights.find((weight) => floats.has(weight));
    return name !== undefined && nodes.has(fact.node) ? [{ fact, name }] : [];
  });
  if (found.length === 0)
    throw new QtoolError('usage', `no layer with float weights is named by ${selectors.join(', ')}`, {
      hint: 'qtool inspect lists the layers',
    });
  return found;
}

/** The cheapest mixture of levels that meets the target, checked on the model that they make together. */
async function solve(
  { levels, log }: SensitivityOptions,
  curves: readonly LayerCurve[],
  { unit, share }: { readonly unit: SensitivityUnit; readonly share: number },
  probe: Probe,
): Promise<SensitivitySolution> {
  const items = curves.map(({ points }) => choicesOf(points, unit));
  const all = items.reduce((sum, [whole]) => sum + (whole?.cost ?? 0), 0);
  let asked = share;
  for (let round = 0; ; round++) {
    log({ kind: 'phase', text: `choosing levels for ${(100 * asked).toFixed(1)} % of the ${unit}` });
    // Costs count what a layer could save and does not: whole = 1, so Σ must not exceed what may stay of the savings.
    const budget = asked - 1 + all;
    if (!(budget >= 0))
      throw new QtoolError(
        'usage',
        `${(100 * share).toFixed(1)} % of the ${unit} cannot be reached with these levels`,
        {
          hint: `these levels come down to ${(100 * (1 - all)).toFixed(1)} % at the best: give higher --levels, name more --layers, or take another --class`,
        },
      );
    const result = knapsack(items, budget);
    const chosen = Object.fromEntries(
      curves.flatMap(({ name }, i) => {
        const pick = result.chosen[i]!;
        return pick === 0 ? [] : [[name, levels[pick - 1]!]];
      }),
    );
    const pruned = await probe.apply(chosen);
    const costs = await probe.costs(pruned);
    const reached = costs[unit] ?? 1;
    if (reached <= share + 1e-9 || round === 5) {
      const metric = await probe.measure(pruned);
      const found = { value: metric.value, drop: harmOf(metric), costs };
      return { unit, target: share, levels: chosen, foretold: result.damage, ...found };
    }
    asked -= Math.max(reached - share, 0.002);
  }
}

/** Choice 0 leaves the layer whole; drops never fall along the curve, so that the noise of few samples is not taken for a gain. */
function choicesOf(points: readonly SensitivityPoint[], unit: SensitivityUnit): Choice[] {
  const saved = [0, ...points.map(({ costs }) => 1 - (costs[unit] ?? 1))];
  const most = Math.max(...saved);
  let worst = 0;
  return saved.map((s, i) => {
    worst = Math.max(worst, i === 0 ? 0 : (points[i - 1] as SensitivityPoint).drop);
    return { cost: most - s, damage: worst };
  });
}

/** Elements of float initializers that are not zero, and their bytes: four each and a bit for every element, where that is less than four for all. */
function weightsOf(model: Model): { readonly parameters: number; readonly bytes: number } {
  let [parameters, bytes] = [0, 0];
  for (const tensor of model.graph.initializer) {
    if (typeOf(tensor) !== 'float32') continue;
    const values = tensorData(tensor) as Float32Array;
    const kept = values.reduce((count, v) => (v === 0 ? count : count + 1), 0);
    parameters += kept;
    bytes += Math.min(4 * values.length, Math.ceil(values.length / 8) + 4 * kept);
  }
  return { parameters, bytes };
}
