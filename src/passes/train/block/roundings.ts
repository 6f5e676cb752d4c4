import type { Model } from '../../../graph/model.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { consumers, initializers, isOp } from '../../../graph/query.ts';
import { elementCount, dimsOf, floatData, tensorData, typeOf } from '../../../graph/tensor.ts';

/** A value that is held in few bits: QuantizeLinear, perhaps a Clip of the codes, DequantizeLinear, with one scale for the tensor. */
export interface Rounding {
  readonly value: string;
  readonly restored: string;
  readonly quantize: NodeProto;
  readonly clip: NodeProto | undefined;
  readonly restore: NodeProto;
  readonly scaleName: string;
  readonly scale: number;
  readonly zeroPoint: number;
  /** The least and largest code that the file lets through, less the zero point. */
  readonly low: number;
  readonly high: number;
}

const ranges: Readonly<Record<string, readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
};

/** All roundings of a model's values, in the order of its nodes; what has another form is not among them. */
export function roundings(model: Model): Rounding[] {
  const readers = consumers(model.graph);
  const tensors = initializers(model.graph);
  const number = (name: string | undefined): number | undefined => {
    const tensor = tensors.get(name ?? '');
    if (!tensor || elementCount(dimsOf(tensor)) !== 1) return undefined;
    return typeOf(tensor) === 'float32' ? floatData(tensor)[0] : Number(tensorData(tensor)[0]);
  };
  const sole = (value: string | undefined, ...ops: string[]): NodeProto | undefined => {
    const [reader, ...more] = readers.get(value ?? '') ?? [];
    return reader && more.length === 0 && isOp(reader, ...ops) ? reader : undefined;
  };
  return model.graph.node.flatMap((quantize): Rounding[] => {
    const [value = '', scaleName = '', zeroName = ''] = quantize.input;
    if (!isOp(quantize, 'QuantizeLinear') || tensors.has(value)) return [];
    const [scale, zeroPoint] = [number(scaleName), number(zeroName)];
    const zero = tensors.get(zeroName);
    const range = zero && ranges[typeOf(zero)];
    const clip = sole(quantize.output[0], 'Clip');
    const restore = sole((clip ?? quantize).output[0], 'DequantizeLinear');
    const alike = restore?.input[1] === scaleName && restore.input[2] === zeroName;
    if (scale === undefined || zeroPoint === undefined || !range || !restore || !alike) return [];
    const least = clip?.input[1] ? number(clip.input[1]) : range[0];
    const most = clip?.input[2] ? number(clip.input[2]) : range[1];
    if (least === undefined || most === undefined) return [];
    const bounds = { low: least - zeroPoint, high: most - zeroPoint };
    return [{ value, restored: restore.output[0] ?? '', quantize, clip, restore, scaleName, scale, zeroPoint, ...bounds }]; // prettier-ignore
  });
}
