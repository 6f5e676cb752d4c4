import { intAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName } from '../../graph/query.ts';
import { hasGram, layerGrams, type LayerGram } from '../gram.ts';
import type { Note, PassContext } from '../pass.ts';
import type { PruneSite } from './masks.ts';

/** A weight whose layer's inputs can be looked at, and the layers that read it. */
export interface GramSite {
  readonly site: PruneSite;
  readonly nodes: readonly NodeProto[];
}

/**
 * Sorts out the weights whose layers' inputs can be looked at: the second operand of Conv, Gemm and MatMul, as stored.
 */
export function gramSites(
  model: Model,
  sites: readonly PruneSite[],
): { readonly usable: readonly GramSite[]; readonly skipped: readonly Note[] } {
  const readers = consumers(model.graph);
  const usable: GramSite[] = [];
  const skipped: Note[] = [];
  for (const site of sites) {
    const nodes = readers.get(site.name) ?? [];
    const why = nodes.map((node) => refusal(node, site)).find((reason) => reason !== undefined);
    if (why === undefined) usable.push({ site, nodes });
    else skipped.push({ layer: site.layer.node, text: `${site.name}: ${why}` });
  }
  return { usable, skipped };
}

function refusal(node: NodeProto, { name, dims }: PruneSite): string | undefined {
  if (!hasGram(node) || node.input[0] === name || node.input[1] !== name)
    return `${layerName(node)} (${node.op_type}) reads it, whose inputs are not looked at: only Conv, Gemm and MatMul with the weight as second operand`;
  if (!isOp(node, 'Conv') && dims.length !== 2)
    return `a weight of ${dims.length} axes is no matrix: one for each batch is not pruned by its inputs`;
  return undefined;
}

/** Second moments of the inputs of each weight's layers, summed over the layers that share it; in order of the sites. */
export async function siteGrams(
  ctx: PassContext,
  model: Model,
  sites: readonly GramSite[],
  samples: number,
): Promise<LayerGram[]> {
  const requests = sites.flatMap(({ site, nodes }) =>
    nodes.map((node) => ({ node, dims: site.dims, input: node.input[0] as string })),
  );
  const grams = await layerGrams(ctx, model, requests, { samples });
  let from = 0;
  return sites.map(({ nodes }) => {
    const [first, ...others] = grams.slice(from, (from += nodes.length));
    const { gram } = first as LayerGram;
    for (const other of others) other.gram.forEach((v, i) => (gram[i] = (gram[i] as number) + v));
    return first as LayerGram;
  });
}

/** ‖x‖₂ of each column of one group. */
export function columnNorms({ gram, size }: LayerGram, group: number): Float64Array {
  return Float64Array.from({ length: size }, (_, j) => Math.sqrt(gram[(group * size + j) * size + j] as number));
}

/** Applies `work` to each group's matrix [outputs, K] of a weight and puts the results back in the weight's own order. */
export function eachMatrix(
  { site, nodes }: GramSite,
  { groups, size }: LayerGram,
  work: (matrix: Float32Array, shape: readonly [number, number], group: number) => Float32Array,
): Float32Array {
  const node = nodes[0] as NodeProto;
  const rows = site.data.length / size / groups;
  const across = isOp(node, 'MatMul') || (isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 0);
  const data = across ? transposed(site.data, size, rows) : site.data;
  const done = new Float32Array(data.length);
  for (let g = 0; g < groups; g++) {
    const from = g * rows * size;
    done.set(work(data.slice(from, from + rows * size), [rows, size], g), from);
  }
  return across ? transposed(done, rows, size) : done;
}

function transposed(data: Float32Array, rows: number, cols: number): Float32Array {
  return data.map((_, e) => data[(e % rows) * cols + Math.floor(e / rows)] as number);
}
