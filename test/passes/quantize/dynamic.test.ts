import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { dynamicQuantizer } from '../../../src/passes/quantize/dynamic.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

const [K, N, rows] = [12, 5, 3];
const x = noise(1, rows * K);
const feeds = { x: floats(x, [rows, K]) };

async function quantized(model: Model, options: object = {}, given: typeof feeds = feeds) {
  const context = testContext({ calibration: [given], reference: model });
  return dynamicQuantizer.apply(model, dynamicQuantizer.options.parse(options), context);
}

/** Rounds half to even, as ONNX's QuantizeLinear does. */
function even(v: number): number {
  const low = Math.floor(v);
  return v - low === 0.5 ? low + (low & 1) : Math.round(v);
}

/**
 * Y = X·W + b with X by ONNX's DynamicQuantizeLinear (range with zero in it over 255, zero point rounded) and W [K, N] in integers up
 * to 2^(bits−1) − 1, one scale a column or one for all.
 */
function reference(
  w: (k: number, n: number) => number,
  bits: number,
  perChannel: boolean,
  bias?: Float32Array,
): number[] {
  const [low, high] = [Math.min(0, ...x), Math.max(0, ...x)];
  const scale = Math.fround((high - low) / 255);
  const zero = Math.min(255, Math.max(0, even(-low / scale)));
  const codes = [...x].map((v) => Math.min(255, Math.max(0, even(v / scale) + zero)) - zero);
  const most = 2 ** (bits - 1) - 1;
  const column = (n: number): number => Math.max(...Array.from({ length: K }, (_, k) => Math.abs(w(k, n))));
  const all = Math.max(...Array.from({ length: N }, (_, n) => column(n)));
  return Array.from({ length: rows * N }, (_, i) => {
    const [r, n] = [Math.floor(i / N), i % N];
    const own = Math.fround((perChannel ? column(n) : all) / most);
    const sum = Array.from({ length: K }, (_, k) => (codes[r * K + k] as number) * even(w(k, n) / own));
    return sum.reduce((a, b) => a + b, 0) * scale * own + (bias?.[n] ?? 0);
  });
}

const model = (op: string, dims: number[], bias: boolean, attributes = {}): Model =>
  makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', [rows, K])],
    outputs: [makeValue('y', 'float32', [rows, N])],
    initializers: [weight('w', dims, 2), ...(bias ? [weight('b', [N], 3)] : [])],
    nodes: [makeNode(op, ['x', 'w', ...(bias ? ['b'] : [])], ['y'], attributes, { name: 'product' })],
  });
const data = noise(2, K * N, 0.3);

