import type { Feeds, Tensor } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { partOf } from '../../graph/part.ts';
import type { PassContext } from '../pass.ts';

/** Bytes of values that one walk keeps. */
const keptLimit = 384 * 2 ** 20;

/** Goes through a model from front to back, so that each value costs only the nodes since the one before. */
export interface Walk {
  /**
   * The value's tensors, batch by batch, as `model` has it now: its constants may have changed behind the values already
   * visited, its nodes not. `value` is the next of those that the walk was opened for.
   */
  visit(model: Model, value: string): AsyncIterable<Tensor>;
}

/**
 * Opens a walk that will visit `values` in this order, over the first `samples` calibration samples. Visited values are kept
 * as long as later ones are computed from them, up to a limit of memory; what is not kept is computed again.
 */
export function openWalk(ctx: PassContext, values: readonly string[], samples: number): Walk {
  const kept = new Map<string, readonly Tensor[]>();
  let next = 0;
  const bytes = (): number => [...kept.values()].reduce((sum, list) => sum + sizeOf(list), 0);

  const source = async function* (model: Model, needed: readonly string[]): AsyncGenerator<Feeds> {
    const held = needed.filter((name) => kept.has(name));
    const fed = needed.filter((name) => !kept.has(name));
    if (fed.length === 0) {
      const count = kept.get(held[0] ?? '')?.length ?? 0;
      for (let i = 0; i < count; i++) yield pick(kept, held, i);
      return;
    }
    let i = 0;
    const read = new Map(fed.map((name) => [name, [] as Tensor[]]));
    let room = keptLimit - bytes();
    for await (const feeds of ctx.capture(model, fed, samples)) {
      for (const name of fed) {
        const tensor = feeds[name] as Tensor;
        room -= bytesOf(tensor);
        if (room >= 0) read.get(name)?.push(tensor);
      }
      yield { ...feeds, ...pick(kept, held, i++) };
    }
    if (room >= 0) for (const [name, tensors] of read) kept.set(name, tensors);
  };

  return {
    async *visit(model, value) {
      const rest = values.slice(++next);
      const known = kept.get(value);
      if (known) yield* known;
      else {
        const { graph, needed } = segment(model, value, kept);
        const made: Tensor[] = [];
        let room = keptLimit - bytes();
        for await (const feeds of source(model, needed)) {
          const tensor = (graph ? (await ctx.compute(graph(feeds), feeds))[value] : feeds[value]) as Tensor;
          room -= bytesOf(tensor);
          if (room >= 0) made.push(tensor);
          yield tensor;
        }
        if (room >= 0 && rest.length > 0) kept.set(value, made);
      }
      const wanted = new Set(rest.flatMap((later) => segment(model, later, kept).needed));
      for (const name of kept.keys()) if (!wanted.has(name)) kept.delete(name);
    },
  };
}

const bytesOf = (tensor: Tensor): number => (tensor.data as Float32Array).byteLength;
const sizeOf = (list: readonly Tensor[]): number => list.reduce((sum, t) => sum + bytesOf(t), 0);

function pick(from: ReadonlyMap<string, readonly Tensor[]>, names: readonly string[], i: number): Feeds {
  return Object.fromEntries(names.map((name) => [name, from.get(name)?.[i] as Tensor]));
}

/** The nodes between what is known and a value, as a model of their own; `needed` are its inputs. No graph: an input is wanted. */
function segment(model: Model, value: string, kept: ReadonlyMap<string, unknown>) {
  const part = partOf(model, [value], kept);
  let graph: Model | undefined;
  return {
    needed: part.needed,
    graph: part.nodes.length === 0 ? undefined : (feeds: Feeds): Model => (graph ??= part.model((name) => feeds[name])),
  };
}
