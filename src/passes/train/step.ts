import type { TrainingGraph } from '../../autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../data/types.ts';
import { given, must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';

/** What a training graph is fed with a step, and what comes out of it. */

export const float = (data: Float32Array, dims: readonly number[]): Tensor => ({ type: 'float32', dims, data });

/** The state that a graph begins with. */
export const firstState = (graph: TrainingGraph): Feeds =>
  Object.fromEntries([...graph.state].map(([name, { first, dims }]) => [name, float(first, dims)]));

/** The scalars of a step, by the names of its plan → by the graph's inputs. */
export function scalarFeeds(graph: TrainingGraph, numbers: Readonly<Record<string, number>>): Feeds {
  const known = new Map(Object.entries(numbers));
  return Object.fromEntries(
    [...graph.scalars].map(([name, input]) => [input, float(Float32Array.of(must(known, name, 'the scalar')), [])]),
  );
}

/** A number that a step reports: the loss, or what it counts. */
export const reported = (graph: TrainingGraph, results: Feeds, name: string): number =>
  Number(given(results[must(graph.reports, name, 'the report of')], name).data[0]);

/** The mask of what is not 0. */
export const nonZeros = (data: Float32Array): Float32Array => data.map((v) => (v === 0 ? 0 : 1));

/** A step that was taken. */
export interface Step<B> {
  readonly batch: B;
  /** The state behind it. */
  readonly state: Feeds;
  readonly loss: number;
  /** A number that it reports. */
  readonly report: (name: string) => number;
}

/** What a training graph goes through. */
export interface Course<B> {
  readonly graph: TrainingGraph;
  /** The state before the first step. */
  readonly state: Feeds;
  readonly batches: AsyncIterable<B>;
  /** What the graph is fed for a batch besides its state: inputs, answers, scalars, masks. */
  readonly feeds: (batch: B, state: Feeds) => Feeds | Promise<Feeds>;
  /** What is done to the state behind each step. */
  readonly behind?: (state: Feeds) => Feeds;
}

/** One step a batch. Whoever has seen enough stops asking. */
export async function* steps<B>(
  { graph, state: first, batches, feeds, behind = (state) => state }: Course<B>,
  ctx: Pick<PassContext, 'compute' | 'signal'>,
): AsyncGenerator<Step<B>> {
  let state = first;
  for await (const batch of batches) {
    ctx.signal.throwIfAborted();
    const results = await ctx.compute(graph.model, { ...(await feeds(batch, state)), ...state }, graph.target);
    const next = [...graph.state].map(([name, { next: output }]) => [name, given(results[output], output)] as const);
    state = behind(Object.fromEntries(next));
    yield { batch, state, loss: reported(graph, results, 'loss'), report: (name) => reported(graph, results, name) };
  }
}
