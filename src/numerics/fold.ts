/**
 * The one shape of observer, statistic and metric: a streaming reduction whose state does not grow with the samples.
 * `add` may change and return its state; `merge` joins two states of disjoint parts of the data.
 */
export interface Fold<I, S, R> {
  readonly name: string;
  /**
   * `extremes`: of each input the fold only looks at the smallest and the largest element, so it may be given a tensor of
   * just these two. The runtime then has them computed inside the model's graph, and nothing else leaves it.
   */
  readonly reads?: 'extremes';
  start(): S;
  add(state: S, input: I): S;
  merge(a: S, b: S): S;
  finish(state: S): R;
}

/** A fold whose state type the caller does not need to know. */
export type AnyFold<I, R> = Fold<I, unknown, R>;

/** Hides a fold's state type, so that folds of different state can stand in one list. */
export function sealed<I, S, R>(fold: Fold<I, S, R>): AnyFold<I, R> {
  return fold;
}
