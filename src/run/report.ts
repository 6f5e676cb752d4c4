import type { DatasetInfo } from '../data/types.ts';
import type { MetricResult } from '../metrics/metric.ts';
import type { Note, SensitivityMap, TrainedEpoch } from '../passes/pass.ts';
import type { Latency } from '../runtime/time.ts';
import type { Gate } from '../schedule/types.ts';

export type { Latency };

/** What is measured of a model after every stage. */
export interface Measurement {
  readonly metrics: readonly MetricResult[];
  readonly bytes: number;
  /** Share of zero elements over all weights (initializers of at least rank 2), 0 to 1. */
  readonly zeros: number;
  readonly latency: readonly Latency[];
}

export type Verdict = 'kept' | 'undone' | 'retried' | 'stopped' | 'warned';

/** One attempt of a stage: the strength tried, what it gave, whether the gate held. */
export interface Attempt {
  readonly strength: string;
  readonly measurement: Measurement | undefined;
  readonly passed: boolean;
}

export interface StageReport {
  readonly index: number;
  readonly instance: string;
  readonly pass: string;
  readonly class: string;
  readonly epoch: number;
  readonly at: string;
  readonly options: unknown;
  readonly gate: Gate | undefined;
  readonly attempts: readonly Attempt[];
  /** Of the model that goes on after this stage. */
  readonly measurement: Measurement | undefined;
  readonly verdict: Verdict;
  readonly why: string;
  readonly changed: readonly Note[];
  readonly skipped: readonly Note[];
  readonly notes: readonly string[];
  /** Of an epoch of training. */
  readonly trained?: TrainedEpoch | undefined;
  readonly seconds: number;
}

/** One layer of the final model: what it runs as and how far its output is from float. */
export interface LayerReport {
  readonly layer: string;
  readonly op: string;
  readonly weights: string;
  readonly activations: string;
  /** Signal-to-quantization-noise ratio of the layer's output against the float model, dB, with all that earlier layers did: cumulative; undefined where not comparable. */
  readonly sqnr: number | undefined;
  /** Its own error alone, dB: that of its inputs' and weights' rounding; undefined where not measured. */
  readonly own?: number | undefined;
  /** The error of what earlier layers made of its inputs, at its output, dB. */
  readonly inherited?: number | undefined;
  /** What the optimized graph runs for it: `integer`, `float`, `gone` (folded away). */
  readonly kernel: 'integer' | 'float' | 'gone' | 'unknown';
  readonly why: string;
  /** The layer whose output it reads. */
  readonly input?: string | undefined;
  /** Shape of its weights. */
  readonly shape?: readonly number[] | undefined;
  /** Shape of its output on one sample. */
  readonly output?: readonly number[] | undefined;
  readonly parameters?: number | undefined;
  /** Multiply-accumulates of one sample. */
  readonly macs?: number | undefined;
  /** Bytes of the constants it reads, now and in the float model. */
  readonly bytes?: number | undefined;
  readonly floatBytes?: number | undefined;
  /** Bits a weight is stored in. */
  readonly bits?: number | undefined;
  readonly weightSpread?: WeightSpread | undefined;
  readonly activationSpread?: ActivationSpread | undefined;
}

/** How the weights of a layer lie, in bins of equal width from `low` to `high`. */
export interface WeightSpread {
  readonly low: number;
  readonly high: number;
  readonly float: readonly number[];
  /** The values the codes stand for, in the same bins; absent where they are not known one by one. */
  readonly quantized?: readonly number[] | undefined;
  /** Least and largest value that is stored. */
  readonly range?: readonly [number, number] | undefined;
  /** Share of weights that lie more than a step beyond what their own output channel can hold, 0 to 1. */
  readonly clipped?: number | undefined;
  /** Equalization gave the weights another scale, which neighbours make up for: float and stored values do not compare one by one. */
  readonly rescaled?: boolean | undefined;
}

/** How a layer's float output lies on calibration samples, in bins of equal width from `low` to `high`. */
export interface ActivationSpread {
  readonly low: number;
  readonly high: number;
  readonly counts: readonly number[];
  /** Least and largest value that the quantized model can hold there, and the share beyond, 0 to 1. */
  readonly range?: readonly [number, number] | undefined;
  readonly clipped?: number | undefined;
}

/** SQNR of the outputs against the float model's, dB, with onnxruntime's graph optimizations off and on. */
export interface Levels {
  readonly samples: number;
  readonly disabled: number;
  readonly all: number;
}

/** Where the error enters, why, and what mends it. */
export interface Diagnosis {
  readonly sentences: readonly string[];
  /** Lines that mend it, to be put into the schedule. */
  readonly yaml?: string | undefined;
  /** The whole schedule with these lines in it; the run folder has it as `mended.yaml`. */
  readonly schedule?: string | undefined;
}

/** Everything a run found out: plain data, the source of the terminal text, the JSON and the HTML. */
export interface RunReport {
  readonly format: 1;
  readonly tool: {
    readonly qtool: string;
    readonly onnxruntime: string;
    readonly node: string;
    readonly platform: string;
    readonly cpu: string;
  };
  readonly started: string;
  readonly seconds: number;
  /** The command line that made it, as a shell takes it. */
  readonly command?: string | undefined;
  readonly model: {
    readonly path: string;
    readonly bytes: number;
    /** Of its file; where data lies in others, of the file that qtool would write of it. */
    readonly sha256: string;
    readonly opset: number;
    readonly parameters: number;
  };
  readonly schedule: string;
  readonly data: {
    readonly calibration: DatasetInfo;
    readonly validation: DatasetInfo;
    readonly notes: readonly string[];
  };
  readonly baseline: Measurement;
  readonly stages: readonly StageReport[];
  /** Stages that the schedule has: more than `stages` where the run did not come to its end. */
  readonly planned?: number | undefined;
  readonly layers: readonly LayerReport[];
  readonly result: {
    /** Absent where no model was left: the float model alone is no result of a run that did not come to its end. */
    readonly path: string | undefined;
    /** Of the file, what `sha256sum` prints; over 1 GiB of the file and then the `.data` file beside it. */
    readonly sha256?: string | undefined;
    readonly measurement: Measurement;
    readonly levels: Levels | undefined;
    /** Bytes of the file under gzip -9 and brotli -6: what a web page downloads. 0 above 64 MB, unless asked for. */
    readonly gzip: number;
    readonly brotli: number;
    /** The stages whose effect the model carries. */
    readonly stages: readonly number[];
    /** Whether a gate judged any stage. */
    readonly gated?: boolean | undefined;
    /** What gates ask for that was not judged: `top1 (sqnr was, in its place)`. */
    readonly unjudged?: readonly string[] | undefined;
    /** `failed`: an error ended it; the model is what the stages before gave, under another name. */
    readonly status: 'finished' | 'stopped' | 'cancelled' | 'failed';
  };
  readonly diagnosis?: Diagnosis | undefined;
  /** Of the last stage that measured layers alone. */
  readonly sensitivity?: SensitivityMap | undefined;
  /** What must be known before the result is used, first of all. */
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
}
