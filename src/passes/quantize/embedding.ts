import { intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { notFinite } from '../../graph/not_finite.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, layerName } from '../../graph/query.ts';
import { dimsOf, elementCount, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { Note } from '../pass.ts';
import { describeParams, wholeCodes } from './params.ts';
import { addParams } from './qdq.ts';
import { lookUpTied, tiedLayer, type MatrixCodes } from './tied.ts';

/** A Gather that looks rows up in a constant table. */
export interface Embedding {
  readonly node: NodeProto;
  readonly table: TensorProto;
  /** The layer whose weight's codes hold the table too. */
  readonly tied?: Layer | undefined;
}

/** Below so many elements the nodes that are added outweigh what the file saves. */
const fewest = 1024;

/**
 * The embeddings of a model whose table can be held in integers, and of the others why not.
 * @param coded layers whose weights are held in signed codes with zero at code 0.
 * @param wanted why a Gather is to stay in float, or undefined.
 */
export function embeddings(
  model: Model,
  coded: readonly Layer[],
  wanted: (node: NodeProto) => string | undefined,
): { readonly sites: readonly Embedding[]; readonly skipped: readonly Note[] } {
  const tensors = initializers(model.graph);
  const readers = consumers(model.graph);
  const codedNodes = new Set(coded.map(({ node }) => node));
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const isLookup = (node: NodeProto): boolean => isOp(node, 'Gather') && intAttribute(node, 'axis', 0) === 0;
  const unfit = (node: NodeProto, table: TensorProto): string | undefined => {
    const { name } = table;
    const other = (readers.get(name) ?? []).find((reader) => !isLookup(reader) && !codedNodes.has(reader));
    if (!isLookup(node)) return 'looks up along another axis than rows';
    if (typeOf(table) !== 'float32') return `its table is ${typeOf(table)}, not float32`;
    if (other) return `its table is read by "${layerName(other)}" too, which takes it in float`;
    if (outputs.has(name)) return 'its table is an output of the model too, in float';
    const elements = elementCount(dimsOf(table));
    if (elements < fewest) return `its table has ${elements} elements only`;
    const bad = notFinite(table);
    return bad === undefined ? wanted(node) : `its table ${bad}`;
  };
  const sites: Embedding[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    const table = isOp(node, 'Gather') ? tensors.get(node.input[0] ?? '') : undefined;
    // Tables of whole numbers are shapes and indices.
    if (!table || table.dims.length < 2 || !['float32', 'float16', 'float64'].includes(typeOf(table))) continue;
    const reason = unfit(node, table);
    if (reason === undefined) sites.push({ node, table, tied: tiedLayer(table, coded) });
    else skipped.push({ layer: layerName(node), text: reason });
  }
  return { sites, skipped };
}

/**
 * Stores tables in uint8, once each, and dequantizes the rows that are looked up: Gather → DequantizeLinear. The other order, which other quantizers
 * write, would dequantize the whole table at every run or round the rows a second time. One scale a table: DequantizeLinear knows no scale
 * that goes with an index.
 * A table whose rows a layer holds as its weights is looked up in that layer's codes.
 * @param codesOf where the codes of a tied layer's weight are.
 */
export function quantizeEmbeddings(
  draft: Draft,
  sites: readonly Embedding[],
  codesOf: (layer: Layer) => MatrixCodes,
): Note[] {
  const stored = new Map<string, ReturnType<typeof storeTable>>();
  const rowCodes = new Map<string, string>();
  return sites.map(({ node, table, tied }) => {
    const { name } = table;
    const layer = layerName(node);
    if (tied) {
      rowCodes.set(name, lookUpTied(draft, node, codesOf(tied), rowCodes.get(name)));
      return { layer, text: `table in the codes of "${tied.name}", which has the same weights` };
    }
    const { codes, names, params } = stored.get(name) ?? storeTable(draft, table);
    stored.set(name, { codes, names, params });
    const { input, output } = draft.current(node);
    const value = output[0]!;
    const rows = draft.freshName(`${value}_rows`);
    draft.update(node, { input: [codes, ...input.slice(1)], output: [rows] });
    draft.addNode(makeNode('DequantizeLinear', [rows, names.scale, names.zeroPoint], [value]));
    return { layer, text: `table ${describeParams(params)}` };
  });
}

function storeTable(draft: Draft, table: TensorProto) {
  const { dims, codes, params } = wholeCodes(table);
  return {
    codes: draft.add(`${table.name}_quantized`, makeTensor('codes', 'uint8', dims, codes)),
    names: addParams(draft, table.name, dims, params),
    params,
  };
}
