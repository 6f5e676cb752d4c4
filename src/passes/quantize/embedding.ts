import { intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { captured, consumers, initializers, isOp, layerName, subgraphs } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { minMaxParams, quantize } from '../../numerics/quantize.ts';
import type { Note } from '../pass.ts';
import { describeParams } from './params.ts';
import { addParams, type ParamNames } from './qdq.ts';

/** A Gather that looks rows up in a constant table. */
export interface Embedding {
  readonly node: NodeProto;
  readonly table: TensorProto;
}

/** Below so many elements the nodes that are added outweigh what the file saves. */
const fewest = 1024;

/**
 * The embeddings of a model whose table can be held in integers, and of the others why not.
 * @param wanted why a Gather is to stay in float, or undefined.
 */
export function embeddings(
  model: Model,
  wanted: (node: NodeProto) => string | undefined,
): { readonly sites: readonly Embedding[]; readonly skipped: readonly Note[] } {
  const tensors = initializers(model.graph);
  const readers = consumers(model.graph);
  const inner = new Set(model.graph.node.flatMap((node) => subgraphs(node).flatMap((body) => [...captured(body)])));
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const isLookup = (node: NodeProto, name: string): boolean =>
    isOp(node, 'Gather') && node.input[0] === name && node.input[1] !== name && intAttribute(node, 'axis', 0) === 0;
  const unfit = (node: NodeProto, table: TensorProto): string | undefined => {
    const { name } = table;
    const other = (readers.get(name) ?? []).find((reader) => !isLookup(reader, name));
    if (!isLookup(node, name)) return 'looks up along another axis than rows';
    if (typeOf(table) !== 'float32') return `its table is ${typeOf(table)}, not float32`;
    if (other) return `its table is read by "${layerName(other)}" too, which takes it in float`;
    if (outputs.has(name) || inner.has(name)) return 'its table is read elsewhere too, in float';
    const elements = elementCount(dimsOf(table));
    return elements < fewest ? `its table has ${elements} elements only` : wanted(node);
  };
  const sites: Embedding[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    const table = isOp(node, 'Gather') ? tensors.get(node.input[0] ?? '') : undefined;
    // Tables of whole numbers are shapes and indices.
    if (!table || table.dims.length < 2 || !['float32', 'float16', 'float64'].includes(typeOf(table))) continue;
    const reason = unfit(node, table);
    if (reason === undefined) sites.push({ node, table });
    else skipped.push({ layer: layerName(node), text: reason });
  }
  return { sites, skipped };
}

/**
 * Stores a table in uint8 and dequantizes the rows that are looked up: Gather → DequantizeLinear. The other order, which other quantizers
 * write, would dequantize the whole table at every run or round the rows a second time. One scale a table: DequantizeLinear knows no scale
 * that goes with an index.
 * @param stored tables that earlier lookups have stored.
 */
export function quantizeEmbedding(draft: Draft, { node, table }: Embedding, stored: Map<string, StoredTable>): Note {
  const { name } = table;
  const held = stored.get(name) ?? storeTable(draft, table);
  stored.set(name, held);
  const { input, output } = draft.current(node);
  const value = output[0] as string;
  const rows = draft.freshName(`${value}_rows`);
  draft.update(node, { input: [held.codes, ...input.slice(1)], output: [rows] });
  draft.addNode(makeNode('DequantizeLinear', [rows, held.names.scale, held.names.zeroPoint], [value]));
  return { layer: layerName(node), text: `table ${describeParams(held.params)}` };
}

/** A table's codes and scale in the model. */
export interface StoredTable {
  readonly codes: string;
  readonly names: ParamNames;
  readonly params: QuantParams;
}

function storeTable(draft: Draft, table: TensorProto): StoredTable {
  const [data, dims] = [floatData(table), dimsOf(table)];
  const format = { kind: 'int', bits: 8, signed: false, symmetric: false } as const;
  const params = minMaxParams(data, dims, format, { per: 'tensor' }, table.name);
  const codes = makeTensor('codes', 'uint8', dims, quantize(data, dims, params));
  return {
    codes: draft.add(`${table.name}_quantized`, codes),
    names: addParams(draft, table.name, dims, params),
    params,
  };
}
