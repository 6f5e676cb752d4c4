import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { floats, testContext } from './context.ts';
import { noise, smallConvNet } from './models.ts';
import { cannotSaturate, checkedModels, disagreement, watch } from './oracle.ts';

const size = 8;
const feeds = { x: floats(noise(1, 4 * size), [4, size]) };
const codes = Int8Array.from(noise(2, size * size, 30));
const scales = Float32Array.from({ length: size }, (_, i) => 0.01 * 2 ** (i / 2));

/** x · W, W in float, or as codes whose scales stand along the axis of what is summed over, which QGemm takes for the outputs. */
function product(form: 'float' | 'codes'): ReturnType<typeof makeModel> {
  const w = Float32Array.from(codes, (code, i) => code * (scales[Math.floor(i / size)] as number));
  const zero = (name: string, data: Int8Array | Uint8Array, dims: readonly number[]) =>
    makeTensor(name, data instanceof Int8Array ? 'int8' : 'uint8', dims, data);
  const float = form === 'float';
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', size])],
    outputs: [makeValue('y', 'float32', ['N', size])],
    initializers: [
      ...(float
        ? [makeTensor('w', 'float32', [size, size], w)]
        : [
            makeTensor('w_codes', 'int8', [size, size], codes),
            makeTensor('w_scale', 'float32', [size], scales),
            zero('w_zero', new Int8Array(size), [size]),
            makeTensor('x_scale', 'float32', [], Float32Array.of(4 / 255)),
            zero('x_zero', Uint8Array.of(128), []),
          ]),
    ],
    nodes: float
      ? [makeNode('MatMul', ['x', 'w'], ['y'])]
      : [
          makeNode('QuantizeLinear', ['x', 'x_scale', 'x_zero'], ['xq']),
          makeNode('DequantizeLinear', ['xq', 'x_scale', 'x_zero'], ['xd']),
          makeNode('DequantizeLinear', ['w_codes', 'w_scale', 'w_zero'], ['w'], { axis: 0 }),
          makeNode('Gemm', ['xd', 'w'], ['y']),
        ],
  });
}

describe('the oracle', () => {
  it('tells a model that its optimization changes', async () => {
    const wrong = product('codes');
    expect(cannotSaturate(wrong)).toBe(true);
    expect(await disagreement(product('float'), wrong, feeds)).toMatch(
      /^\d+\.\d dB unoptimized, -?\d+\.\d dB optimized$/,
    );
    expect(await disagreement(product('float'), product('float'), feeds)).toBeUndefined();
  });

  it('runs on every model that a watched pass makes, on processors that saturate too', async () => {
    watch();
    const model = smallConvNet();
    const images = { x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) };
    const context = testContext({ calibration: [images], reference: model });
    const before = checkedModels();
    await staticQuantizer.apply(model, staticQuantizer.options.parse({}), context);
    expect(checkedModels()).toBe(before + 1);
  });
});
