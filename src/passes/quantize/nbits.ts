import { intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import { isOp } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { pack } from '../../numerics/pack.ts';
import type { Codes } from '../../numerics/affine.ts';
import { padded } from './folded.ts';
import { isMatrix } from './targets.ts';
import type { WeightCodes } from './weight_methods.ts';

/** The widths and block sizes that MatMulNBits and GatherBlockQuantized are built for in onnxruntime 1.30. */
const widths: readonly number[] = [2, 4, 8];
const blocks: readonly number[] = [16, 32, 64, 128, 256];

/** Why a weight cannot be held by an operator of com.microsoft; undefined where it can. */
export function unfitForNBits(layer: Layer, width: number, block: number | null): string | undefined {
  const { node, product, weight } = layer;
  if (!widths.includes(width)) return `onnxruntime packs 2, 4 and 8 bits, not ${width}`;
  const size = blocks.find((one) => one === block);
  if (size === undefined) return `onnxruntime packs blocks of ${blocks.join(', ')} weights`;
  const { columns } = weight.view();
  if (columns < size) return `its ${columns} columns are fewer than a block of ${size}`;
  if (isOp(node, 'Gather')) {
    if (intAttribute(node, 'axis', 0) !== 0 || weight.dims.length !== 2) return 'its entries are not rows of a table';
    return columns % size === 0 ? undefined : `its ${columns} columns are not whole blocks of ${size}`;
  }
  return isMatrix(layer) ? product.quirk(node) : `onnxruntime has no packed ${node.op_type}`;
}

/**
 * Replaces a Gemm or MatMul by MatMulNBits, or a Gather by GatherBlockQuantized: codes stay packed in memory while the model
 * runs. https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
 * @param accuracy of MatMulNBits: 0 computes in float32, 4 rounds activations to int8 on the way and is much faster.
 */
export function storeNBits(
  draft: Draft,
  { node, name: layerName, weight }: Layer,
  { codes, params }: WeightCodes,
  width: number,
  accuracy: number,
  once: (form: string, make: () => readonly string[]) => readonly string[],
): string {
  const { rows, columns } = weight.view();
  const gather = isOp(node, 'Gather');
  const size = params.granularity.per === 'group' ? params.granularity.size : columns;
  const stored = once(gather ? 'packed table' : 'packed', () => {
    const name = `${weight.tensor.name}_packed`;
    const count = Math.ceil(columns / size);
    // Packed codes are unsigned; the middle code stands for a signed zero.
    const shift = params.format.signed ? 2 ** (width - 1) : 0;
    const packed = (values: Codes | Int32Array, length: number, block: number): Uint8Array => {
      const unsigned = padded(values, rows, length, block);
      if (shift > 0) for (let i = 0; i < unsigned.length; i++) unsigned[i]! += shift;
      return pack(unsigned, width);
    };
    const blob = (size * width) / 8;
    const zeroBytes = Math.ceil((count * width) / 8);
    const dims = gather ? [rows, count * blob] : [rows, count, blob];
    return [
      draft.add(`${name}_quantized`, makeTensor('codes', 'uint8', dims, packed(codes, columns, size))),
      draft.add(`${name}_scale`, makeTensor('scale', 'float32', [rows, count], params.scale)),
      draft.add(
        `${name}_zero_point`,
        makeTensor('zero', 'uint8', [rows, zeroBytes], packed(params.zeroPoint, count, 8 / width)),
      ),
    ];
  });
  draft.requireOpset('com.microsoft', 1);
  const now = draft.current(node);
  const data = now.input[gather ? 1 : 0] as string;
  const result = now.output[0] as string;
  const bias = now.input[2];
  const sum = bias ? draft.freshName(`${result}_product`) : result;
  draft.removeNode(node);
  const more = { name: layerName, domain: 'com.microsoft' };
  if (gather) {
    const attributes = { bits: width, block_size: size, gather_axis: 0, quantize_axis: 1 };
    const [table, ...scales] = stored as [string, string, string];
    draft.addNode(makeNode('GatherBlockQuantized', [table, data, ...scales], [result], attributes, more));
    return 'GatherBlockQuantized';
  }
  const attributes = { K: columns, N: rows, bits: width, block_size: size, accuracy_level: accuracy };
  draft.addNode(makeNode('MatMulNBits', [data, ...stored], [sum], attributes, more));
  if (bias) draft.addNode(makeNode('Add', [sum, bias], [result]));
  return 'MatMulNBits';
}
