import type { TrainingGraph } from '../../autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../data/types.ts';
import { given, must } from '../../util/must.ts';

/** What a training graph is fed with a step, and what comes out of it. */

export const float = (data: Float32Array, dims: readonly number[]): Tensor => ({ type: 'float32', dims, data });

/** The state that a graph begins with. */
export const firstState = (graph: TrainingGraph): Feeds =>
  Object.fromEntries([...graph.state].map(([name, { first, dims }]) => [name, float(first, dims)]));

/** The state behind a step. */
export const nextState = (graph: TrainingGraph, results: Feeds): Feeds =>
  Object.fromEntries([...graph.state].map(([name, { next }]) => [name, given(results[next], next)]));

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
