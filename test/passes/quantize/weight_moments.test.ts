import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { siteMoments } from '../../../src/passes/quantize/weight_moments.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

/** The gram of every site in the order in which they come, undefined where it has none. */
async function grams(model: Model, ctx: PassContext, samples = 100, limit?: number) {
  const found: [string, Float64Array | undefined][] = [];
  for await (const { site, moments } of siteMoments(ctx, model, layers(model).layers, samples, limit))
    found.push([site.weight.tensor.name, moments?.gram]);
  return found;
}

/** Σ x xᵀ over rows of k numbers. */
function gramOf(data: Float32Array, k: number): number[] {
  const gram = Array.from({ length: k * k }, () => 0);
  for (let row = 0; row < data.length; row += k)
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) gram[i * k + j]! += data[row + i]! * data[row + j]!;
  return gram;
}

/** The largest difference. */
function apart(got: Float64Array | undefined, wanted: readonly number[]): number {
  return got?.length === wanted.length ? Math.max(...wanted.map((v, i) => Math.abs(got[i]! - v))) : Infinity;
}
/** Sums of float32 products near 1. */
const slack = 1e-4;

describe.each([
  ['RNN', 1],
  ['GRU', 3],
  ['LSTM', 4],
] as const)('of a %s', (op, gates) => {
  const [K, H] = [4, 3];
  const x: Feeds = { x: floats(noise(1, 5 * 2 * K), [5, 2, K]) };
  const recurrent = (states: string, directions = 2): Model =>
    makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', [5, 2, K])],
      outputs: [makeValue(states || 'last', 'float32')],
      initializers: [weight('W', [directions, gates * H, K], 2), weight('R', [directions, gates * H, H], 3)],
      nodes: [
        makeNode(
          op,
          ['x', 'W', 'R'],
          [states, 'last'],
          { hidden_size: H, direction: directions === 2 ? 'bidirectional' : 'forward' },
          { name: 'rnn' },
        ),
      ],
    });

  it.each(['states', ''])('W meets the input, R the hidden states, which are called "%s"', async (states) => {
    const y = (await runModel(recurrent('states'), x, 'disabled'))['states']!;
    const found = new Map(await grams(recurrent(states), testContext({ calibration: [x] })));
    expect(apart(found.get('W'), gramOf(x['x']!.data as Float32Array, K))).toBeLessThan(slack);
    expect(apart(found.get('R'), gramOf(y.data as Float32Array, H))).toBeLessThan(slack);
  });
});

