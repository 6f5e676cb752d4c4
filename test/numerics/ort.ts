import * as ort from 'onnxruntime-node';
import { dtypes, type DType, type TypedArray } from '../../src/graph/dtype.ts';
import {
  AttributeCodec,
  GraphCodec,
  int64,
  ModelCodec,
  NodeCodec,
  OperatorSetCodec,
  TensorCodec,
  ValueInfoCodec,
} from '../../src/graph/proto.ts';
import { pack } from '../../src/graph/tensor.ts';

export interface OrtTensor {
  readonly type: DType;
  readonly dims: readonly number[];
  readonly data: TypedArray;
}

/** Raw bytes of an initializer; sub-byte types are packed. */
function rawData({ type, data }: OrtTensor): Uint8Array {
  const { bits } = dtypes[type];
  if (bits === 2 || bits === 4) return pack(data as Int8Array, bits);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Runs one operator in onnxruntime, all inputs as initializers, then casts the output to `outType` (through `via` if given). */
export async function runOperator(
  opType: string,
  inputs: readonly OrtTensor[],
  attributes: Readonly<Record<string, number>>,
  outType: DType,
  via?: DType,
): Promise<TypedArray> {
  const names = inputs.map((_, i) => `x${i}`);
  const cast = (from: string, to: string, type: DType) =>
    NodeCodec.create({
      op_type: 'Cast',
      input: [from],
      output: [to],
      attribute: [AttributeCodec.create({ name: 'to', type: 2, i: int64(dtypes[type].code) })],
    });
  const model = ModelCodec.create({
    ir_version: int64(11),
    opset_import: [OperatorSetCodec.create({ domain: '', version: int64(25) })],
    graph: GraphCodec.create({
      name: 'g',
      node: [
        NodeCodec.create({
          op_type: opType,
          input: names,
          output: ['y0'],
          attribute: Object.entries(attributes).map(([name, value]) =>
            AttributeCodec.create({ name, type: 2, i: int64(value) }),
          ),
        }),
        ...(via === undefined ? [cast('y0', 'y', outType)] : [cast('y0', 'y1', via), cast('y1', 'y', outType)]),
      ],
      initializer: inputs.map((input, i) =>
        TensorCodec.create({
          name: names[i] ?? '',
          dims: input.dims.map(int64),
          data_type: dtypes[input.type].code,
          raw_data: rawData(input),
        }),
      ),
      output: [ValueInfoCodec.create({ name: 'y', type: { tensor_type: { elem_type: dtypes[outType].code } } })],
    }),
  });
  const session = await ort.InferenceSession.create(ModelCodec.encode(model), {
    intraOpNumThreads: 1,
    graphOptimizationLevel: 'disabled',
    logSeverityLevel: 3,
  });
  const { y } = await session.run({});
  await session.release();
  return y?.data as unknown as TypedArray;
}
