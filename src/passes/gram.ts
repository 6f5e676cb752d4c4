import { intAttribute } from '../graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../graph/build.ts';
import type { Feeds, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { NodeCodec, type NodeProto, type TensorProto } from '../graph/proto.ts';
import { isOp, layerName } from '../graph/query.ts';
import { makeTensor } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { convColumns, kernelSize } from './im2col.ts';
import type { PassContext } from './pass.ts';

/**
 * Second moments of what a layer multiplies its weights with: the columns x of the im2col matrix, in the order of the weight's
 * own elements [in/group, kh, kw] (or the K of a Gemm or MatMul). Sums over all `count` columns. With them any quadratic error of
 * the layer's output is a small matrix product: E‖(W − W̃)x‖² needs no data any more.
 */
export interface LayerGram {
  readonly groups: number;
  /** K: weights of one output. */
  readonly size: number;
  readonly count: number;
  /** Σ x̂ x̂ᵀ, [groups, K, K] row-major. */
  readonly gram: Float64Array;
  /** Σ x x̂ᵀ where a reference input x was given, else the same array as `gram`. */
  readonly cross: Float64Array;
  /** Σ x̂ and Σ x, [groups, K]. */
  readonly sum: Float64Array;
  readonly crossSum: Float64Array;
}

/** What `layerGrams` collects, and from how much. */
export interface GramOptions {
  readonly samples?: number;
  /** The float model, run beside for the cross moments. */
  readonly reference?: Model;
  /** false: sums only; `gram` and `cross` stay empty. */
  readonly products?: boolean;
}

/** A layer whose input is looked at; `reference` names the value that holds the float input in the reference model. */
export interface GramRequest {
  readonly node: NodeProto;
  /** Dims of its weight. */
  readonly dims: readonly number[];
  readonly input: string;
  readonly reference?: string;
}

/**
 * Floats of one im2col matrix, and its columns; larger batches are cut into rows. Within a run products are summed in float32:
 * over hundreds of thousands of columns that would drown the variance of channels with a large mean.
 */
const matrixLimit = 32 * 2 ** 20;
const columnLimit = 2 ** 15;

/** Whether `layerGrams` knows the layer's operator. */
export function hasGram(node: NodeProto): boolean {
  return isOp(node, 'Conv', 'MatMul') || (isOp(node, 'Gemm') && intAttribute(node, 'transA', 0) === 0);
}

/**
 * Collects second moments of the inputs of several layers in one stream over the calibration data; the products run as
 * onnxruntime graphs. With `reference` the float model runs beside, for the cross moments.
 * @returns per request, in order. @throws QtoolError for operators that `hasGram` does not know.
 */
export async function layerGrams(
  ctx: PassContext,
  model: Model,
  requests: readonly GramRequest[],
  options: GramOptions = {},
): Promise<LayerGram[]> {
  const sums = requests.map((request) => openGram(request, options));
  const main = ctx.capture(model, [...new Set(requests.map((r) => r.input))], options.samples);
  const beside =
    options.reference &&
    ctx
      .capture(options.reference, [...new Set(requests.map((r) => r.reference ?? r.input))], options.samples)
      [Symbol.asyncIterator]();
  for await (const values of main) {
    const others = beside ? ((await beside.next()).value as Feeds) : values;
    for (const [i, request] of requests.entries()) {
      const hat = values[request.input] as Tensor;
      const float = beside && (others[request.reference ?? request.input] as Tensor);
      await (sums[i] as OpenGram).add(ctx, hat, float);
    }
  }
  return sums.map((sum) => sum.gram);
}

/** Moments that are still being summed up. */
export interface OpenGram {
  readonly gram: LayerGram;
  /** Adds a batch of the layer's input; `float`, of the same shape, where the cross moments are wanted. */
  add(ctx: PassContext, hat: Tensor, float: Tensor | undefined): Promise<void>;
}

/** Starts the moments of one layer, for callers that bring its inputs themselves. */
export function openGram(
  request: Pick<GramRequest, 'node' | 'dims'>,
  options: { readonly reference?: unknown; readonly products?: boolean },
): OpenGram {
  const graph = momentGraph(request.node, request.dims, options);
  const gram = emptyGram(request.node, request.dims, options);
  return {
    gram,
    async add(ctx, hat, float) {
      for (const [a, b] of slices(hat, float ?? hat, request))
        await addMoments(ctx, geometryGraph(graph, a), gram, a, float && b);
    },
  };
}

type Wanted = Parameters<typeof openGram>[1];

interface MutableGram extends LayerGram {
  count: number;
}

/** K, groups and how the input becomes columns. */
interface MomentGraph {
  readonly node: NodeProto;
  readonly dims: readonly number[];
  readonly crossed: boolean;
  readonly products: boolean;
  readonly cache: Map<string, Model>;
}

function momentGraph(node: NodeProto, dims: readonly number[], options: Wanted): MomentGraph {
  if (!hasGram(node))
    throw new QtoolError('graph', `second moments are not known for ${node.op_type}`, { at: layerName(node) });
  const [crossed, products] = [options.reference !== undefined, options.products ?? true];
  return { node, dims, crossed, products, cache: new Map() };
}

function emptyGram(node: NodeProto, dims: readonly number[], options: Wanted): MutableGram {
  const crossed = options.reference !== undefined;
  const groups = isOp(node, 'Conv') ? intAttribute(node, 'group', 1) : 1;
  const size = kernelSize(node, dims);
  const gram = new Float64Array(options.products === false ? 0 : groups * size * size);
  const sum = new Float64Array(groups * size);
  return {
    groups,
    size,
    count: 0,
    gram,
    cross: crossed ? new Float64Array(gram.length) : gram,
    sum,
    crossSum: crossed ? new Float64Array(sum.length) : sum,
  };
}

/** Cuts a batch where its im2col matrix would be too large. */
function* slices(
  hat: Tensor,
  float: Tensor,
  { node, dims }: Pick<GramRequest, 'node' | 'dims'>,
): Generator<[Tensor, Tensor]> {
  const rows = hat.dims[0] ?? 1;
  const taps = isOp(node, 'Conv') ? dims.slice(2).reduce((a, b) => a * b, 1) : 1;
  const positions = isOp(node, 'Conv')
    ? hat.dims.slice(2).reduce((a, b) => a * b, 1)
    : hat.dims.slice(1, -1).reduce((a, b) => a * b, 1);
  const step = Math.max(
    1,
    Math.floor(Math.min(matrixLimit / ((hat.data.length / rows) * taps), columnLimit / positions)),
  );
  const cut = (t: Tensor, from: number, to: number): Tensor => {
    const inner = t.data.length / rows;
    return {
      type: t.type,
      dims: [to - from, ...t.dims.slice(1)],
      data: (t.data as Float32Array).subarray(from * inner, to * inner),
    };
  };
  for (let from = 0; from < rows; from += step) {
    const to = Math.min(rows, from + step);
    yield [cut(hat, from, to), cut(float, from, to)];
  }
}

async function addMoments(
  ctx: PassContext,
  graph: Model,
  into: MutableGram,
  hat: Tensor,
  float: Tensor | undefined,
): Promise<void> {
  const got = await ctx.compute(graph, float ? { hat, float } : { hat });
  const add = (target: Float64Array, name: string): void => {
    if (target.length === 0) return;
    const data = got[name]?.data as Float32Array;
    for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) + (data[i] as number);
  };
  add(into.gram, 'gram');
  add(into.sum, 'sum');
  if (float) {
    add(into.cross, 'cross');
    add(into.crossSum, 'crossSum');
  }
  const samples = into.gram.length > 0 ? 1 : (hat.dims[0] ?? 1);
  into.count += Number((got.count?.data as BigInt64Array)[0]) * samples;
}

