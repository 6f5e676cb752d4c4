import { cpus } from 'node:os';
import type { Target } from '../autodiff/rule.ts';
import { batches, firstBatch } from '../data/batch.ts';
import { fixedBatch } from '../data/layout.ts';
import type { Batch, Dataset, Feeds, RunData, Tensor, TrainingSet } from '../data/types.ts';
import { modelHash } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { modelInputs } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import type { AnyFold } from '../numerics/fold.ts';
import { withFloatOutputs } from '../passes/fold/half_outputs.ts';
import type { Clock, CollectBounds, PassContext, Plan, TrainingSamples } from '../passes/pass.ts';
import { capture } from '../runtime/capture.ts';
import { collect } from '../runtime/collect.ts';
import { openComputer } from '../runtime/compute.ts';
import { keepReferences, measure } from '../runtime/measure.ts';
import { onnxruntimeVersion } from '../runtime/onnxruntime.ts';
import { inferShapes } from '../runtime/shapes.ts';
import { version } from '../util/version.ts';
import type { StatisticsFacts, StatisticsStore } from './statistics.ts';

/** What a run needs to look at models: the data, how to run, whom to tell. */
export interface Setting {
  /** The float model the run began with. */
  readonly reference: Model;
  readonly data: RunData;
  readonly metrics: readonly Metric[];
  readonly batchSize: number;
  /** The batch size that another model insists on where the reference takes any. */
  readonly fixedBatch?: number | undefined;
  readonly threads?: number | undefined;
  /** What steps of training run on; default: the CPU. All else runs there anyway. */
  readonly device?: Target | undefined;
  readonly memoryLimit?: number | undefined;
  /** Where statistics are kept; absent: nowhere. */
  readonly statistics?: StatisticsStore | undefined;
  readonly signal: AbortSignal;
  progress(done: number, doing: string): void;
}

/** What one stage adds to the setting. */
export interface StageState {
  readonly plan: Plan;
  readonly twin: Model | undefined;
  readonly memory: Map<string, unknown>;
  readonly clock: Clock;
}

/** The state outside of any stage: no plan, nothing remembered, a single epoch. */
export const noStage = (): StageState => ({
  plan: new Map(),
  twin: undefined,
  memory: new Map(),
  clock: { epoch: 0, start: 0, end: 1, frequency: 1 },
});

/** The measuring instruments of a run: sessions, caches. `close()` when the run ends. */
export interface Instruments {
  measure(model: Model): Promise<MetricResult[]>;
  context(state: StageState): PassContext;
  /** The first calibration samples, in batches. */
  readonly calibration: (samples: number) => AsyncIterable<Batch>;
  /** How many there are. */
  readonly calibrationSamples: number;
  /** The first validation samples, in batches; undefined where they are the calibration samples. */
  readonly unseen:
    { readonly samples: number; readonly batches: (samples: number) => AsyncIterable<Batch> } | undefined;
  /** A first batch of the validation data, for timing. */
  sample(): Promise<Feeds>;
  close(): Promise<void>;
}

/** Sets up what stages share. Nothing runs before it is asked for. */
export function openInstruments(setting: Setting): Instruments {
  const { reference, data, signal, threads } = setting;
  const plain = withFloatOutputs(reference);
  const session = { threads };
  const fixed = fixedBatch(modelInputs(reference)) ?? setting.fixedBatch;
  const cut = (set: Dataset, limit?: number, reuse = false): AsyncIterable<Batch> =>
    batches(set, { batchSize: setting.batchSize, fixedBatch: fixed, limit, reuse });
  const share = (samples: number, of: Dataset, limit?: number): number =>
    samples / Math.min(limit ?? Infinity, of.info.samples);
  const references = keepReferences();
  const computers = { cpu: openComputer(4, session), webgpu: openComputer(4, { ...session, device: 'webgpu' }) };
  const shapesOf = new WeakMap<Model, Promise<Shapes>>();

  const shapes = (model: Model, feeds?: Feeds): Promise<Shapes> => {
    if (feeds) return inferShapes(model, { ids: [], feeds, targets: [], size: 2, count: 2 });
    const known =
      shapesOf.get(model) ?? firstBatch(cut(data.calibration, 1)).then((batch) => inferShapes(model, batch));
    shapesOf.set(model, known);
    return known;
  };

  const measured = (model: Model): Promise<MetricResult[]> =>
    measure(model, reference, cut(data.validation), setting.metrics, {
      ...session,
      signal,
      references,
      progress: (samples) => setting.progress(share(samples, data.validation), 'measuring'),
    });

  const collected: PassContext['collect'] = async <R>(
    model: Model,
    wanted: ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>,
    samples?: number,
    elements?: number,
    bounds: CollectBounds<R> = {},
  ) => {
    const { keeping } = bounds;
    const options = {
      ...session,
      elements: elements && Math.ceil(elements * share(1, data.calibration, samples)),
      memoryLimit: bounds.memoryLimit ?? setting.memoryLimit,
    };
    const anew = async (): Promise<Map<string, R[]>> =>
      collect(model, () => cut(data.calibration, samples, true), wanted, {
        ...options,
        shapes: await shapes(model),
        signal,
        planned: ({ passes, bytes }) => bounds.planned?.(passes.length, bytes),
        progress: (done) => setting.progress(share(done, data.calibration, samples), 'collecting statistics'),
      });
    if (keeping === undefined || setting.statistics === undefined) return anew();
    const print = data.calibration.fingerprint?.(samples);
    if (print === undefined) return anew();
    return setting.statistics.recall(
      {
        tool: await toolFacts(),
        model: modelHash(model),
        data: print,
        samples: Math.min(samples ?? Infinity, data.calibration.info.samples),
        options: { ...options, batchSize: fixed ?? setting.batchSize },
        wanted: [...wanted].map(([value, folds]) => [value, folds.map((fold) => fold.name)]),
      },
      keeping,
      anew,
    );
  };

  return {
    measure: measured,
    calibration: (samples) => cut(data.calibration, samples),
    calibrationSamples: data.calibration.info.samples,
    unseen:
      data.validation === data.calibration
        ? undefined
        : { samples: data.validation.info.samples, batches: (samples) => cut(data.validation, samples) },
    sample: async () => (await firstBatch(cut(data.validation))).feeds,
    close: async () => {
      for (const computer of Object.values(computers)) await computer.close();
    },
    context: (state) => ({
      ...state,
      reference: plain,
      signal,
      shapes,
      collect: collected,
      capture: (model, values, samples) =>
        capture(model, cut(data.calibration, samples), values, { ...session, signal }),
      compute: (graph, feeds, on = 'cpu') => computers[on].compute(graph, feeds),
      device: setting.device,
      measure: async (model) => ({ metrics: await measured(model) }),
      progress: (done, doing) => setting.progress(done, doing ?? 'working'),
      training: data.training && trainingSamples(data.training),
    }),
  };
}

function trainingSamples(set: TrainingSet): TrainingSamples {
  const { samples, labelled, source } = set.info;
  return {
    samples,
    labelled,
    source,
    batches: ({ epoch, seed, batchSize, augment }) =>
      batches(set.epoch(epoch, { seed, augment }), { batchSize, fixedBatch: batchSize }),
  };
}

/** Versions, and the machine: another processor has other kernels, which differ in the last digits. */
const toolFacts = async (): Promise<StatisticsFacts['tool']> => ({
  qtool: version,
  onnxruntime: await onnxruntimeVersion(),
  machine: `${process.platform} ${process.arch} ${cpus()[0]?.model ?? ''}`,
});
