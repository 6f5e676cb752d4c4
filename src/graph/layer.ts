import { fromRows, rowView, toRows, type RowView } from '../numerics/rows.ts';
import { must } from '../util/must.ts';
import type { Model } from './model.ts';
import { productOf } from './ops.ts';
import type { Product, WeightAxes } from './product.ts';
import type { GraphProto, NodeProto, TensorProto } from './proto.ts';
import { initializers, layerName, subgraphs } from './query.ts';
import { dimsOf, floatData } from './tensor.ts';

/**
 * A weight and the node that multiplies by it: the only way to look at a weight. A node with two weights (a recurrent layer) is two
 * layers of one name.
 */
export interface Layer {
  readonly node: NodeProto;
  /** The node's name, or its first output where the exporter gave none. */
  readonly name: string;
  readonly product: Product;
  /** The input that the weight is read by. */
  readonly input: number;
  readonly weight: Weight;
  /** What is added to each output channel, where it is stored too. */
  readonly bias: TensorProto | undefined;
  /** Everything that reads the weight tensor, this layer among them, in graph order. */
  readonly readers: readonly Reader[];
}

/** A stored tensor as one of its readers sees it. */
export interface Weight {
  readonly tensor: TensorProto;
  readonly dims: readonly number[];
  /** undefined where its operator gives the axes no order (Einsum). */
  readonly axes: WeightAxes | undefined;
  /** The matrix [outputs, K] it is. @throws where `axes` is undefined. */
  view(): RowView;
  /** Its float32 values as [outputs, K]; shared with the tensor where that is its order, so read-only. */
  rows(): Float32Array;
  /** [outputs, K] in the tensor's own order. */
  fromRows<T extends Parameters<typeof fromRows>[0]>(rows: T): T;
}

/** One reading of a tensor: at an input of a node, as its weight or as anything else. */
export interface Reader {
  readonly node: NodeProto;
  readonly input: number;
  /** The axes that it gives the tensor; undefined where it reads it otherwise than as a weight. */
  readonly axes: WeightAxes | undefined;
}

/** A node that multiplies, and of whose weights none is stored: why. */
export interface Unweighted {
  readonly node: NodeProto;
  readonly text: string;
}

/**
 * Every weight of rank 2 and more that a node of the main graph multiplies by, in graph order; nodes that multiply computed values; and
 * what lies inside bodies and local functions, which no pass changes.
 */
export function layers(model: Model): {
  readonly layers: readonly Layer[];
  readonly unweighted: readonly Unweighted[];
} {
  const tensors = initializers(model.graph);
  const readers = tensorReaders(model, tensors);
  const found: Layer[] = [];
  const unweighted: Unweighted[] = [];
  for (const node of model.graph.node) {
    const product = productOf(node);
    if (!product) continue;
    const own = product.weights.flatMap((input): Layer[] => {
      const tensor = tensors.get(node.input[input] ?? '');
      if (!tensor || tensor.dims.length < 2) return [];
      const bias = tensors.get(node.input[product.bias ?? -1] ?? '');
      const weight = weightOf(node, product, input, tensor);
      const all = must(readers, tensor.name, 'readers');
      return [{ node, name: layerName(node), product, input, weight, bias, readers: all }];
    });
    found.push(...own);
    const main = node.input[product.weights[0] ?? -1] ?? '';
    if (own.length === 0 && product.as !== 'Gather')
      unweighted.push({ node, text: withoutWeights(main, tensors.has(main)) });
  }
  return { layers: found, unweighted };
}

const withoutWeights = (main: string, stored: boolean): string => {
  if (main === '') return 'multiplies computed values only';
  return stored ? `its weight ${main} is a vector` : `has no constant weights (${main} is computed)`;
};

/** A weight as a node reads it at an input. */
function weightOf(node: NodeProto, product: Pick<Product, 'axes'>, input: number, tensor: TensorProto): Weight {
  const dims = dimsOf(tensor);
  const axes = product.axes(node, input, dims.length);
  let known: RowView | undefined;
  const view = (): RowView => {
    if (!axes) throw new Error(`the axes of ${tensor.name} have no order in ${node.op_type}`);
    return (known ??= axesView(dims, axes));
  };
  return {
    tensor,
    dims,
    axes,
    view,
    rows: () => toRows(floatData(tensor), view()),
    fromRows: (rows) => fromRows(rows, view()),
  };
}

