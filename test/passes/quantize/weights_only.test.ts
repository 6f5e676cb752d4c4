import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { encodeModel } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

/** Images whose pixels go together, as real ones do: what GPTQ can use and rounding cannot. */
const image = (seed: number, count: number): Feeds => {
  const [base, grain] = [noise(seed, count * 3), noise(seed + 50, count * 192, 0.4)];
  return {
    x: floats(
      grain.map((g, i) => g + 2 * (base[Math.floor(i / 64)] as number)),
      [count, 3, 8, 8],
    ),
  };
};
const images = [image(100, 32), image(101, 32)];

async function quantized(model: Model, options: object, calibration: readonly Feeds[] = images) {
  const context = testContext({ calibration, reference: model });
  const parsed = weightsOnlyQuantizer.options.parse(options);
  const result = await weightsOnlyQuantizer.apply(model, parsed, context);
  const output = model.graph.output[0]?.name as string;
  const run = async (m: Model, level?: 'disabled') =>
    (await runModel(m, calibration[0] as Feeds, level))[output]?.data as Float32Array;
  const expected = await run(model);
  return {
    ...result,
    ops: await optimizedOps(result.model),
    snr: snr(expected, await run(result.model)),
    // What the file says, without what the optimizer makes of it.
    plain: snr(expected, await run(result.model, 'disabled')),
    bytes: encodeModel(result.model).length,
  };
}

/** x [N, K] → Gemm (transB) → activation → MatMul → y [N, 10]. */
function dense(K = 64, activation = 'Tanh'): Model {
  const seed = 1;
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', K])],
    outputs: [makeValue('y', 'float32', ['N', 10])],
    initializers: [weight('w1', [32, K], seed), weight('b1', [32], seed + 1), weight('w2', [32, 10], seed + 2)],
    nodes: [
      makeNode('Gemm', ['x', 'w1', 'b1'], ['h'], { transB: 1 }, { name: 'fc1' }),
      makeNode(activation, ['h'], ['r'], {}, { name: 'act' }),
      makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'fc2' }),
    ],
  });
}
const vectors = (K = 64): Feeds[] => [{ x: floats(noise(7, 48 * K), [48, K]) }];

/** ids [N, 6] → embedding → GRU or LSTM → y. */
function recurrent(op: 'GRU' | 'LSTM', gates: number, directions = 1): Model {
  const H = 16;
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('ids', 'int64', [6, 'N'])],
    outputs: [makeValue('y', 'float32')],
    initializers: [
      weight('table', [20, 32], 1),
      weight('W', [directions, gates * H, 32], 2),
      weight('R', [directions, gates * H, H], 3),
    ],
    nodes: [
      makeNode('Gather', ['table', 'ids'], ['e'], {}, { name: 'embed' }),
      makeNode(
        op,
        ['e', 'W', 'R'],
        ['', 'y'],
        { hidden_size: H, ...(directions === 2 ? { direction: 'bidirectional' } : {}) },
        { name: 'rnn' },
      ),
    ],
  });
}
const words: Feeds[] = [1, 2].map((seed) => ({
  ids: {
    type: 'int64',
    dims: [6, 16],
    data: BigInt64Array.from(noise(seed, 96), (v) => BigInt(Math.floor((v + 2) * 5))),
  },
}));

const w4 = { bits_weights: 4, block_size: 16 };

