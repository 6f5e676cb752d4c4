import type { Feeds, Tensor } from '../data/types.ts';
import { intAttribute } from '../graph/attribute.ts';
import type { Model } from '../graph/model.ts';
import { isOp, layerName } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { allFinite } from '../numerics/finite.ts';
import { QtoolError } from '../util/error.ts';
import { given } from '../util/must.ts';
import { momentGraph, outputDims, type MomentGraph } from './moments_graph.ts';
import { openSums, type MomentOptions, type Moments } from './moments_sums.ts';
import type { PassContext } from './pass.ts';
import { linearSizes, type Linear } from './rows.ts';

export type { MomentOptions, Moments } from './moments_sums.ts';

/** A batch of a layer's data. */
export interface MomentBatch {
  /** What the layer reads. */
  readonly hat: Tensor;
  /** The float input, where it is another; or the given target. */
  readonly float?: Tensor | undefined;
  /** Added to what the float layer gives, if it has the shape of its output. */
  readonly extra?: Tensor | undefined;
}

/** Moments that are still being summed up. */
export interface OpenMoments {
  add(ctx: Pick<PassContext, 'compute'>, batch: MomentBatch): Promise<void>;
  close(ctx: Pick<PassContext, 'compute'>): Promise<Moments>;
}

/** Floats that are held of a layer's input, and columns of one product: both bound what is computed at once, alike for all batches. */
const heldLimit = 2 ** 20;
const columnLimit = 2 ** 15;
/** With thinned positions fewer, for each part has its own grid. */
const thinLimit = 2 ** 11;
/** Floats of one im2col matrix. */
const matrixLimit = 2 ** 25;

/** Whether moments are known for a layer: Conv, Gemm with A as it is, MatMul with a matrix. */
export function hasMoments({ node, dims }: Linear): boolean {
  if (isOp(node, 'Conv')) return true;
  if (isOp(node, 'Gemm')) return intAttribute(node, 'transA', 0) === 0;
  return isOp(node, 'MatMul') && dims.length === 2;
}

/** Bytes that the second moments of a layer's inputs take. */
export function momentBytes(layer: Linear): number {
  const { groups, size } = linearSizes(layer);
  return groups * size * size * 8;
}

/** Bytes of one layer's second moments; what is made of them takes as much again, several times. */
const widest = 2 ** 30;

/** Why second moments of a layer's inputs are not taken: they grow with the square of K. Undefined where they are. */
export function tooWide(layer: Linear): string | undefined {
  const bytes = momentBytes(layer);
  if (bytes <= widest) return undefined;
  const [size, wanted] = [linearSizes(layer).size, (bytes / 2 ** 30).toFixed(1)];
  return `the second moments of ${size} inputs an output would take ${wanted} GiB, more than the 1 GiB that a layer may`;
}

/** Why nothing can be solved for by these moments: a mask of −∞ on the way, which a later node takes away. */
export function notFinite({ gram, sum, target, targetSum, power, all }: Moments): string | undefined {
  const of = (whose: string): string => `its ${whose} are not finite on the calibration data`;
  if (![gram, sum, all.sum].every(allFinite)) return of('inputs');
  return [target, targetSum, power, all.targetSum].every(allFinite) ? undefined : of('outputs');
}

/** A layer whose input is looked at; with `weights` they make the target, from `reference` in the reference model if there is one. */
export interface MomentRequest extends Linear {
  readonly input: string;
  readonly reference?: string | undefined;
  readonly weights?: Float32Array | undefined;
}

/**
 * Moments of several layers in one stream over the calibration data.
 * @returns per request, in order. @throws QtoolError for operators that `hasMoments` does not know.
 */
export async function layerMoments(
  ctx: Pick<PassContext, 'capture' | 'compute'>,
  model: Model,
  requests: readonly MomentRequest[],
  o: { readonly samples?: number; readonly reference?: Model | undefined; readonly products?: boolean } = {},
): Promise<Moments[]> {
  const floatName = (r: MomentRequest): string => r.reference ?? r.input;
  const open = requests.map((r) =>
    openMoments(r, { target: r.weights && { weights: r.weights }, products: o.products }),
  );
  const main = ctx.capture(model, [...new Set(requests.map((r) => r.input))], o.samples);
  const floats = o.reference && ctx.capture(o.reference, [...new Set(requests.map(floatName))], o.samples);
  const beside = floats?.[Symbol.asyncIterator]();
  for await (const values of main) {
    const others = beside && ((await beside.next()).value as Feeds);
    for (const [i, r] of requests.entries())
      await open[i]?.add(ctx, {
        hat: given(values[r.input], `the value "${r.input}"`),
        float: others && r.weights && given(others[floatName(r)], `the value "${floatName(r)}"`),
      });
  }
  await beside?.return?.();
  const closed: Moments[] = [];
  for (const one of open) closed.push(await one.close(ctx));
  return closed;
}