/** The graph for one input shape; the batch axis is free. */
function geometryGraph(moments: MomentGraph, input: Tensor): Model {
  const key = input.dims.slice(1).join();
  const known = moments.cache.get(key) ?? build(moments, input.dims);
  moments.cache.set(key, known);
  return known;
}

function build({ node, dims, crossed, products }: MomentGraph, shape: readonly number[]): Model {
  const free = ['N', ...shape.slice(1)];
  const names = crossed ? ['hat', 'float'] : ['hat'];
  const size = kernelSize(node, dims);
  const groups = isOp(node, 'Conv') ? intAttribute(node, 'group', 1) : 1;
  const initializers: TensorProto[] = [];
  const constant = (name: string, values: readonly number[]): string => {
    initializers.push(makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  };
  // Sums alone need no column of each sample: summing the batch first is the same.
  const first = (name: string): string => (products ? name : `${name}_all`);
  const nodes = names.flatMap((name) => [
    ...(products ? [] : [makeNode('ReduceSum', [name, constant(`${name}_batch`, [0])], [first(name)])]),
    ...(isOp(node, 'Conv')
      ? convColumns(node, dims, shape, name, [groups, size], constant)
      : [
          makeNode('Reshape', [name, constant(`${name}_flat`, [-1, size])], [`${name}_rows`]),
          makeNode('Transpose', [`${name}_rows`], [`${name}_turned`], { perm: [1, 0] }),
          makeNode('Reshape', [`${name}_turned`, constant(`${name}_shape`, [1, size, -1])], [`${name}_columns`]),
        ]
    ).map((n) => (n.input[0] === name ? NodeCodec.amend(n, { input: [first(name), ...n.input.slice(1)] }) : n)),
  ]);
  const last = constant('last', [2]);
  const product = (left: string, right: string, output: string): NodeProto[] => [
    makeNode('Transpose', [`${right}_columns`], [`${output}_right`], { perm: [0, 2, 1] }),
    makeNode('MatMul', [`${left}_columns`, `${output}_right`], [output]),
  ];
  if (products) nodes.push(...product('hat', 'hat', 'gram'));
  nodes.push(makeNode('ReduceSum', ['hat_columns', last], ['sum'], { keepdims: 0 }));
  nodes.push(makeNode('Shape', ['hat_columns'], ['count'], { start: 2, end: 3 }));
  if (crossed && products) nodes.push(...product('float', 'hat', 'cross'));
  if (crossed) nodes.push(makeNode('ReduceSum', ['float_columns', last], ['crossSum'], { keepdims: 0 }));
  const sums = [
    'sum',
    ...(products ? ['gram'] : []),
    ...(crossed ? ['crossSum'] : []),
    ...(crossed && products ? ['cross'] : []),
  ];
  const outputs = [makeValue('count', 'int64'), ...sums.map((name) => makeValue(name, 'float32'))];
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: names.map((name) => makeValue(name, 'float32', free)),
    outputs,
    nodes,
    initializers,
  });
}
