import type * as z from 'zod';
import type { Loss, Optimizer } from '../../autodiff/training_graph.ts';
import type { GraphWriter, Value } from '../../autodiff/writer.ts';
import type { Batch, Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';

interface Described<O> {
  readonly summary: string;
  /** Paper or system the formula is from. */
  readonly source: string;
  readonly options: z.ZodType<O>;
}

/** A loss that `training: { loss: … }` may name; one a file in `loss/`. */
export interface LossKind<O = unknown> extends Described<O> {
  readonly name: string;
  make(options: O): Loss;
  /**
   * What the loss's graph inputs are fed with a batch. `outputs`: the model's outputs, name → dims on a batch of this size. Samples beyond
   * `batch.count` are repeats and count nothing.
   * @throws QtoolError('data') naming the sample, where the batch lacks what the loss needs.
   */
  feeds(options: O, batch: Batch, outputs: ReadonlyMap<string, readonly number[]>): Feeds;
  /** The options with what the model and its first batch decide: the output, its class axis, whether it ends in Softmax. Before `make`. */
  settled?(options: O, model: Model, batch: Batch, outputs: ReadonlyMap<string, readonly number[]>): O;
}

/** An optimizer that `training: { optimizer: … }` may name; one a file in `optimizer/`. */
export interface OptimizerKind<O = unknown> extends Described<O> {
  readonly name: string;
  make(options: O): Optimizer;
  /** What the graph's scalars are at a step. `lr`: the learning rate; `step`: counted from 1. */
  scalars(options: O, lr: number, step: number): Readonly<Record<string, number>>;
}

/** What a learning-rate schedule goes by. */
export interface LrPoint {
  /** The optimizer's own learning rate. */
  readonly base: number;
  /** Times that the policy was applied before: 0 in its first epoch. With a fraction within an epoch where `everyStep` holds. */
  readonly epoch: number;
  /** Epochs of the policy. */
  readonly epochs: number;
  /** Steps of an epoch. */
  readonly steps: number;
  /** Mean training loss of each earlier epoch of the policy. */
  readonly losses: readonly number[];
}

/** A class of `lr_schedulers:`; one a file in `lr/`. Pure numbers. */
export interface LrKind<O = unknown> extends Described<O> {
  /** The first is PyTorch's or Distiller's name. */
  readonly classes: readonly string[];
  at(options: O, point: LrPoint): number;
  /** Whether the rate changes within an epoch, step by step. */
  everyStep?(options: O): boolean;
}

/** How strongly a regularizer pulls at the weights that a pattern names, and over which groups of each. */
export interface Regime {
  /** A name or pattern of weights. */
  readonly weights: string;
  readonly strength: number;
  readonly group?: string | undefined;
}

/** A class of `regularizers:`; one a file in `regularize/`. */
export interface RegularizerKind<O = unknown> extends Described<O> {
  /** The first is Distiller's name. */
  readonly classes: readonly string[];
  regimes(options: O): readonly Regime[];
  /** The penalty of one weight (a scalar), and its gradient by the weight, both for a strength of 1. */
  penalty(w: GraphWriter, weight: Value, regime: Regime): { readonly penalty: Value; readonly gradient: Value };
  /**
   * Which weights are 0 after a step of training: 1 where a weight stays. Undefined where `threshold_criteria` is not given.
   * @param weight of shape `dims`
   */
  mask?(options: O, weight: Float32Array, dims: readonly number[], regime: Regime): Float32Array | undefined;
  /**
   * What a weight is multiplied by in the forward pass of one step, drawn anew for each: 0 where it is dropped.
   * @param random uniform numbers from 0 to 1
   */
  drop?(weight: Float32Array, dims: readonly number[], regime: Regime, random: () => number): Float32Array;
  /** In which steps it drops: every so many; 1 where this is not given. */
  every?(options: O): number;
  /** Of what it draws by chance; 0 where this is not given. */
  seed?(options: O): number;
  /** A sentence where a weight of this shape cannot be held in these groups. */
  refuse?(dims: readonly number[], regime: Regime): string | undefined;
}
