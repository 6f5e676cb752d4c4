import type { DatasetInfo, RunData } from '../data/types.ts';
import { modelBytes } from '../graph/file.ts';
import { layers as layersOf } from '../graph/layer.ts';
import { layerFacts, resolveNames, suggestSelector } from '../graph/names.ts';
import type { Model } from '../graph/model.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import type { BoundFormat } from '../numerics/formats/format.ts';
import { encoder } from '../passes/encode/encode.ts';
import { formatQuantizer, type FormatOptions } from '../passes/quantize/to_format.ts';
import { QtoolError } from '../util/error.ts';
import { brokenAlone, quantizedAlready } from './broken.ts';
import { noStage, openInstruments } from './context.ts';
import type { RunEvent } from './event.ts';
import { refusal } from './trial.ts';

/** What one simulation holds the model in; null: float. */
export interface Candidate {
  readonly weights: BoundFormat | null;
  readonly activations: BoundFormat | null;
}

/** One simulation. */
export interface SimulatedRow {
  /** Formats as they can be written again, or `float`. */
  readonly weights: string;
  readonly activations: string;
  /** Bits of a weight's code. */
  readonly bits: number;
  /** Bytes of the model with its weights stored in the format and packed; activations cost nothing in a file. */
  readonly bytes: number;
  readonly metrics: readonly MetricResult[];
}

export interface SimulateReport {
  readonly format: 1;
  readonly model: { readonly path: string; readonly bytes: number };
  readonly data: DatasetInfo;
  /** Layers with weights: all of the model, and those that are held in the formats of a row. */
  readonly layers: { readonly all: number; readonly held: number };
  /** The float model first, then what was asked, in that order. */
  readonly rows: readonly SimulatedRow[];
  readonly notes: readonly string[];
  /** What must be known of the model before the figures are believed. */
  readonly warnings: readonly string[];
}

export interface SimulateOptions extends Pick<FormatOptions, 'importance' | 'sharing'> {
  readonly model: Model;
  readonly data: RunData;
  readonly metrics: readonly Metric[];
  readonly batchSize: number;
  readonly threads?: number | undefined;
  readonly candidates: readonly Candidate[];
  /** Patterns of the layers that are held so; `*`: all. */
  readonly layers: readonly string[];
  readonly signal: AbortSignal;
  readonly log: (event: RunEvent) => void;
}

/** Calibration samples of activations and importance. */
const samples = 256;

/**
 * Holds the weights and inputs of layers in number formats, one candidate after the other, and measures each in onnxruntime beside the float
 * model: what a device with those formats would give.
 * @throws QtoolError `usage` for a pattern that matches no layer.
 */
export async function simulate(o: SimulateOptions): Promise<SimulateReport> {
  const { model, data, candidates, signal, log } = o;
  const named = namedLayers(model, o.layers);
  const instruments = openInstruments({
    ...{ reference: model, data, metrics: o.metrics, batchSize: o.batchSize, threads: o.threads, signal },
    progress: (done, text) => log({ kind: 'progress', done, text }),
  });
  try {
    log({ kind: 'phase', text: 'float model' });
    const bytes = modelBytes(model);
    const float = {
      weights: 'float',
      activations: 'float',
      bits: 32,
      bytes,
      metrics: await instruments.measure(model),
    };
    const rows: SimulatedRow[] = [float];
    const left = new Set<string>();
    const notes = new Set<string>(data.notes);
    for (const [i, candidate] of candidates.entries()) {
      signal.throwIfAborted();
      const { weights, activations } = candidate;
      const row = {
        weights: weights?.label ?? 'float',
        activations: activations?.label ?? 'float',
        bits: weights?.bits ?? 32,
      };
      log({
        kind: 'phase',
        text: `${i + 1} of ${candidates.length}: weights ${row.weights}, activations ${row.activations}`,
      });
      // One memory: weights are fitted once, with and without activations.
      const stage = noStage();
      const held = async (one: Candidate) =>
        formatQuantizer.apply(model, optionsOf(one, o), instruments.context(stage));
      // What is stored is the weights alone: the nodes that round activations are there for the simulation.
      const alone = weights === null ? undefined : await held({ weights, activations: null });
      const stored = alone?.model;
      const result = activations === null && alone ? alone : await held(candidate);
      for (const { layer, text } of result.skipped) {
        // What was not asked for is counted, and is no fault.
        if (text.startsWith('weights left')) continue;
        notes.add(`${layer}: ${text}`);
        left.add(layer);
      }
      const packed = stored && (await encoder.apply(stored, encoder.options.parse({}), instruments.context(noStage())));
      let metrics: readonly MetricResult[] = [];
      const fails = await refusal(async () => void (metrics = await instruments.measure(result.model)));
      if (fails !== undefined)
        notes.add(`weights ${row.weights}, activations ${row.activations}: not measured, ${fails}`);
      rows.push({ ...row, bytes: packed ? modelBytes(packed.model) : bytes, metrics });
    }
    const layers = { all: layersOf(model).layers.length, held: named.filter((layer) => !left.has(layer)).length };
    return {
      ...{ format: 1, model: { path: model.path ?? '', bytes }, data: data.validation.info },
      ...{ layers, rows, notes: [...notes] },
      warnings: [...quantizedAlready(model), ...(await brokenAlone(model, "the model\'s", instruments, signal))],
    };
  } finally {
    await instruments.close();
  }
}

/** The layers with weights that patterns name. @throws QtoolError. */
function namedLayers(model: Model, patterns: readonly string[]): string[] {
  const facts = layerFacts(model);
  const { matches } = resolveNames(patterns, facts, 'layers');
  const found = new Set<string>();
  for (const pattern of patterns) {
    const mine = matches.get(pattern) ?? [];
    if (mine.length === 0 && pattern !== '*')
      throw new QtoolError('usage', `"${pattern}" matches no layer${suggestSelector(pattern, facts, 'layers')}`, {
        at: '--layers',
        hint: 'qtool inspect lists the layers of a model',
      });
    for (const { layer } of mine) found.add(layer.node);
  }
  const names = layersOf(model).layers.map(({ name }) => name);
  return names.filter((name) => patterns.includes('*') || found.has(name));
}

function optionsOf({ weights, activations }: Candidate, o: SimulateOptions): FormatOptions {
  const { importance, sharing } = o;
  const common = { ...formatQuantizer.options.parse({}), importance, sharing, samples };
  if (o.layers.includes('*')) return { ...common, format: weights, activations, overrides: {} };
  const entry = { format: weights, activations, sharing };
  return {
    ...common,
    format: null,
    activations: null,
    overrides: Object.fromEntries(o.layers.map((layer) => [layer, entry])),
  };
}