describe('of layers', () => {
  /** x [N, 4] → Gemm → MatMul → Gemm: 4, 6 and 2 columns. */
  const chain = makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 4])],
    outputs: [makeValue('y', 'float32')],
    initializers: [weight('four', [6, 4], 1), weight('six', [6, 2], 2), weight('two', [3, 2], 3)],
    nodes: [
      makeNode('Gemm', ['x', 'four'], ['a'], { transB: 1 }),
      makeNode('MatMul', ['a', 'six'], ['b']),
      makeNode('Gemm', ['b', 'two'], ['y'], { transB: 1 }),
    ],
  });
  const batches = [1, 2, 3].map((seed): Feeds => ({ x: floats(noise(seed, 8 * 4), [8, 4]) }));

  // 4² doubles are 128 bytes, 6² are 288, 2² are 32.
  it.each([
    [448, [['x', 'a', 'b']]],
    [447, [['x', 'a'], ['b']]],
    [416, [['x', 'a'], ['b']]],
    [320, [['x'], ['a', 'b']]],
    [319, [['x'], ['a'], ['b']]],
    [1, [['x'], ['a'], ['b']]],
  ])('at most %d bytes are held in a pass over the data: %j', async (limit, passes) => {
    const asked: (readonly string[])[] = [];
    const plain = testContext({ calibration: batches });
    const ctx = testContext({
      calibration: batches,
      capture: (model, values, samples) => (asked.push(values), plain.capture(model, values, samples)),
    });
    const found = await grams(chain, ctx, 100, limit);
    expect(asked).toEqual(passes);
    expect(found).toEqual(await grams(chain, plain));
    expect(found.map(([name, gram]) => [name, gram?.length])).toEqual([
      ['four', 16],
      ['six', 36],
      ['two', 4],
    ]);
  });

  it('are of as many samples as are asked for', async () => {
    const found = new Map(await grams(chain, testContext({ calibration: batches }), 16));
    const [first, second] = batches.map((feeds) => gramOf(feeds['x']!.data as Float32Array, 4));
    const both = first!.map((v, i) => v + second![i]!);
    expect(apart(found.get('four'), both)).toBeLessThan(slack);
  });

  it.each([
    // Squares of 1e-42 lie below float32's normal numbers, those of 1e-26 well above.
    [1e-21, undefined],
    [1e-13, 16],
    [0, 16],
  ])('are known of inputs about %d where float32 holds their squares', async (size, length) => {
    const small: Feeds = { x: floats(noise(1, 32).map((v) => v * size), [8, 4]) }; // prettier-ignore
    const found = new Map(await grams(chain, testContext({ calibration: [small] })));
    expect(found.get('four')?.length).toBe(length);
  });

  it('are not known where an input is not finite, of that layer alone', async () => {
    const bad: Feeds = { x: floats(noise(1, 32), [8, 4]) };
    (bad['x']!.data as Float32Array)[3] = Infinity;
    const masked = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: ['y', 'z'].map((name) => makeValue(name, 'float32')),
      initializers: [weight('four', [4, 6], 1), weight('other', [4, 2], 2)],
      nodes: [
        makeNode('MatMul', ['x', 'four'], ['y']),
        makeNode('Tanh', ['x'], ['t']),
        makeNode('MatMul', ['t', 'other'], ['z']),
      ],
    });
    const found = await grams(masked, testContext({ calibration: [bad] }));
    expect(found.map(([name, gram]) => [name, gram?.length])).toEqual([
      ['four', undefined],
      ['other', 16],
    ]);
  });

  it('come once each, those that have none first', async () => {
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [
        makeValue('ids', 'int64', [4]),
        makeValue('x', 'float32', [4, 4]),
        makeValue('i', 'float32', [1, 2, 3, 3]),
      ],
      outputs: ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => makeValue(name, 'float32')),
      initializers: [
        weight('known', [4, 3], 1),
        weight('table', [5, 4], 2),
        weight('up', [2, 3, 2, 2], 3),
        weight('left', [3, 4], 4),
        weight('batched', [2, 4, 3], 5),
        weight('turned', [4, 3], 6),
        weight('conv', [3, 2, 2, 2], 7),
      ],
      nodes: [
        makeNode('MatMul', ['x', 'known'], ['a']),
        makeNode('Gather', ['table', 'ids'], ['b']),
        makeNode('ConvTranspose', ['i', 'up'], ['c']),
        makeNode('MatMul', ['left', 'x'], ['d']),
        makeNode('MatMul', ['x', 'batched'], ['e']),
        makeNode('Gemm', ['x', 'turned'], ['f'], { transA: 1 }),
        makeNode('Conv', ['i', 'conv'], ['g']),
      ],
    });
    const feeds: Feeds = {
      x: floats(noise(1, 16), [4, 4]),
      ids: { type: 'int64', dims: [4], data: BigInt64Array.of(0n, 3n, 1n, 4n) },
      i: floats(noise(2, 18), [1, 2, 3, 3]),
    };
    const found = await grams(model, testContext({ calibration: [feeds] }));
    expect(found.map(([name, gram]) => [name, gram?.length])).toEqual([
      ...['table', 'up', 'left', 'batched', 'turned'].map((name) => [name, undefined]),
      ['known', 16],
      ['conv', 64],
    ]);
  });
});
