import { storedTensors } from '../../../graph/channels.ts';
import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { assignNames, layerFacts, type LayerFact } from '../../../graph/names.ts';
import { productOf } from '../../../graph/ops.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { consumers, initializers, isOp, layerName } from '../../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../../graph/tensor.ts';
import { layoutOf, forEachRun } from '../../../numerics/layout.ts';
import type { Note } from '../../pass.ts';
import { must } from '../../../util/must.ts';

/** Distiller's names of structures: outputs of a layer (Filters, 3D, Rows) or its inputs (Channels, Cols). */
export const groupTypes = ['Filters', '3D', 'Rows', 'Channels', 'Cols'] as const;
export type GroupType = (typeof groupTypes)[number];

export const isOutput = (type: GroupType): boolean => type === 'Filters' || type === '3D' || type === 'Rows';

/** A weight whose structures are pruned, and what else belongs to an output: its bias and its batch norm. */
export interface StructureSite {
  readonly layer: LayerFact;
  readonly node: NodeProto;
  readonly tensor: string;
  readonly dims: readonly number[];
  readonly data: Float32Array;
  readonly axis: number;
  readonly count: number;
  /** One-dimensional tensors with one number an output. */
  readonly companions: readonly string[];
}

/** The axis of a layer's weight along which its outputs or inputs lie. */
function structureAxis(node: NodeProto, input: number, rank: number, output: boolean): number | undefined {
  if (!isOp(node, 'Conv', 'ConvTranspose', 'Gemm', 'MatMul')) return undefined;
  const axes = productOf(node)?.axes(node, input, rank);
  return output ? axes?.out.at(-1) : axes?.in[0];
}

/** The weights that selectors name, in the order of the selectors, and why named ones are left alone. */
export function structureSites(
  model: Model,
  selectors: readonly string[],
  type: GroupType,
): { readonly sites: readonly StructureSite[]; readonly skipped: readonly Note[]; readonly notes: readonly string[] } {
  const layers = layerFacts(model);
  const { weights, notes } = assignNames(selectors, layers, 'weights');
  const stored = initializers(model.graph);
  const nodes = new Map(model.graph.node.map((node) => [layerName(node), node]));
  const readers = consumers(model.graph);
  const skipped: Note[] = [];
  const sites = layers.flatMap((layer) =>
    layer.weights.flatMap((tensor): StructureSite[] => {
      if (!weights.has(tensor)) return [];
      const skip = (text: string): StructureSite[] => {
        skipped.push({ layer: layer.node, text: `${tensor}: ${text}` });
        return [];
      };
      const [value, node] = [stored.get(tensor), nodes.get(layer.node)];
      if (!value || !node) return skip('made by a Constant node: fold constants first');
      if (typeOf(value) !== 'float32') return skip(`it is ${typeOf(value)}: prune before quantizing`);
      const dims = dimsOf(value);
      const input = node.input.indexOf(tensor);
      const axis = structureAxis(node, input, dims.length, isOutput(type));
      if (axis === undefined) return skip(`${node.op_type} has no ${type}`);
      const count = dims[axis]!;
      // The outputs of a left operand are rows of the result, which biases and norms run across.
      const companions = isOutput(type) && input !== 0 ? companionsOf(node, readers, stored, count) : [];
      return [{ layer, node, tensor, dims, data: floatData(value), axis, count, companions }];
    }),
  );
  const rank = (site: StructureSite): number => selectors.indexOf(must(weights, site.tensor, 'the selector of'));
  return { sites: sites.sort((a, b) => rank(a) - rank(b)), skipped, notes };
}

/** Bias, and scale and shift of the batch norm that alone reads the layer: without them a zero filter is a zero channel. */
function companionsOf(
  node: NodeProto,
  readers: ReadonlyMap<string, NodeProto[]>,
  stored: ReturnType<typeof initializers>,
  count: number,
): string[] {
  const [reader, ...more] = readers.get(node.output[0] as string) ?? [];
  const bias = [node.input[productOf(node)?.bias ?? -1] ?? ''];
  const norm = reader && more.length === 0 && isOp(reader, 'BatchNormalization') ? reader.input.slice(1, 3) : [];
  const added = reader && more.length === 0 && isOp(reader, 'Add') ? [...reader.input] : [];
  return [...bias, ...norm, ...added].filter((name) => {
    const tensor = stored.get(name);
    return tensor !== undefined && typeOf(tensor) === 'float32' && floatData(tensor).length === count;
  });
}

/** 0 for the elements of the structures that are gone, `rest` for the others. */
export function structureMask(site: StructureSite, gone: ReadonlySet<number>, rest = 1): Float32Array {
  const of = structureOf(site);
  return Float32Array.from(of, (structure) => (gone.has(structure) ? 0 : rest));
}

/** The structure of each element of a weight. */
export function structureOf({ dims, axis }: Pick<StructureSite, 'dims' | 'axis'>): Int32Array {
  const layout = layoutOf(dims, { per: 'channel', axis });
  const of = new Int32Array(layout.elements);
  forEachRun(layout, (start, count, param, step) => {
    for (let j = 0, p = param; j < count; j++, p += step) of[start + j] = p;
  });
  return of;
}

/** Zeros the given structures of each site, companions with them. */
export function zeroStructures(model: Model, zeros: ReadonlyMap<StructureSite, ReadonlySet<number>>): Model {
  const stored = storedTensors(model);
  return edit(model, (draft) => {
    for (const [site, gone] of zeros) {
      if (gone.size === 0) continue;
      const mask = structureMask(site, gone);
      const data = site.data.map((v, i) => (mask[i] === 0 ? 0 : v));
      draft.replace(site.tensor, makeTensor(site.tensor, 'float32', site.dims, data));
      for (const name of site.companions) {
        const tensor = stored.get(name);
        if (!tensor) continue;
        const values = floatData(tensor).map((v, i) => (gone.has(i) ? 0 : v));
        draft.replace(name, makeTensor(name, 'float32', dimsOf(tensor), values));
      }
    }
  });
}

/** Roundings of a number of structures that Distiller's `rounding_fn` may name. */
export const roundings = { floor: Math.floor, ceil: Math.ceil, round: Math.round } as const;

/**
 * How many of `total` structures a sparsity means: rounded to whole groups of `size`; all of them only where the sparsity says
 * so, as in Distiller.
 */
export function structuresToPrune(
  total: number,
  sparsity: number,
  size = 1,
  rounding: keyof typeof roundings = 'floor',
): number {
  // 0.3 · 10 is 3.0000000000000004 in floating point, 0.7 · 10 is 7.000000000000001, 0.29 · 100 is 28.999999999999996.
  const wanted = Number((sparsity * total).toFixed(9));
  const count = Math.min(total, roundings[rounding](wanted / size) * size);
  return count === total && sparsity < 1 ? Math.max(0, total - size) : count;
}

/** The `count` structures of least score, of equal ones the first. */
export function weakest(scores: ArrayLike<number>, count: number): Set<number> {
  const order = Array.from({ length: scores.length }, (_, i) => i);
  order.sort((a, b) => scores[a]! - scores[b]! || a - b);
  return new Set(order.slice(0, count));
}

/** `conv1.weight: 5 of 16 Filters are zero`. */
export function structureNote(site: StructureSite, type: GroupType, gone: number): Note {
  return { layer: site.layer.node, text: `${site.tensor}: ${gone} of ${site.count} ${type} are zero` };
}