describe('quantize/dynamic', () => {
  it.each([
    ['MatMul', [K, N], false, {}],
    ['Gemm', [K, N], true, {}],
    ['Gemm', [N, K], true, { transB: 1 }],
    ['Gemm', [N, K], false, { transB: 1 }],
  ] as const)('%s %j computes what the specification says', async (op, dims, bias, attributes) => {
    const float = model(op, [...dims], bias, attributes);
    const w = (k: number, n: number): number => data[dims[0] === K ? k * N + n : n * K + k] as number;
    for (const [bits_weights, per_channel] of [
      [8, true],
      [5, true],
      [5, false],
    ] as const) {
      // prettier-ignore
      const { model: result, changed, skipped } = await quantized(float, { bits_weights, per_channel });
      const wanted = reference(w, bits_weights, per_channel, bias ? noise(3, N, 0.3) : undefined);
      const got = (await runModel(result, feeds, 'disabled')).y?.data as Float32Array;
      // Sums of a dozen float32 products.
      wanted.forEach((v, i) => expect(got[i]).toBeCloseTo(v, 4));
      expect(skipped).toEqual([]);
      const scales = per_channel ? `channel (${N} scales)` : 'tensor';
      const text = `weights int${bits_weights} per ${scales}, activations uint8 at run time`;
      expect(changed).toEqual([{ layer: 'product', text }]);
      expect(result.graph.node.find(({ name }) => name === 'product')?.op_type).toBe('MatMulInteger');
      const ops = await optimizedOps(result);
      expect(ops).toEqual({ DynamicQuantizeMatMul: 1 });
    }
  });

  it.each([
    ['MatMul', [K, N], false, {}],
    ['Gemm', [N, K], true, { transB: 1 }],
  ] as const)(
    '%s %j with weights rounded by GPTQ is nearer to float on correlated inputs',
    async (op, dims, bias, attributes) => {
      const float = model(op, [...dims], bias, attributes);
      // Few directions: what one weight's rounding costs, others can make up for.
      const rows48 = floats(
        noise(5, 48 * K).map((v, i) => v * 0.1 + Math.sin(Math.floor(i / K)) * Math.cos(i % K)),
        [48, K],
      );
      const graph = makeModel({ opset: 13, inputs: [makeValue('x', 'float32', ['N', K])], outputs: [makeValue('y', 'float32', ['N', N])], initializers: float.graph.initializer, nodes: float.graph.node }); // prettier-ignore
      const wanted = (await runModel(graph, { x: rows48 })).y?.data as Float32Array;
      const distance = async (options: object): Promise<number> => {
        const context = testContext({ calibration: [{ x: rows48 }], reference: graph });
        const made = await dynamicQuantizer.apply(
          graph,
          dynamicQuantizer.options.parse({ bits_weights: 4, ...options }),
          context,
        );
        return snr(wanted, (await runModel(made.model, { x: rows48 }, 'disabled')).y?.data as Float32Array);
      };
      const plain = await distance({});
      // Codes in the wrong order would leave no signal at all.
      expect(plain).toBeGreaterThan(10);
      expect(await distance({ method: 'gptq', samples: 48 })).toBeGreaterThan(plain + 3);
    },
  );

  it('quantizes an input once for all that read it, and a weight that two see alike', async () => {
    const twice = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', [rows, K])],
      outputs: [makeValue('y', 'float32'), makeValue('z', 'float32')],
      initializers: [weight('w', [K, N], 2)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y']), makeNode('MatMul', ['x', 'w'], ['z'])],
    });
    const { model: result } = await quantized(twice);
    const ops = result.graph.node.map(({ op_type }) => op_type);
    expect(ops.filter((op) => op === 'DynamicQuantizeLinear')).toHaveLength(1);
    // Codes and zero points, of int8 both, and their scales: once.
    expect(result.graph.initializer).toHaveLength(3);
  });

  const square = { x: floats(noise(1, 36), [6, 6]) };
  const one = (op: string, inputs: string[], attributes = {}): Model =>
    makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', [6, 6])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('m', [6, 6], 1), weight('batched', [2, 6, 6], 2), weight('conv', [6, 6, 1], 3)].filter(
        ({ name }) => inputs.includes(name),
      ),
      nodes: [
        makeNode('Unsqueeze', ['x', 'first'], ['u']),
        makeNode(op, inputs, ['y'], attributes, { name: 'product', domain: op.startsWith('Fused') ? 'com.microsoft' : '' }), // prettier-ignore
      ].slice(inputs.includes('u') ? 0 : 1),
    });
  const withAxis = (given: Model): Model =>
    makeModel({
      opset: 13,
      inputs: given.graph.input,
      outputs: given.graph.output,
      initializers: [...given.graph.initializer, makeTensor('first', 'int64', [1], BigInt64Array.of(0n))],
      nodes: given.graph.node,
    });
  it.each<[string, Model, RegExp, object]>([
    ['a Conv', withAxis(one('Conv', ['u', 'conv'])), /static quantization/, {}],
    ['a constant on the left', one('MatMul', ['m', 'x']), /on the left/, {}],
    ['batches of matrices', one('MatMul', ['x', 'batched']), /3 axes/, {}],
    ['a scaled product', one('FusedMatMul', ['x', 'm'], { alpha: { float: 0.5 } }), /alpha is not 1/, {}],
    ['a turned input', one('FusedMatMul', ['x', 'm'], { transA: 1 }), /transA is set/, {}],
    ['an activation within', one('FusedGemm', ['x', 'm'], { activation: 'Relu' }), /an activation is part/, {}],
    ['what the schedule says', one('MatMul', ['x', 'm']), /by the schedule/, { overrides: { product: { bits_weights: null } } }], // prettier-ignore
  ])('leaves %s in float and says why', async (_, float, why, options) => {
    const { skipped, changed, model: result } = await quantized(float, options, square);
    expect(skipped).toEqual([{ layer: 'product', text: expect.stringMatching(why) as unknown }]);
    expect(changed).toEqual([]);
    expect(result.graph.node.map(({ op_type }) => op_type)).not.toContain('MatMulInteger');
  });

  it('takes a FusedMatMul that is a plain product', async () => {
    const { model: result, changed } = await quantized(one('FusedMatMul', ['x', 'm'], { transB: 1 }), {}, square);
    expect(changed).toHaveLength(1);
    const [wanted, got] = await Promise.all(
      [one('FusedMatMul', ['x', 'm'], { transB: 1 }), result].map((m) => runModel(m, square, 'disabled')),
    );
    // 8 bits of both factors: errors of a hundredth of the largest output.
    const [a, b] = [wanted, got].map((out) => out?.y?.data as Float32Array) as [Float32Array, Float32Array];
    a.forEach((v, i) => expect(Math.abs(v - (b[i] as number))).toBeLessThan(0.02 * Math.max(...a.map(Math.abs))));
  });

  it('tells what preparing the model did', async () => {
    const old = makeModel({
      opset: 9,
      inputs: [makeValue('x', 'float32', [rows, K])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [K, N], 2)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['m']), makeNode('Clip', ['m'], ['y'], { min: { float: 0 } }, { name: 'bound' })], // prettier-ignore
    });
    const { notes } = await quantized(old);
    expect(notes?.join('\n')).toMatch(/^bound: .+/m);
  });
});
