import type { DType } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { fromRows, rowView } from '../../numerics/rows.ts';
import { storeFolded } from './folded.ts';
import { storeNBits, unfitForNBits } from './nbits.ts';
import { addDequantized, replaceInput } from './qdq.ts';
import { isMatrix, weightKey } from './targets.ts';
import type { WeightCodes } from './weight_methods.ts';
import { smallestType } from './weights.ts';

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
  /** onnxruntime would dequantize the layer at every run (`beforeRelu`). */
  readonly relu: boolean;
}

/**
 * Stores the weight of a layer and makes its node read it; returns how it runs and, where that is not as asked, why.
 * @param stored what layers that share the weight have stored already, by `weightKey` and the form.
 */
export function storeWeight(
  draft: Draft,
  layer: Layer,
  found: WeightCodes,
  { storage, bits, block, accuracy, relu }: StoreOptions,
  stored: Map<string, readonly string[]>,
): string {
  const { node, input, weight } = layer;
  const name = weight.tensor.name;
  const once = (form: string, make: () => readonly string[]): readonly string[] => {
    const key = `${form} ${weightKey(layer, bits)}`;
    const names = stored.get(key) ?? make();
    stored.set(key, names);
    return names;
  };
  const unpacked = storage === 'packed' ? (unfitForNBits(layer, bits, block) ?? floatZeros(found)) : undefined;
  if (storage === 'packed' && unpacked === undefined) return storeNBits(draft, layer, found, bits, accuracy, once);
  const matrix = storage !== 'folded' && isMatrix(layer);
  const unfit = matrix ? unfitForMatMul(weight.view().rows, found, bits, relu) : undefined;
  const because = [unpacked, unfit].filter((reason) => reason !== undefined).map((reason) => ` (${reason})`)[0] ?? '';
  const type = smallestType(bits, found.params.format.signed);
  if (!matrix || unfit !== undefined) {
    const [decoded = ''] = once('folded', () => [storeFolded(draft, { name, weight, type, ...found })]);
    replaceInput(draft, node, input, decoded);
    return `float weights at load time${because}`;
  }
  const turned = weight.axes?.out[0] === 0;
  const [decoded = ''] = once('matrix', () => [
    storeMatrix(draft, turned ? `${name}_transposed` : name, layer, found, type),
  ]);
  if (turned) draft.setAttribute(node, 'transB', undefined);
  replaceInput(draft, node, input, decoded);
  return `MatMulNBits at load time${because}`;
}

const floatZeros = ({ zeros }: WeightCodes): string | undefined => zeros && 'its zero points are no integers';

/** Why a matrix cannot go behind DequantizeLinear; undefined where it can. */
function unfitForMatMul(rows: number, found: WeightCodes, bits: number, relu: boolean): string | undefined {
  if (relu) return 'before a Relu onnxruntime would dequantize it at every run';
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
  { weight }: Layer,
  { codes, params }: WeightCodes,
  type: DType,
): string {
  const { rows, columns } = weight.view();
  const { granularity, format } = params;
  const size = granularity.per === 'group' ? granularity.size : undefined;
  const turned: QuantParams['granularity'] = size ? { per: 'group', axis: 0, size } : { per: 'channel', axis: 1 };
  const blocks = rowView([params.scale.length / rows, rows], [1]);
  const [scale, zeroPoint] = [fromRows(params.scale, blocks), fromRows(params.zeroPoint, blocks)];
  const columnFirst = fromRows(codes, rowView([columns, rows], [1]));
  return addDequantized(
    draft,
    name,
    [columns, rows],
    columnFirst,
    { format, granularity: turned, scale, zeroPoint },
    type,
  );
}