/** Samples that are computed at once: so many as a batch of the layer's data may hold, however they came. */
interface Part {
  readonly key: string;
  readonly graph: MomentGraph;
  readonly capacity: number;
  readonly rooms: ReadonlyMap<string, { readonly dims: readonly number[]; readonly data: Float32Array }>;
  filled: number;
}

/** Starts the moments of one layer, for callers that bring its data. @throws QtoolError for operators that are not known. */
export function openMoments(layer: Linear, o: MomentOptions): OpenMoments {
  if (!hasMoments(layer))
    throw new QtoolError('graph', `second moments are not known for this ${layer.node.op_type}`, {
      at: layerName(layer.node),
    });
  const graphs = new Map<string, MomentGraph>();
  const sums = openSums(layer, o);
  let part: Part | undefined;
  let number = 0;

  const flush = async (ctx: Pick<PassContext, 'compute'>): Promise<void> => {
    if (!part || part.filled === 0) return;
    const { graph, rooms, filled } = part;
    const first = (rows: number): Feeds =>
      Object.fromEntries(
        [...rooms].map(([name, { dims, data }]) => {
          const inner = elementCount(dims.slice(1));
          return [name, { type: 'float32', dims: [rows, ...dims.slice(1)], data: data.subarray(0, rows * inner) }];
        }),
      );
    const grid = graph.grid(number++);
    if (!sums.started) sums.start(await ctx.compute(graph.model, { ...first(1), ...sums.shift(), ...grid }));
    sums.add(await ctx.compute(graph.model, { ...first(filled), ...sums.shift(), ...grid }), graph.positions * filled);
    part.filled = 0;
  };

  return {
    async add(ctx, batch) {
      if (batch.hat.dims[0] === 0) return;
      const tensors = fitting(layer, batch);
      const key = [...tensors].map(([name, t]) => `${name} ${t.dims.slice(1).join()}`).join();
      if (part?.key !== key) {
        await flush(ctx);
        const graph = graphs.get(key) ?? momentGraph(layer, o, tensors);
        graphs.set(key, graph);
        part = openPart(key, graph, layer, tensors);
      }
      const rows = tensors.get('hat')?.dims[0] ?? 0;
      for (let from = 0; from < rows;) {
        const take = Math.min(rows - from, part.capacity - part.filled);
        for (const [name, { data }] of tensors) {
          const room = given(part.rooms.get(name), name).data;
          const inner = data.length / rows;
          room.set((data as Float32Array).subarray(from * inner, (from + take) * inner), part.filled * inner);
        }
        part.filled += take;
        from += take;
        if (part.filled === part.capacity) await flush(ctx);
      }
    },
    async close(ctx) {
      await flush(ctx);
      return sums.finish();
    },
  };
}

/** The batch's tensors by the names of the graph's inputs, a sample a row. */
function fitting(layer: Linear, { hat, float, extra }: MomentBatch): Map<string, Tensor> {
  const rowed = (t: Tensor): Tensor => (t.dims.length === 1 ? { ...t, dims: [1, ...t.dims] } : t);
  const tensors = new Map([['hat', rowed(hat)]]);
  if (float) tensors.set('float', rowed(float));
  // What is broadcast over the output is not made up for.
  if (extra && extra.dims.join() === outputDims(layer, hat.dims).join()) tensors.set('extra', rowed(extra));
  return tensors;
}

function openPart(key: string, graph: MomentGraph, { dims, node }: Linear, tensors: ReadonlyMap<string, Tensor>): Part {
  const { size, groups } = linearSizes({ dims, node });
  const inner = Math.max(...[...tensors.values()].map((t) => t.data.length / (t.dims[0] ?? 1)));
  const most = [
    matrixLimit / (graph.columns * size * groups),
    (graph.thin ? thinLimit : columnLimit) / graph.columns,
    heldLimit / inner,
  ];
  const capacity = Math.max(1, Math.floor(Math.min(...most)));
  const rooms = new Map(
    [...tensors].map(([name, t]) => {
      const data = new Float32Array((capacity * t.data.length) / (t.dims[0] ?? 1));
      return [name, { dims: t.dims, data }] as const;
    }),
  );
  return { key, graph, capacity, rooms, filled: 0 };
}

/** a − b, of the same dims. */
export function difference(a: Tensor, b: Tensor): Tensor {
  const [from, less] = [a.data as Float32Array, b.data as Float32Array];
  return { ...a, data: from.map((v, i) => v - less[i]!) };
}
