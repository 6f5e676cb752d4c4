/**
 * The one shape of observer, statistic and metric: a streaming reduction whose state does not grow with the samples.
 * `add` may change and return its state.
 */
export interface Fold<I, S, R> {
  readonly name: string;
  /**
   * What of a tensor the fold looks at, if not at everything; the runtime can then do with less (docs/runtime.md).
   * `extremes`: the smallest and the largest element of each sample. It may be given a tensor [samples, 2] of these, in which
   * 0 stands for the smallest where nothing can be negative (after a Relu).
   * `elements`: the elements, but not where they stand. It may be given them in another order or, where the caller of
   * `collect` allows it, an even share of them.
   */
  readonly reads?: 'extremes' | 'elements';
  start(): S;
  add(state: S, input: I): S;
  finish(state: S): R;
}

/** A fold whose state type the caller does not need to know. */
export type AnyFold<I, R> = Fold<I, unknown, R>;

/** Hides a fold's state type, so that folds of different state can stand in one list. */
export function sealed<I, S, R>(fold: Fold<I, S, R>): AnyFold<I, R> {
  return fold;
}
