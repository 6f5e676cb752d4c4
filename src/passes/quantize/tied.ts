import { intsAttribute } from '../../graph/attribute.ts';
import { dtypes } from '../../graph/dtype.ts';
import { makeNode } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { initializers, isOp } from '../../graph/query.ts';
import { productOf } from '../../graph/ops.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { rowView, toRows } from '../../numerics/rows.ts';
import { given } from '../../util/must.ts';
import { int64, stepsOf } from './steps.ts';
import { weightKey } from './targets.ts';

/**
 * Tied embeddings: one table that a Gather looks rows up in and an output layer multiplies with (Press and Wolf 2017,
 * arXiv 1608.05859). Its codes are stored once, for both.
 */

/** A table, and its transpose as a weight of its own. */
export interface Untied {
  readonly table: string;
  readonly copy: string;
}

/**
 * Gives a layer whose weight is the Transpose of a constant that others read too a weight of its own, so that it can be
 * quantized. The copy is there for the time of quantization only: `retied` takes it away where it stayed in float.
 */
export function untied(model: Model): { readonly model: Model; readonly copies: readonly Untied[] } {
  const tensors = initializers(model.graph);
  const weights = new Set(
    model.graph.node.flatMap((node) => productOf(node)?.weights.map((input) => node.input[input] ?? '') ?? []),
  );
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const sites = model.graph.node.flatMap((node) => {
    const [from, value] = [node.input[0], node.output[0]] as [string, string];
    const table = isOp(node, 'Transpose') ? tensors.get(from) : undefined;
    const fit = table && table.dims.length === 2 && typeOf(table) === 'float32';
    const swaps = intsAttribute(node, 'perm')?.[0] !== 0;
    return fit && swaps && weights.has(value) && !outputs.has(value) ? [{ node, table, value }] : [];
  });
  if (sites.length === 0) return { model, copies: [] };
  const copies = sites.map(({ table, value }) => ({ table: table.name, copy: value }));
  const result = edit(model, (draft) => {
    for (const { node, table, value } of sites) {
      const [rows = 0, columns = 0] = dimsOf(table);
      draft.removeNode(node);
      draft.replace(value, makeTensor(value, 'float32', [columns, rows], turned(table)));
    }
  });
  return { model: result, copies };
}

/** The numbers of a matrix, column by column. */
const turned = (table: TensorProto): Float32Array => toRows(floatData(table), rowView(dimsOf(table), [1]));

/** Where both a table and its copy are left in float, the copy becomes the Transpose that it was. */
export function retied(model: Model, copies: readonly Untied[]): Model {
  const tensors = initializers(model.graph);
  const left = copies.filter(({ table, copy }) => tensors.has(table) && tensors.has(copy));
  if (left.length === 0) return model;
  return edit(model, (draft) => {
    for (const { table, copy } of left) {
      draft.removeInitializer(copy);
      draft.addNode(makeNode('Transpose', [table], [copy], { perm: [1, 0] }));
    }
  });
}

/** The matrix layer that holds the rows of a table as its outputs' weights: the same tensor, or its transpose with other bytes. */
export function tiedLayer(table: TensorProto, layers: readonly Layer[]): Layer | undefined {
  const [rows, columns, ...more] = dimsOf(table);
  if (more.length > 0) return undefined;
  const own = floatData(table);
  return layers.find(({ weight, product }) => {
    if (product.as === 'Gather' || weight.dims.length !== 2) return false;
    const view = weight.view();
    if (view.rows !== rows || view.columns !== columns) return false;
    const other = weight.rows();
    return own.every((v, i) => v === other[i]);
  });
}

/** Lookups of rows whose table a layer of the same width holds as its weights too, and that layer. */
export function tiedLookups(layers: readonly Layer[], width: (layer: Layer) => unknown): Map<Layer, Layer> {
  return new Map(
    layers.flatMap((layer) => {
      if (layer.product.as !== 'Gather') return [];
      const same = layers.filter((one) => width(one) === width(layer));
      const other = tiedLayer(layer.weight.tensor, same);
      return other ? [[layer, other] as const] : [];
    }),
  );
}

/** Codes of a matrix, one scale an output or one for all, zero at code 0. */
export interface MatrixCodes {
  readonly codes: string;
  readonly scale: string;
  readonly perChannel: boolean;
  /** [K, outputs] rather than [outputs, K]. */
  readonly turned: boolean;
}

