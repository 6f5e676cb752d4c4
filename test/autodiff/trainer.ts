import type { TrainingGraph } from '../../src/autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import { must } from '../../src/util/must.ts';
import { openSession, type SessionOptions } from '../../src/runtime/session.ts';

/** Everything that changes from step to step: parameters, running statistics, the optimizer's slots. By graph input. */
export type TrainingState = ReadonlyMap<string, Tensor>;

/** A training graph in a session, with its state. `close()` frees its memory. */
export interface Trainer {
  /**
   * One step. `scalars` are what the plan calls them; a mask is 1 where a parameter stays. What the graph reports comes back.
   * Parameters and slots are handed over as they came out: they are never copied, and never written over.
   */
  step(
    batch: Feeds,
    scalars: Readonly<Record<string, number>>,
    masks?: ReadonlyMap<string, Tensor>,
  ): Promise<Record<string, number>>;
  state: TrainingState;
  /** The parameters and running statistics as they stand, by their name in the model. */
  weights(): Map<string, Tensor>;
  close(): Promise<void>;
}

/** Loads a training graph. @throws QtoolError('runtime') where onnxruntime refuses it. */
export async function openTrainer(graph: TrainingGraph, options: SessionOptions = {}): Promise<Trainer> {
  const session = await openSession(graph.model, options);
  const first = ([name, { dims, first: data }]: [string, { dims: readonly number[]; first: Float32Array }]): [string, Tensor] => [name, { type: 'float32', dims, data }]; // prettier-ignore
  const trainer: Trainer = {
    state: new Map([...graph.state].map(first)),
    async step(batch, scalars, masks = new Map()) {
      const feeds: Record<string, Tensor> = { ...batch, ...Object.fromEntries(trainer.state) };
      for (const [name, input] of graph.scalars)
        feeds[input] = { type: 'float32', dims: [], data: Float32Array.of(must(new Map(Object.entries(scalars)), name, 'the scalar')) }; // prettier-ignore
      for (const [name, input] of graph.masks) feeds[input] = must(masks, name, 'the mask of');
      const results = await session.run(feeds);
      trainer.state = new Map([...graph.state].map(([name, { next }]) => [name, results[next]!]));
      return Object.fromEntries([...graph.reports].map(([name, output]) => [name, Number(results[output]!.data[0])]));
    },
    weights: () => new Map([...graph.held].flatMap(([name, input]) => { const tensor = trainer.state.get(input); return tensor ? [[name, tensor] as const] : []; })), // prettier-ignore
    close: () => session.close(),
  };
  return trainer;
}
