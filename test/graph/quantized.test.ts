import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { quantizedLayers } from '../../src/graph/quantized.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { dynamicQuantizer } from '../../src/passes/quantize/dynamic.ts';
import { float16Quantizer } from '../../src/passes/quantize/float16.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { smallConvNet, weight } from '../helpers/models.ts';
import { dense, images, quantized, vectors } from '../run/support.ts';

describe('quantizedLayers', () => {
  const all = ['conv1', 'conv2', 'dw', 'fc'];

  it.each<[string, unknown, object, string[]]>([
    ['static quantization', staticQuantizer, {}, all],
    ['static quantization, 4 bits', staticQuantizer, { bits_weights: 4 }, all],
    ['weights alone', weightsOnlyQuantizer, { bits_weights: 4 }, all],
    ['float16, which is no quantization', float16Quantizer, {}, []],
  ])('are those of %s', async (_, pass, options, expected) => {
    const net = smallConvNet();
    expect(quantizedLayers(net)).toEqual([]);
    expect(quantizedLayers((await quantized(pass, net, images, options)).model).sort()).toEqual(expected);
  });

  it('are those whose integers are multiplied', async () => {
    expect(quantizedLayers((await quantized(dynamicQuantizer, dense, vectors)).model)).toHaveLength(2);
  });

  it('are none where only the input of the model is of whole numbers', () => {
    const scale = makeTensor('scale', 'float32', [], Float32Array.of(1 / 255));
    const model = makeModel({
      opset: 21,
      inputs: [makeValue('pixels', 'uint8', ['N', 64])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      initializers: [weight('w', [64, 8], 1), scale],
      nodes: [
        makeNode('DequantizeLinear', ['pixels', 'scale'], ['x']),
        makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'one' }),
      ],
    });
    expect(quantizedLayers(model)).toEqual([]);
  });
});
