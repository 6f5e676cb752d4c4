import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import type { Draft } from '../../graph/edit.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { pack } from '../../numerics/pack.ts';
import { quantizedName, scaleName, zeroPointName } from './qdq.ts';
import type { WeightSite } from './targets.ts';
import type { WeightCodes } from './weight_methods.ts';
import { isMatrix, type WeightRows } from './weight_rows.ts';

/** The widths and block sizes that MatMulNBits and GatherBlockQuantized are built for in onnxruntime 1.30. */
const widths: readonly number[] = [2, 4, 8];
const blocks: readonly number[] = [16, 32, 64, 128, 256];

/** Why a weight cannot be held by an operator of com.microsoft; undefined where it can. */
export function unfitForNBits(
  site: WeightSite,
  rows: WeightRows,
  width: number,
  block: number | null,
): string | undefined {
  const { node, input } = site;
  if (!widths.includes(width)) return `onnxruntime packs 2, 4 and 8 bits, not ${width}`;
  if (block === null || !blocks.includes(block)) return `onnxruntime packs blocks of ${blocks.join(', ')} weights`;
  if (isOp(node, 'Gather') && input === 0) {
    if (intAttribute(node, 'axis', 0) !== 0 || site.weight.dims.length !== 2)
      return 'its entries are not rows of a table';
    return rows.columns % block === 0 ? undefined : `its ${rows.columns} columns are not whole blocks of ${block}`;
  }
  if (!isMatrix(site)) return `onnxruntime has no packed ${node.op_type}`;
  if (isOp(node, 'Gemm')) {
    if (intAttribute(node, 'transA', 0) === 1) return 'transA is set';
    if (floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1)
      return 'alpha or beta is not 1';
  }
  return undefined;
}

/**
 * Replaces a Gemm or MatMul by MatMulNBits, or a Gather by GatherBlockQuantized: codes stay packed in memory while the model
 * runs. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
 * @param accuracy of MatMulNBits: 0 computes in float32, 4 rounds activations to int8 on the way and is much faster.
 */
export function storeNBits(
  draft: Draft,
  site: WeightSite,
  rows: WeightRows,
  { codes, params }: WeightCodes,
  width: number,
  accuracy: number,
): string {
  const { node, weight } = site;
  const name = `${weight.name}${rows.turned ? '_transposed' : ''}_packed`;
  const size = params.granularity.per === 'group' ? params.granularity.size : rows.columns;
  const count = Math.ceil(rows.columns / size);
  // Packed codes are unsigned; the middle code stands for a signed zero.
  const shift = params.format.kind === 'int' && params.format.signed ? 2 ** (width - 1) : 0;
  const blob = (size * width) / 8;
  const packed = packRows(codes, rows.rows, rows.columns, count * size, width, shift);
  const zeroBytes = Math.ceil((count * width) / 8);
  const zeros = packRows(params.zeroPoint, rows.rows, count, (zeroBytes * 8) / width, width, shift);
  const gather = isOp(node, 'Gather');
  const dims = gather ? [rows.rows, count * blob] : [rows.rows, count, blob];
  draft.setInitializer(makeTensor(quantizedName(name), 'uint8', dims, packed));
  draft.setInitializer(makeTensor(scaleName(name), 'float32', [rows.rows, count], params.scale));
  draft.setInitializer(makeTensor(zeroPointName(name), 'uint8', [rows.rows, zeroBytes], zeros));
  draft.requireOpset('com.microsoft', 1);
  const stored = [quantizedName(name), scaleName(name), zeroPointName(name)] as const;
  const now = draft.current(node);
  const data = now.input[gather ? 1 : 0] as string;
  const bias = isOp(node, 'Gemm') ? (now.input[2] ?? '') : '';
  const sum = bias === '' ? (now.output[0] as string) : draft.freshName(`${now.output[0]}_product`);
  draft.removeNode(node);
  const more = { name: layerName(node), domain: 'com.microsoft' };
  if (gather) {
    const attributes = { bits: width, block_size: size, gather_axis: 0, quantize_axis: 1 };
    draft.addNode(makeNode('GatherBlockQuantized', [stored[0], data, stored[1], stored[2]], [sum], attributes, more));
    return 'GatherBlockQuantized';
  }
  const [K, N] = [rows.columns, rows.rows];
  const attributes = { K, N, bits: width, block_size: size, accuracy_level: accuracy };
  draft.addNode(makeNode('MatMulNBits', [data, ...stored], [sum], attributes, more));
  if (bias !== '') draft.addNode(makeNode('Add', [sum, bias], [now.output[0] as string]));
  return 'MatMulNBits';
}

/** Each row of codes filled up with its zero to `width` entries and packed, lowest bits first. */
function packRows(
  codes: ArrayLike<number>,
  rows: number,
  columns: number,
  filled: number,
  bits: number,
  shift: number,
): Uint8Array {
  const all = new Uint8Array(rows * filled).fill(shift);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) all[r * filled + c] = (codes[r * columns + c] as number) + shift;
  return bits === 8 ? all : pack(all, bits as 2 | 4);
}
