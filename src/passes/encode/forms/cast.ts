import { dtypes, type DType } from '../../../graph/dtype.ts';
import { castTo } from '../decoders.ts';
import { fromFloat16, toFloat16 } from '../../../numerics/float16.ts';
import type { Encoding, Form } from '../form.ts';
import { valuesOf, type Source, type Storable } from '../source.ts';

/** Narrower types: the elements they are packed from, range, and the operator set whose Cast reads them (onnx.ai/onnx/operators/onnx__Cast.html). */
const narrower: readonly {
  readonly type: DType;
  readonly from: Storable;
  readonly least: number;
  readonly most: number;
  readonly opset: number;
}[] = [
  { type: 'int2', from: 'int8', least: -2, most: 1, opset: 25 },
  { type: 'uint2', from: 'uint8', least: 0, most: 3, opset: 25 },
  { type: 'int4', from: 'int8', least: -8, most: 7, opset: 21 },
  { type: 'uint4', from: 'uint8', least: 0, most: 15, opset: 21 },
  { type: 'int8', from: 'int8', least: -128, most: 127, opset: 13 },
  { type: 'uint8', from: 'uint8', least: 0, most: 255, opset: 13 },
  { type: 'int16', from: 'int16', least: -32768, most: 32767, opset: 13 },
];

/** Float32 numbers that float16 holds to the bit, as files of half precision have them. */
function float16(source: Source): Encoding[] {
  const bits = (): Uint16Array => toFloat16(valuesOf('float32', source.symbols()) as Float32Array);
  const back = new Int32Array(fromFloat16(bits()).buffer);
  if (!source.symbols().every((symbol, i) => symbol === back[i])) return [];
  return [
    {
      form: 'cast',
      detail: 'FLOAT16',
      opset: 13,
      length: source.count,
      work: 0,
      write: (store) => castTo(store, 'float32', store.tensor('float16', [source.count], bits)),
    },
  ];
}

/** A narrower standard type that holds every value, and one Cast: quick to decode, in no memory but the tensor's own. */
export const cast: Form = (source) => {
  const { least, most } = source.range();
  const bits = dtypes[source.type].bits;
  if (source.type === 'float32') return float16(source);
  return narrower
    .filter((t) => t.least <= least && most <= t.most && dtypes[t.type].bits < bits)
    .map(({ type, from, opset }) => ({
      form: 'cast',
      detail: type.toUpperCase(),
      opset,
      length: source.count,
      work: 0,
      write: (store) =>
        castTo(
          store,
          source.type,
          store.tensor(type, [source.count], () => valuesOf(from, source.symbols())),
        ),
    }));
};
