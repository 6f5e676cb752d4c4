import type { Model } from '../../graph/model.ts';
import type { Clock, Pass } from '../pass.ts';
import type { LrKind, RegularizerKind } from './kinds.ts';
import type { LearningKind, LearningOptions } from './surrogate/kind.ts';
import type { MaskArgs, WeightMask } from './masks.ts';
import type { TrainingOptions } from './options.ts';

/** A pruner or remover that runs at the beginning of an epoch. */
export interface EpochPolicy {
  readonly instance: string;
  readonly pass: Pass;
  readonly options: unknown;
  readonly clock: Clock;
  readonly args: MaskArgs;
}

/** A regularizer that pulls during an epoch. */
export interface EpochRegularizer {
  readonly instance: string;
  readonly kind: RegularizerKind;
  readonly options: unknown;
  readonly keepMask: boolean;
  readonly last: boolean;
}

/** A quantizer that learns during an epoch; `last`: the model is quantized at its end. */
export interface EpochLearner {
  readonly instance: string;
  readonly kind: LearningKind;
  readonly options: LearningOptions;
  readonly last: boolean;
  /** Share of its epochs that were over before this one. */
  readonly done: number;
}

/** Everything that happens in one epoch of training. */
export interface EpochPlan {
  readonly training: TrainingOptions;
  readonly epoch: number;
  /** Epochs in all. */
  readonly epochs: number;
  readonly policies: readonly EpochPolicy[];
  readonly regularizers: readonly EpochRegularizer[];
  readonly learner?: EpochLearner | undefined;
  /** The learning-rate schedule that has the say; `first`: the first epoch of its policy. */
  readonly rate: { readonly instance: string; readonly kind: LrKind; readonly options: unknown; readonly at: number; readonly of: number; readonly first: number } | undefined; // prettier-ignore
}

/** What a quantizer that learns keeps from epoch to epoch. */
export interface Learned {
  /** Which activations were never below 0 in the first batch: by value. */
  readonly unsigned: ReadonlyMap<string, boolean>;
  /** Its numbers by their name in the training graph. */
  readonly numbers: ReadonlyMap<string, Float32Array>;
}

/** What an epoch leaves to the next. Plain data, replaced and never changed. */
export interface TrainingMemory {
  /** The optimizer's slots of each parameter. */
  readonly slots: ReadonlyMap<string, readonly Float32Array[]>;
  readonly masks: ReadonlyMap<string, WeightMask>;
  /** Steps taken, and those of them that moved weights. */
  readonly step: number;
  readonly updates: number;
  /** The weights themselves, where the model holds their running average. */
  readonly weights: ReadonlyMap<string, Float32Array> | undefined;
  /** The learning rate that was last set by a schedule; undefined: the optimizer's own. */
  readonly lr: number | undefined;
  /** Mean loss of each epoch. */
  readonly losses: readonly number[];
  /** The float model that is trained on, where what an epoch gives is quantized. */
  readonly masters: Model | undefined;
  /** What the quantizer that learns keeps of its own; undefined before it begins. */
  readonly learned: Learned | undefined;
  /** The loss of the very first step, by which one is seen to diverge. */
  readonly firstLoss: number | undefined;
}

/** What the memory of a run's training holds besides: made anew where it is not there. */
export const madeAnew: ReadonlySet<string> = new Set(['graph', 'teacher']);
