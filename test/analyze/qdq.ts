import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import type { Model } from '../../src/graph/model.ts';
import type { NodeProto, TensorProto, ValueInfoProto } from '../../src/graph/proto.ts';
import { elementCount, makeTensor } from '../../src/graph/tensor.ts';
import { numbers } from '../runtime/models.ts';

/** Builds small quantized graphs by hand: what is added is kept until `model` is called. */
export function builder() {
  const nodes: NodeProto[] = [];
  const initializers: TensorProto[] = [];
  const codes = (type: DType, value: number) => {
    const arrays = { uint8: Uint8Array, int8: Int8Array, int4: Int8Array, uint16: Uint16Array, int32: Int32Array };
    return (arrays[type as keyof typeof arrays] ?? Uint8Array).of(value);
  };
  const self = {
    node(
      op: string,
      input: string[],
      output: string,
      attributes: Record<string, number | number[] | string> = {},
    ): string {
      nodes.push(makeNode(op, input, [output], attributes, { name: output === '' ? op : `the ${output}` }));
      return output;
    },
    float(name: string, dims: number[]): string {
      initializers.push(
        makeTensor(name, 'float32', dims, numbers(name.length + elementCount(dims), elementCount(dims))),
      );
      return name;
    },
    /** QuantizeLinear and DequantizeLinear behind a value. */
    qdq(value: string, type: DType = 'uint8', zeroPoint = type === 'uint8' ? 128 : 0): string {
      initializers.push(makeTensor(`${value}_scale`, 'float32', [], Float32Array.of(0.05)));
      initializers.push(makeTensor(`${value}_zp`, type, [], codes(type, zeroPoint)));
      self.node('QuantizeLinear', [value, `${value}_scale`, `${value}_zp`], `${value}_q`);
      return self.node('DequantizeLinear', [`${value}_q`, `${value}_scale`, `${value}_zp`], `${value}_dq`);
    },
    /** A weight stored as codes behind DequantizeLinear, one scale. */
    weight(name: string, dims: number[], type: DType = 'int8', withZeroPoint = true): string {
      const count = elementCount(dims);
      const values = Int8Array.from(numbers(count, count), (v) => Math.round(v * 7));
      initializers.push(makeTensor(`${name}_q`, type, dims, values));
      initializers.push(makeTensor(`${name}_scale`, 'float32', [], Float32Array.of(0.02)));
      if (withZeroPoint) initializers.push(makeTensor(`${name}_zp`, type, [], Int8Array.of(0)));
      const inputs = [`${name}_q`, `${name}_scale`, ...(withZeroPoint ? [`${name}_zp`] : [])];
      return self.node('DequantizeLinear', inputs, `${name}_dq`);
    },
    model(inputs: ValueInfoProto[], outputs: string[], opset = 21): Model {
      return makeModel({
        inputs,
        outputs: outputs.map((name) => makeValue(name, 'float32')),
        nodes,
        initializers,
        opset,
        domains: { 'com.microsoft': 1 },
      });
    },
  };
  return self;
}

export const image = makeValue('x', 'float32', ['N', 4, 6, 6]);
export const row = makeValue('x', 'float32', ['N', 32]);