/** Whether the output channels of a weight's layer read one input channel each. */
export const isDepthwise = (weight: Pick<Weight, 'axes' | 'dims'> | undefined): boolean =>
  weight?.axes !== undefined && weight.axes.groups > 1 && weight.dims[weight.axes.in[0] ?? -1] === 1;

/** The matrix [outputs, K] that a tensor of these dims and axes is; outputs of one group stand together. */
export function axesView(dims: readonly number[], { out, in: into, groups, grouped }: WeightAxes): RowView {
  const [axis = 0] = into;
  return rowView(dims, out, grouped === 'in' ? { axis, groups } : undefined);
}

/** Initializer → its readings in the main graph; a body that captures it, and being a graph output, are readings too. */
function tensorReaders(model: Model, tensors: ReadonlyMap<string, TensorProto>): Map<string, Reader[]> {
  const result = new Map<string, Reader[]>();
  const add = (name: string, reader: Reader): void => {
    const list = result.get(name);
    if (list) list.push(reader);
    else result.set(name, [reader]);
  };
  const inside = (graph: Readonly<GraphProto>, by: NodeProto): void => {
    const names = [...graph.node.flatMap((node) => node.input), ...graph.output.map((o) => o.name)];
    for (const name of names) add(name, { node: by, input: -1, axes: undefined });
    for (const node of graph.node) subgraphs(node).forEach((body) => inside(body, by));
  };
  for (const node of model.graph.node) {
    const product = productOf(node);
    node.input.forEach((name, input) => {
      const tensor = tensors.get(name);
      if (!tensor) return;
      const axes = product?.weights.includes(input) ? product.axes(node, input, tensor.dims.length) : undefined;
      add(name, { node, input, axes });
    });
    subgraphs(node).forEach((body) => inside(body, node));
  }
  return result;
}

/** A layer that no pass sees into: inside a body (If, Loop, Scan) or a local function, with the way to it. */
export interface InnerLayer {
  /** `If "gate" then_branch / fc1`. */
  readonly path: string;
  readonly op: string;
}

/** Layers with stored weights inside of bodies, and in local functions that the model calls. */
export function innerLayers(model: Model): InnerLayer[] {
  const outer = new Set(model.graph.initializer.map((t) => t.name));
  const functions = new Map(model.proto.functions.map((f) => [`${f.domain}:${f.name}`, f]));
  const found: InnerLayer[] = [];
  const walk = (nodes: readonly NodeProto[], known: ReadonlySet<string>, path: string, depth: number): void => {
    for (const node of nodes) {
      const product = productOf(node);
      if (path !== '' && product?.weights.some((i) => known.has(node.input[i] ?? '')))
        found.push({ path: `${path}${layerName(node)}`, op: node.op_type });
      const called = functions.get(`${node.domain}:${node.op_type}`);
      // Functions may not call themselves; the depth only guards against files that break the rule.
      if (called && depth < 16) {
        const given = new Set(called.input.filter((_, i) => known.has(node.input[i] ?? '')));
        const way = `${path}${node.op_type} "${layerName(node)}" / `;
        walk(called.node, withConstants(called.node, given), way, depth + 1);
      }
      for (const attribute of node.attribute)
        for (const body of [...(attribute.g ? [attribute.g] : []), ...attribute.graphs]) {
          const own = new Set([...known, ...body.initializer.map((t) => t.name)]);
          const way = `${path}${node.op_type} "${layerName(node)}" ${attribute.name} / `;
          walk(body.node, withConstants(body.node, own), way, depth + 1);
        }
    }
  };
  walk(model.graph.node, withConstants(model.graph.node, outer), '', 0);
  return found;
}

function withConstants(nodes: readonly NodeProto[], known: ReadonlySet<string>): ReadonlySet<string> {
  return new Set([...known, ...nodes.filter((n) => n.op_type === 'Constant').flatMap((n) => n.output)]);
}