describe('quantize/weights_only', () => {
  it('gives a convnet of float speed: no decoding is left in the optimized graph', async () => {
    const { ops, snr, changed, skipped } = await quantized(smallConvNet(), { ...w4, storage: 'folded' });
    for (const op of ['Cast', 'Mul', 'Sub', 'DequantizeLinear', 'Reshape', 'Slice']) expect(ops).not.toHaveProperty(op);
    expect(skipped).toEqual([]);
    expect(changed.map((c) => c.layer)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
    expect(changed[0]?.text).toBe('weights int4 (rtn), one scale for 16; float weights at load time');
    // Weights rounded to 16 levels of blocks of 16: about 20 dB a layer.
    expect(snr).toBeGreaterThan(12);
  });

  it.each([
    ['symmetric', { weights_symmetric: true }],
    ['with zero points', { weights_symmetric: false }],
  ])('has less error on the output with GPTQ than rounded to nearest, %s', async (_, more) => {
    const rtn = await quantized(smallConvNet(), { ...w4, ...more });
    const mse = await quantized(smallConvNet(), { ...w4, ...more, method: 'mse' });
    for (const order of ['natural', 'activation']) {
      const gptq = await quantized(smallConvNet(), { ...w4, ...more, method: 'gptq', order });
      expect(gptq.snr).toBeGreaterThan(Math.max(rtn.snr, mse.snr) + 1);
      // All layers of this net have second moments.
      expect(gptq.changed.map((c) => /\((.*?)\)/.exec(c.text)?.[1])).toEqual(Array(4).fill('gptq'));
    }
  });

  it("has less error with HQQ's float zero points than with integer ones, as real weights lie anywhere", async () => {
    const asked = { ...w4, method: 'hqq', weights_symmetric: false };
    const integer = await quantized(smallConvNet(), asked);
    const float = await quantized(smallConvNet(), { ...asked, zero_points: 'float' });
    expect(float.snr).toBeGreaterThan(integer.snr);
    expect(float.ops).not.toHaveProperty('MatMulNBits');
  });

  it.each(['GRU', 'LSTM'] as const)(
    'quantizes both weights of a %s and its embedding, GPTQ by input and hidden state',
    async (op) => {
      for (const directions of [1, 2]) {
        const model = recurrent(op, op === 'GRU' ? 3 : 4, directions);
        const rtn = await quantized(model, { ...w4, bits_weights: 3 }, words);
        const gptq = await quantized(model, { ...w4, bits_weights: 3, method: 'gptq' }, words);
        expect(gptq.snr).toBeGreaterThan(rtn.snr);
        expect(gptq.changed.map((c) => c.text.split(';')[0])).toEqual([
          'weights int3 (mse), one scale for 16', // an embedding is multiplied with nothing
          'weights int3 (gptq), one scale for 16',
          'weights int3 (gptq), one scale for 16',
        ]);
        expect(gptq.ops).not.toHaveProperty('Mul');
      }
    },
  );

  describe('stored', () => {
    it.each([2, 3, 4, 8])(
      'in %d bits behind DequantizeLinear runs as MatMulNBits and says the same unoptimized',
      async (bits) => {
        for (const block_size of [16, 32, null])
          for (const weights_symmetric of [true, false]) {
            const options = { bits_weights: bits, block_size, weights_symmetric };
            const { ops, snr, plain } = await quantized(dense(), options, vectors());
            // 10 outputs are no multiple of 4: onnxruntime 1.30 gets those wrong in 2 bits, so they are decoded at load.
            expect(ops.MatMulNBits).toBe(bits === 2 ? 1 : 2);
            const folded = await quantized(dense(), { ...options, storage: 'folded' }, vectors());
            // The folded form holds its scales in float16.
            expect(Math.abs(plain - folded.snr)).toBeLessThan(0.2);
            expect(snr).toBeGreaterThan(6 * bits - 12);
            // MatMulNBits rounds activations to int8 unless told otherwise, which shows beside 8-bit weights.
            expect(Math.abs(snr - plain)).toBeLessThan(bits === 8 ? 8 : 1);
          }
      },
    );

    it.each([2, 4, 8])('in %d bits packed gives what the folded form gives, in MatMulNBits', async (bits) => {
      for (const K of [64, 40])
        for (const weights_symmetric of [true, false]) {
          const options = { bits_weights: bits, block_size: 16, weights_symmetric, accuracy_level: 0 };
          const folded = await quantized(dense(K), { ...options, storage: 'folded' }, vectors(K));
          const packed = await quantized(dense(K), { ...options, storage: 'packed' }, vectors(K));
          expect(packed.ops).toMatchObject({ MatMulNBits: 2 });
          // The folded form holds its scales in float16.
          expect(packed.snr).toBeCloseTo(folded.snr, 1);
          expect(packed.changed[0]?.text).toMatch(/; MatMulNBits$/);
        }
    });

    it('packed: what MatMulNBits cannot be stays standard, and the report says why', async () => {
      const three = { bits_weights: 3, block_size: 16 };
      const { changed, ops } = await quantized(dense(), { ...three, storage: 'packed' }, vectors());
      expect(changed[0]?.text).toContain('; MatMulNBits at load time (onnxruntime packs 2, 4 and 8 bits, not 3)');
      expect(ops).toMatchObject({ MatMulNBits: 2 });
    });

    it('says beforehand where MatMulNBits will not be faster: many rows at once', async () => {
      const { notes } = await quantized(dense(), w4, vectors());
      expect(notes?.join()).toContain('fc2: multiplies 48 rows a sample');
      const one = await quantized(dense(), w4, [{ x: floats(noise(7, 64), [1, 64]) }]);
      expect(one.notes?.join()).not.toContain('rows a sample');
      const folded = await quantized(dense(), { ...w4, storage: 'folded' }, vectors());
      expect(folded.notes?.join()).not.toContain('rows a sample');
    });

    it('decodes a Gemm before a Relu at load, which would be dequantized at every run', async () => {
      const { changed, ops } = await quantized(dense(64, 'Relu'), w4, vectors());
      expect(changed[0]?.text).toContain('before a Relu');
      expect(ops).not.toHaveProperty('DequantizeLinear');
      expect(ops).toMatchObject({ MatMulNBits: 1 });
    });

    it.each([2, 4, 8])('in %d bits packed, an embedding runs as GatherBlockQuantized', async (bits) => {
      for (const weights_symmetric of [true, false]) {
        const options = { bits_weights: bits, block_size: 16, weights_symmetric };
        const packed = await quantized(recurrent('GRU', 3), { ...options, storage: 'packed' }, words);
        const folded = await quantized(recurrent('GRU', 3), options, words);
        expect(packed.ops).toMatchObject({ GatherBlockQuantized: 1 });
        // The folded form holds its scales in float16, an error of 70 dB and less: seen beside 8-bit weights only.
        expect(Math.abs(packed.snr - folded.snr)).toBeLessThan(0.2);
      }
    });

    it('takes the smallest type: 4 bits take half of 8, 2 bits half of that', async () => {
      const data = noise(3, 256 * 128);
      const model = makeModel({
        opset: 13,
        ir: 8,
        inputs: [makeValue('x', 'float32', ['N', 256])],
        outputs: [makeValue('y', 'float32', ['N', 128])],
        initializers: [makeTensor('w', 'float32', [256, 128], data)],
        nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'fc' })],
      });
      const bytes = async (bits: number) => (await quantized(model, { bits_weights: bits }, vectors(256))).bytes;
      const [two, three, four, eight] = [await bytes(2), await bytes(3), await bytes(4), await bytes(8)];
      // One scale a channel and the graph around it: below 1.5 kB.
      expect(eight).toBeLessThan(256 * 128 + 1500);
      expect(four).toBeLessThan(128 * 128 + 1500);
      expect(three).toBe(four);
      expect(two).toBeLessThan(64 * 128 + 1500);
    });

    it('keeps scales too small for float16 as they are', async () => {
      const tiny = makeModel({
        opset: 13,
        ir: 8,
        inputs: [makeValue('x', 'float32', ['N', 2, 4, 4])],
        outputs: [makeValue('y', 'float32')],
        initializers: [weight('w', [4, 2, 3, 3], 1, 1e-6)],
        nodes: [makeNode('Conv', ['x', 'w'], ['y'], {}, { name: 'conv' })],
      });
      const feeds = [{ x: floats(noise(1, 64), [2, 2, 4, 4]) }];
      expect((await quantized(tiny, { bits_weights: 8 }, feeds)).snr).toBeGreaterThan(35);
    });
  });

  it('gives each layer the width the schedule says, or leaves it in float, or holds it in 16 bits', async () => {
    const overrides = { fc1: { bits_weights: 'float' }, '*': { bits_weights: 16 } };
    const { snr, skipped, changed } = await quantized(dense(), { ...w4, overrides }, vectors());
    expect(skipped).toEqual([{ layer: 'fc1', text: 'left in float by the schedule' }]);
    expect(changed[0]?.text).toContain('int16');
    expect(snr).toBeGreaterThan(70);
  });

  it('takes fewer bits as the stronger setting', () => {
    const options = weightsOnlyQuantizer.options.parse({ bits_weights: 5 });
    const strength = weightsOnlyQuantizer.strength as NonNullable<typeof weightsOnlyQuantizer.strength>;
    expect(strength.levels?.(options).map((t) => strength.at(options, t).bits_weights)).toEqual([5, 6, 7, 8]);
  });
});
