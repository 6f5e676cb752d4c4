import { bytesOf } from '../../src/graph/bytes.ts';
import fc from '../helpers/fc.ts';
import { dtypes, type DType, type TypedArray } from '../../src/graph/dtype.ts';
import { TensorCodec, int64, toBigInt, toNumber } from '../../src/graph/proto.ts';
import { dimsOf, floatData, makeTensor, storedBytes, tensorData } from '../../src/graph/tensor.ts';

describe('tensorData', () => {
  it('reads back what makeTensor stored, for every numeric type, through encode and decode', () => {
    for (const [type, { array, bits }] of Object.entries(dtypes)) {
      if (!array) continue;
      const data = new array(7) as Int32Array;
      const wide = data instanceof BigInt64Array || data instanceof BigUint64Array;
      const low = array === Int8Array ? -(2 ** (Math.min(bits, 8) - 1)) : 0;
      for (let i = 0; i < 7; i++) data[i] = (wide ? BigInt(i) : low + (i % 2 ** Math.min(bits, 3))) as number;
      const stored = TensorCodec.decode(TensorCodec.encode(makeTensor('t', type as DType, [7], data)));
      expect(tensorData(stored)).toEqual(data);
      expect(stored.raw_data.length).toBe(storedBytes(type as DType, 7));
    }
  });

  it('packs 4- and 2-bit types low bits first, as the ONNX specification shows', () => {
    // onnx.proto: "the first element is stored in the 4 LSB and the second in the 4 MSB".
    expect([...bytesOf(makeTensor('t', 'uint4', [3], Uint8Array.of(1, 2, 15)).raw_data)]).toEqual([0x21, 0x0f]);
    expect([...bytesOf(makeTensor('t', 'int4', [2], Int8Array.of(-1, -8)).raw_data)]).toEqual([0x8f]);
    expect([...bytesOf(makeTensor('t', 'int2', [5], Int8Array.of(-2, -1, 0, 1, 1)).raw_data)]).toEqual([
      0b01001110, 0b01,
    ]);
  });

  it('reads the typed fields', () => {
    const tensor = (type: DType, fields: object) =>
      TensorCodec.create({ name: 't', data_type: dtypes[type].code, dims: [int64(2)], ...fields });
    expect(tensorData(tensor('float32', { float_data: [1.5, -2] }))).toEqual(Float32Array.of(1.5, -2));
    expect(tensorData(tensor('int8', { int32_data: [-3, 4] }))).toEqual(Int8Array.of(-3, 4));
    expect(tensorData(tensor('float16', { int32_data: [15360, 0] }))).toEqual(Uint16Array.of(15360, 0));
    expect(tensorData(tensor('int64', { int64_data: [int64(-5), int64(2n ** 63n - 1n)] }))).toEqual(
      BigInt64Array.of(-5n, 2n ** 63n - 1n),
    );
    expect(tensorData(tensor('int4', { int32_data: [0x8f] }))).toEqual(Int8Array.of(-1, -8));
    expect(tensorData(tensor('float64', { double_data: [0.1, 0] }))).toEqual(Float64Array.of(0.1, 0));
  });

  it('copies bytes that are not aligned for their type', () => {
    const bytes = new Uint8Array(9);
    bytes.set(new Uint8Array(Float32Array.of(3, 4).buffer), 1);
    const tensor = TensorCodec.create({ name: 't', data_type: 1, dims: [int64(2)], raw_data: bytes.subarray(1) });
    expect(floatData(tensor)).toEqual(Float32Array.of(3, 4));
  });

  it('refuses data that does not fill the shape', () => {
    const tensor = TensorCodec.create({ name: 'w', data_type: 1, dims: [int64(3)], raw_data: new Uint8Array(8) });
    expect(() => tensorData(tensor)).toThrow(/holds 2 elements, its shape \[3\] says 3/);
    expect(() => makeTensor('w', 'float32', [3], new Float32Array(2) as TypedArray)).toThrow(/do not fill/);
  });
});

describe('int64', () => {
  it('keeps every int64 exactly', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        const stored = TensorCodec.decode(TensorCodec.encode(TensorCodec.create({ name: '', dims: [int64(value)] })));
        expect(toBigInt(stored.dims[0] as never)).toBe(value);
      }),
    );
  });
  it('reads dims as numbers', () => {
    expect(dimsOf(TensorCodec.create({ dims: [int64(3), int64(-1)] }))).toEqual([3, -1]);
    expect(toNumber(int64(2 ** 40))).toBe(2 ** 40);
  });
});
