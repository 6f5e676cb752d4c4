import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { bitsOf, heldRange, layerFacts } from '../../src/run/layer_facts.ts';
import { noise, weight } from '../helpers/models.ts';
import { never, samplesOf } from './support.ts';
import { floats } from '../helpers/context.ts';

const total = (counts: readonly number[] = []): number => counts.reduce((a, b) => a + b, 0);
const samples = [1, 2].map((seed) => ({ x: floats(noise(seed, 8), [1, 8]) }));
const parts = (dims: number) => ({ opset: 21, inputs: [makeValue('x', 'float32', ['N', 8])], outputs: [makeValue('y', 'float32', ['N', dims])] }); // prettier-ignore
async function facts(model: Model, float: Model, held: Record<string, string>, asked: number[] = []) {
  const found = await layerFacts(model, float, samplesOf(samples, asked), new Map(Object.entries(held)), never);
  return Object.fromEntries(found);
}

/** x → `one` (8 × 4) → Relu `relu` → `two` (4 × 2) → y. */
const float = makeModel({
  ...parts(2),
  initializers: [weight('w1', [8, 4], 1), weight('w2', [4, 2], 2)],
  nodes: [
    makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
    makeNode('Relu', ['h'], ['r'], {}, { name: 'relu' }),
    makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'two' }),
  ],
});

describe('layerFacts', () => {
  it('of the float model are its sizes, work and weights on one sample', async () => {
    const asked: number[] = [];
    const { one, two, relu } = await facts(float, float, { one: 'float32', two: 'float32', relu: '' }, asked);
    expect(one).toMatchObject({ output: [1, 4], parameters: 32, macs: 32, bytes: 128, floatBytes: 128, bits: 32, shape: [8, 4] }); // prettier-ignore
    expect(two).toMatchObject({ output: [1, 2], parameters: 8, macs: 8, bytes: 32, floatBytes: 32, shape: [4, 2] });
    expect(Object.keys(one?.weightSpread ?? {})).toEqual(['low', 'high', 'float']);
    expect(total(one?.weightSpread?.float)).toBe(32);
    expect([relu?.bits, relu?.shape, relu?.weightSpread]).toEqual([undefined, undefined, undefined]);
    expect(asked).toEqual([1]);
    const aborted = layerFacts(float, float, samplesOf(samples), new Map([['one', '']]), AbortSignal.abort());
    await expect(aborted).rejects.toThrow();
  });

  // The columns of w are outputs: the first holds at most 1, the second 10.
  const columns = Float32Array.from([3, 10, 1, 10, -1, -10, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1]);
  const codes = Int8Array.from(columns, (v, i) => (i === 0 ? 1 : v));
  const two = (initializers: ReturnType<typeof makeTensor>[], nodes: ReturnType<typeof makeNode>[], w: string) =>
    makeModel({
      ...parts(2),
      initializers,
      nodes: [...nodes, makeNode('MatMul', ['x', w], ['y'], {}, { name: 'fc' })],
    });
  const plain = two([makeTensor('w', 'float32', [8, 2], columns)], [], 'w');
  const scale = makeTensor('s', 'float32', [], Float32Array.of(1));
  const quantized = two([makeTensor('c', 'int8', [8, 2], codes), scale], [makeNode('DequantizeLinear', ['c', 's'], ['d'])], 'd'); // prettier-ignore

  it('of a quantized model stand beside the float one, its weights output by output', async () => {
    const { fc } = await facts(quantized, plain, { fc: 'int8, 5 bits' });
    // 16 codes and a scale.
    expect(fc).toMatchObject({ bytes: 20, floatBytes: 64, bits: 5, parameters: 16, macs: 16, shape: [8, 2] });
    expect(fc?.weightSpread).toMatchObject({ low: -10, high: 10, range: [-10, 10], clipped: 1 / 16 });
    expect(total(fc?.weightSpread?.quantized)).toBe(16);
    // Codes of more than 8 bits clip nothing.
    expect((await facts(quantized, plain, { fc: 'int16' }))['fc']?.weightSpread).not.toHaveProperty('clipped');
  });

  it('of a layer that only one of them has are its own', async () => {
    const gone = makeModel({ ...parts(8), initializers: [], nodes: [makeNode('Relu', ['x'], ['y'], {}, { name: 'relu' })] }); // prettier-ignore
    const { one } = await facts(gone, float, { one: 'float32' });
    expect(one).toMatchObject({ output: [1, 4], parameters: 32, macs: 32, floatBytes: 128, bytes: undefined, shape: [8, 4] }); // prettier-ignore
    const added = (await facts(float, gone, { one: 'float32', nowhere: '' }))['one'];
    expect(added).toMatchObject({ output: [1, 4], parameters: 32, bytes: 128, floatBytes: undefined });
    expect(added).not.toHaveProperty('shape');
  });

  it('have no weights to draw where these are computed from the input, or are none', async () => {
    const model = makeModel({
      ...parts(8),
      initializers: [],
      nodes: [
        makeNode('Transpose', ['x'], ['t'], { perm: [1, 0] }),
        makeNode('MatMul', ['x', 't'], ['q'], {}, { name: 'both' }),
        makeNode('MatMul', ['q', 'x'], ['y'], {}, { name: 'back' }),
      ],
    });
    const { both } = await facts(model, model, { both: 'float32' });
    expect(both).toMatchObject({ output: [1, 1], macs: 8, shape: [8, 1] });
    expect(both).not.toHaveProperty('weightSpread');
    const empty = two([makeTensor('w', 'float32', [8, 0], new Float32Array(0))], [], 'w');
    expect((await facts(empty, empty, { fc: 'float32' }))['fc']).not.toHaveProperty('weightSpread');
  });

  it('share what several layers read by their weights and widths', async () => {
    // a and b read w (256 bytes) and have a bias each (32 bytes); c reads 16 weights of its own and a's bias.
    const model = makeModel({
      ...parts(8),
      initializers: [weight('w', [8, 8], 1), weight('p', [8], 2), weight('q', [8], 3), weight('v', [2, 8], 4), weight('u', [8, 2], 5)], // prettier-ignore
      nodes: [
        makeNode('Gemm', ['x', 'w', 'p'], ['h'], {}, { name: 'a' }),
        makeNode('Gemm', ['h', 'w', 'q'], ['i'], {}, { name: 'b' }),
        makeNode('MatMul', ['i', 'u'], ['j'], {}, { name: 'd' }),
        makeNode('Gemm', ['j', 'v', 'p'], ['y'], {}, { name: 'c' }),
      ],
    });
    const even = await facts(model, model, { a: 'float32', b: 'float32', c: 'float32', d: 'what' });
    // Of p a has 72 parts of 96, c 24.
    expect([even['a'], even['b'], even['c'], even['d']].map((one) => [one?.bytes, one?.floatBytes])).toEqual([[152, 152], [160, 160], [72, 72], [64, 64]]); // prettier-ignore
    // With a at 8 and b at 4 bits a third of w is b's; of p a has 72 · 8 parts beside 24 · 32.
    const { a, b, c } = await facts(model, model, { a: 'int8', b: 'int8, 4 bits', c: 'float32' });
    const partOfP = (32 * 576) / (576 + 768);
    expect([a?.bytes, b?.bytes, c?.bytes]).toEqual([Math.round((256 * 2) / 3 + partOfP), Math.round(256 / 3 + 32), Math.round(64 + 32 - partOfP)]); // prettier-ignore
    expect([a?.floatBytes, b?.floatBytes, c?.floatBytes]).toEqual([152, 160, 72]);
  });
});

