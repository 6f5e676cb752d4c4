import { makeNode } from '../../graph/build.ts';
import type { DType } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import { dimsOf, makeTensor } from '../../graph/tensor.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { layoutOf } from '../../numerics/layout.ts';
import { storeFolded } from './folded.ts';
import { storeNBits, unfitForNBits } from './nbits.ts';
import { dequantizedName, quantizedName, scaleName, zeroPointName } from './qdq.ts';
import type { WeightSite } from './targets.ts';
import type { WeightCodes } from './weight_methods.ts';
import { isMatrix, transB, turnCodes, type WeightRows } from './weight_rows.ts';
import { zeroPoints } from './weights.ts';

/** How weights lie in the file. */
export const storages = {
  standard: 'ONNX operators only: matrices behind DequantizeLinear, all others decoded once at load',
  packed: "onnxruntime's MatMulNBits and GatherBlockQuantized where they apply, else as standard",
  folded: 'everything decoded once at load: a small file, float speed and memory',
} as const;

export type Storage = keyof typeof storages;

export interface StoreOptions {
  readonly storage: Storage;
  readonly bits: number;
  readonly block: number | null;
  readonly accuracy: number;
  /** onnxruntime joins the layer with a Relu (`beforeRelu`). */
  readonly relu: boolean;
}

/** The smallest ONNX type that holds codes of a width. */
export function smallestType(width: number, signed: boolean): DType {
  const bits = width <= 2 ? 2 : width <= 4 ? 4 : width <= 8 ? 8 : 16;
  return `${signed ? 'int' : 'uint'}${bits}`;
}

/** Stores one weight of one node and makes the node read it; returns how it runs and, where that is not as asked, why. */
export function storeWeight(
  draft: Draft,
  site: WeightSite,
  rows: WeightRows,
  found: WeightCodes,
  { storage, bits, block, accuracy, relu }: StoreOptions,
): string {
  const { node, input, weight } = site;
  const unpacked = storage === 'packed' ? (unfitForNBits(site, rows, bits, block) ?? floatZeros(found)) : undefined;
  if (storage === 'packed' && unpacked === undefined) return storeNBits(draft, site, rows, found, bits, accuracy);
  const matrix = storage !== 'folded' && isMatrix(site);
  const folded = matrix ? unfitForMatMul(rows, found, bits, relu) : undefined;
  const why = [unpacked, folded].find((reason) => reason !== undefined);
  const because = why === undefined ? '' : ` (${why})`;
  const type = smallestType(bits, found.params.format.signed);
  const replaceBy = (name: string): void =>
    void draft.update(node, { input: draft.current(node).input.map((old, i) => (i === input ? name : old)) });
  const isThere = (name: string): boolean => draft.nodes().some((n) => n.output[0] === name);
  if (!matrix || folded !== undefined) {
    const decoded = dequantizedName(weight.name);
    if (!isThere(decoded)) storeFolded(draft, { name: weight.name, dims: dimsOf(weight), ...rows, type, ...found });
    replaceBy(decoded);
    return `float weights at load time${because}`;
  }
  const name = transB(site) ? `${weight.name}_transposed` : weight.name;
  if (!isThere(dequantizedName(name))) storeMatrix(draft, name, rows, found, type);
  if (transB(site)) draft.setAttribute(node, 'transB', undefined);
  replaceBy(dequantizedName(name));
  return `MatMulNBits at load time${because}`;
}

const floatZeros = ({ zeros }: WeightCodes): string | undefined => zeros && 'its zero points are no integers';

/** Why a matrix cannot go behind DequantizeLinear; undefined where it can. */
function unfitForMatMul({ rows }: WeightRows, found: WeightCodes, bits: number, relu: boolean): string | undefined {
  if (relu) return 'onnxruntime joins it with its Relu and would dequantize it at every run';
  if (bits > 8) return 'onnxruntime would decode 16 bits at every run';
  // Seen in 1.30: the rest of a row of four is read from the wrong place, and outputs are wrong without a word.
  if (bits <= 2 && rows % 4 !== 0)
    return `onnxruntime makes wrong MatMulNBits of 2 bits for ${rows} outputs, no multiple of 4`;
  return floatZeros(found);
}

/** A matrix behind DequantizeLinear as onnxruntime turns it into MatMulNBits: [K, N], blocks along K. */
function storeMatrix(
  draft: Draft,
  name: string,
  weight: WeightRows,
  { codes, params }: WeightCodes,
  type: DType,
): void {
  const { rows, columns } = weight;
  const { granularity } = params;
  const size = granularity.per === 'group' ? granularity.size : undefined;
  const dims = [columns, rows];
  const turned: QuantParams['granularity'] = size ? { per: 'group', axis: 0, size } : { per: 'channel', axis: 1 };
  const { paramDims } = layoutOf(dims, turned);
  const count = params.scale.length / rows;
  const scale = new Float32Array(params.scale.length);
  const zeroPoint = new Int32Array(scale.length);
  for (let r = 0; r < rows; r++)
    for (let b = 0; b < count; b++) {
      scale[b * rows + r] = params.scale[r * count + b] as number;
      zeroPoint[b * rows + r] = params.zeroPoint[r * count + b] as number;
    }
  draft.setInitializer(makeTensor(quantizedName(name), type, dims, turnCodes(codes, rows, columns)));
  draft.setInitializer(makeTensor(scaleName(name), 'float32', paramDims, scale));
  draft.setInitializer(makeTensor(zeroPointName(name), type, paramDims, zeroPoints(type, zeroPoint)));
  const inputs = [quantizedName(name), scaleName(name), zeroPointName(name)];
  const attributes: Record<string, number> = size ? { axis: 0, block_size: size } : { axis: 1 };
  draft.addNode(makeNode('DequantizeLinear', inputs, [dequantizedName(name)], attributes));
}
