import { layerErrors, layerPairs } from '../../src/analyze/layer_error.ts';
import { edit } from '../../src/graph/edit.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { batchOf, bias, denseModel, float, hidden, numbers, source, weights } from '../runtime/models.ts';

const x = numbers(11, 30);
const batches = source(
  batchOf({ x: float([4, 3], x.subarray(0, 12)) }, 4),
  batchOf({ x: float([6, 3], x.subarray(12)) }, 6),
);

/** `denseModel` with y rounded to multiples of 1/8: MatMul → Add → Relu → QuantizeLinear → DequantizeLinear → y. */
function rounded(): Model {
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3])],
    outputs: [makeValue('y', 'float32', ['N', 2])],
    nodes: [
      makeNode('Gemm', ['x', 'w', 'b'], ['hidden']),
      makeNode('Relu', ['hidden'], ['y_float']),
      makeNode('QuantizeLinear', ['y_float', 'scale', 'zero'], ['codes']),
      makeNode('DequantizeLinear', ['codes', 'scale', 'zero'], ['y']),
    ],
    initializers: [
      makeTensor('w', 'float32', [3, 2], weights),
      makeTensor('b', 'float32', [2], bias),
      makeTensor('scale', 'float32', [], Float32Array.of(0.125)),
      makeTensor('zero', 'uint8', [], Uint8Array.of(0)),
    ],
  });
}

describe('layerErrors', () => {
  const wanted = hidden(x).map((v) => Math.max(v, 0));
  const noise = wanted.map((v) => v - Math.min(Math.round(v * 8), 255) / 8);
  const power = (values: number[]) => values.reduce((sum, v) => sum + v * v, 0);
  const pairs = [{ layer: 'dense', float: 'y', quantized: 'y' }];

  it('leaves integers out: they are codes of a scale that it does not know', async () => {
    const codes = [...pairs, { layer: 'codes', float: 'codes', quantized: 'codes' }];
    expect(await layerErrors(rounded(), rounded(), codes, batches)).toMatchObject([{ layer: 'dense', sqnr: Infinity }]);
    expect(await layerErrors(rounded(), rounded(), [], batches)).toEqual([]);
  });

  it('gives the ratio of all samples together, whatever the batches and passes', async () => {
    for (const options of [{}, { memoryLimit: 8 }]) {
      const [result] = await layerErrors(denseModel(), rounded(), pairs, batches, options);
      // float32 sums of three products against double precision: far below the rounding to 1/8.
      expect(result?.sqnr).toBeCloseTo(10 * Math.log10(power(wanted) / power(noise)), 3);
      expect(result?.worst).toBeCloseTo(Math.max(...noise.map(Math.abs)), 5);
    }
  });

  it('leaves out a layer whose channels were cut', async () => {
    const narrow = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 3])],
      outputs: [makeValue('y', 'float32', ['N', 2])],
      nodes: [makeNode('MatMul', ['x', 'w'], ['hidden']), makeNode('MatMul', ['hidden', 'v'], ['y'])],
      initializers: [
        makeTensor('w', 'float32', [3, 1], weights.subarray(0, 3)),
        makeTensor('v', 'float32', [1, 2], bias),
      ],
    });
    const cut = { layer: 'cut', float: 'hidden', quantized: 'hidden' };
    const result = await layerErrors(denseModel(), narrow, [cut, ...pairs], batches);
    expect(result.map(({ layer }) => layer)).toEqual(['dense']);
  });

  it('takes several pairs, in groups of passes as memory asks', async () => {
    const exact = { layer: 'same', float: 'hidden', quantized: 'hidden' };
    const seen: number[] = [];
    const result = await layerErrors(denseModel(), rounded(), [exact, ...pairs], batches, {
      memoryLimit: 8,
      progress: (_, pass) => seen.push(pass),
    });
    // The same sums in another kernel (Gemm, not MatMul and Add): equal up to float32 rounding, 120 dB and more.
    expect(result[0]?.sqnr).toBeGreaterThan(120);
    expect(result[1]?.sqnr).toBeLessThan(60);
    expect(new Set(seen)).toEqual(new Set([0, 1]));
  });

  it('refuses values that are not there', async () => {
    const pair = [{ layer: 'dense', float: 'y', quantized: 'nowhere' }];
    await expect(layerErrors(denseModel(), rounded(), pair, batches)).rejects.toMatchObject({
      code: 'graph',
      at: 'nowhere',
    });
  });
});

describe('layerPairs', () => {
  it('goes through the activation that a kernel absorbs and through quantization', () => {
    expect(layerPairs(denseModel(), rounded())).toEqual([{ layer: 'hidden_Gemm', float: 'y', quantized: 'y' }]);
  });

  it('takes the dequantized value where the float one keeps its name', () => {
    const model = edit(denseModel(), (draft) => {
      draft.add('s', makeTensor('s', 'float32', [], Float32Array.of(0.1)));
      draft.add('z', makeTensor('z', 'uint8', [], Uint8Array.of(0)));
      draft.rewire('product', 'restored');
      draft.addNode(makeNode('QuantizeLinear', ['product', 's', 'z'], ['codes']));
      draft.addNode(makeNode('DequantizeLinear', ['codes', 's', 'z'], ['restored']));
    });
    expect(layerPairs(denseModel(), model)).toEqual([
      { layer: 'product_MatMul', float: 'product', quantized: 'restored' },
    ]);
  });

  it('follows the scaling after an integer product, and takes unquantized layers as they are', () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 3])],
      outputs: [makeValue('y', 'float32', ['N', 2])],
      nodes: [
        makeNode('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz'] as [string, string, string]),
        makeNode('MatMulInteger', ['xq', 'wq', 'xz'], ['sum']),
        makeNode('Cast', ['sum'], ['sum_float'], { to: 1 }),
        makeNode('Mul', ['xs', 'ws'], ['scale']),
        makeNode('Mul', ['sum_float', 'scale'], ['product']),
        makeNode('Add', ['product', 'b'], ['hidden']),
        makeNode('Relu', ['hidden'], ['y']),
      ],
      initializers: [
        makeTensor('wq', 'int8', [3, 2], Int8Array.of(1, 2, 3, 4, 5, 6)),
        makeTensor('ws', 'float32', [], Float32Array.of(0.1)),
        makeTensor('b', 'float32', [2], bias),
      ],
    });
    expect(layerPairs(denseModel(), model)).toEqual([
      { layer: 'sum_MatMulInteger', float: 'product', quantized: 'product' },
    ]);
    expect(layerPairs(denseModel(), denseModel())).toEqual([
      { layer: 'product_MatMul', float: 'product', quantized: 'product' },
    ]);
  });
});