describe('heldRange', () => {
  const range = (
    zero: ReturnType<typeof makeTensor> | undefined,
    steps: ReturnType<typeof makeTensor>,
    op = 'DequantizeLinear',
  ) =>
    // prettier-ignore
    heldRange(
      makeModel({
        ...parts(8),
        initializers: [steps, ...(zero ? [zero] : [])],
        nodes: [makeNode(op, ['x', 's', ...(zero ? ['z'] : [])], ['y'], {}, { name: 'dq' })],
      }),
    )('y');
  const step = (...values: number[]) => makeTensor('s', 'float32', values.length === 1 ? [] : [values.length], Float32Array.from(values)); // prettier-ignore
  const int8 = makeTensor('z', 'int8', [], Int8Array.of(-3));

  it('is what the codes of a type can stand for', () => {
    expect(range(int8, step(0.5))).toEqual([(-128 + 3) / 2, (127 + 3) / 2]);
    expect(range(makeTensor('z', 'uint16', [], Uint16Array.of(5)), step(2))).toEqual([-10, (65535 - 5) * 2]);
    expect(range(makeTensor('z', 'int4', [], Int8Array.of(1)), step(1))).toEqual([-9, 6]);
  });

  it('is not known of several scales, of other types, and of what is not quantized', () => {
    const many = makeTensor('z', 'int8', [2], Int8Array.of(0, 0));
    const half = makeTensor('s', 'float16', [], Uint16Array.of(0x3c00));
    const eight = makeTensor('z', 'float8e4m3fn', [], Uint8Array.of(0));
    expect([range(undefined, step(1)), range(many, step(1, 2)), range(int8, half), range(eight, step(1)), range(int8, step(1), 'Sum')]).toEqual(Array(5).fill(undefined)); // prettier-ignore
    const model = makeModel({ ...parts(8), initializers: [int8], nodes: [makeNode('DequantizeLinear', ['x', 'x', 'z'], ['y'])] }); // prettier-ignore
    expect([heldRange(model)('y'), heldRange(model)('x')]).toEqual([undefined, undefined]);
  });

  it('has the bits of its type', () => {
    expect(['int8, 12 bits', 'int8, 4 bits of', 'toString'].map(bitsOf)).toEqual([12, undefined, undefined]);
  });
});