/**
 * Looks rows up in the codes that a layer's weight is held in, and their scales beside them: one scale a row, where a table of its own
 * has one for all. The Transpose of codes is done once, at load.
 * @param rows the table's codes row by row, where an earlier lookup has made them.
 */
export function lookUpTied(
  draft: Draft,
  node: NodeProto,
  { codes, scale, perChannel, turned: columnwise }: MatrixCodes,
  rows: string | undefined,
): string {
  const step = stepsOf(draft);
  const table = rows ?? (columnwise ? step('Transpose', [codes], `${codes}_rows`, { perm: [1, 0] }) : codes);
  const { input, output } = draft.current(node);
  const [index, value] = [input[1], output[0]] as [string, string];
  const found = draft.freshName(`${value}_rows`);
  draft.update(node, { input: [table, index], output: [found] });
  const float = step('Cast', [found], `${value}_codes`, { to: dtypes.float32.code });
  let factor = scale;
  if (perChannel) {
    const last = draft.add(`${value}_axis`, int64([-1]));
    factor = step('Unsqueeze', [step('Gather', [scale, index], `${value}_scales`), last], `${value}_scale`);
  }
  draft.addNode(makeNode('Mul', [float, factor], [value]));
  return table;
}

/**
 * Lets a lookup find its table in what a layer with the same weights has stored, whatever the form, before it would store its own.
 * @param stored what layers have stored, by form and `weightKey`.
 */
export function shareStored(
  draft: Draft,
  lookup: Layer,
  tied: Layer,
  { granularity, format }: QuantParams,
  stored: Map<string, readonly string[]>,
): void {
  const [own, other] = [lookup, tied].map((layer) => weightKey(layer, format.bits)) as [string, string];
  const { rows, columns } = lookup.weight.view();
  const { name } = lookup.weight.tensor;
  const size = granularity.per === 'group' ? granularity.size : columns;
  const step = stepsOf(draft);
  const [packed, ...scales] = stored.get(`packed ${other}`) ?? [];
  const [matrix] = stored.get(`matrix ${other}`) ?? [];
  const [decoded] = stored.get(`folded ${other}`) ?? [];
  if (packed !== undefined) {
    // A lookup wants the blocks of a row in one axis.
    const shape = draft.add(`${name}_shape`, int64([rows, -1]));
    stored.set(`packed table ${own}`, [step('Reshape', [packed, shape], `${name}_packed`), ...scales]);
  } else if (matrix !== undefined) {
    stored.set(`folded ${own}`, [decodedRows(draft, restorer(draft, matrix), name, { rows, columns, size })]);
  } else if (decoded !== undefined) {
    const columnwise = tied.weight.axes?.out[0] === 1;
    const value = columnwise ? step('Transpose', [decoded], `${name}_rows`, { perm: [1, 0] }) : decoded;
    stored.set(`folded ${own}`, [value]);
  }
}

/** A matrix [rows, columns] from its codes [columns, rows] in blocks of columns, by nodes that fold at load time. */
function decodedRows(
  draft: Draft,
  { input: [codes = '', scale = '', zero = ''] }: NodeProto,
  name: string,
  { rows, columns, size }: { readonly rows: number; readonly columns: number; readonly size: number },
): string {
  const step = stepsOf(draft);
  const count = Math.ceil(columns / size);
  const given = (label: string, values: readonly number[]): string => draft.add(`${name}_${label}`, int64(values));
  const [one, block] = [given('one', [count, 1, rows]), given('block', [count, size, rows])];
  const all = given('all', [count * size, rows]);
  const cut = [given('from', [0]), given('to', [columns]), given('axis', [0])];
  const float = (value: string): string => step('Cast', [value], `${value}_cast`, { to: dtypes.float32.code });
  /** One number a block, as one number a column; the last block may be short. */
  const spread = (value: string): string => {
    const blocks = step('Expand', [step('Reshape', [value, one], `${value}_one`), block], `${value}_blocks`);
    return step('Slice', [step('Reshape', [blocks, all], `${value}_all`), ...cut], `${value}_columns`);
  };
  const centred = step('Sub', [float(codes), spread(float(zero))], `${name}_centred`);
  const scaled = step('Mul', [centred, spread(scale)], `${name}_scaled`);
  return step('Transpose', [scaled], `${name}_dequantized`, { perm: [1, 0] });
}

/** The node that restores a value, as it was added. */
export const restorer = (draft: Draft, value: string): NodeProto =>
  given(
    draft.nodes().find((node) => isOp(node, 'DequantizeLinear') && node.output[0] === value),
    `what restores "${value}"`,
  );
