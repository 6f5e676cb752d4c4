import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import { dynamicQuantizer } from '../../../src/passes/quantize/dynamic.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

/** A stored vector or matrix in which one element is broken. */
function broken(name: string, dims: number[], value: number, at: number) {
  const data = noise(
    5,
    dims.reduce((a, b) => a * b),
  );
  data[at] = value;
  return makeTensor(name, 'float32', dims, data);
}

/** Rows of a table by number, one of which holds NaN: some samples meet it. */
const table = makeModel({
  opset: 17,
  inputs: [makeValue('ids', 'int64', ['N'])],
  outputs: [makeValue('y', 'float32', ['N', 16])],
  initializers: [broken('table', [40, 32], NaN, 3 * 32 + 7), weight('w1', [32, 32], 1), weight('w2', [32, 16], 2)],
  nodes: [
    makeNode('Gather', ['table', 'ids'], ['e'], {}, { name: 'rows' }),
    makeNode('MatMul', ['e', 'w1'], ['h'], {}, { name: 'first' }),
    makeNode('Tanh', ['h'], ['t'], {}, { name: 'tanh' }),
    makeNode('MatMul', ['t', 'w2'], ['y'], {}, { name: 'second' }),
  ],
});
const ids: Feeds = { ids: { type: 'int64', dims: [8], data: BigInt64Array.of(0n, 1n, 3n, 4n, 5n, 6n, 7n, 3n) } };

/** x → Gemm with a bias → `op` → MatMul → y. */
const biased = (value: number, op: string, bounds: string[] = []): Model =>
  makeModel({
    opset: 17,
    inputs: [makeValue('x', 'float32', ['N', 32])],
    outputs: [makeValue('y', 'float32', ['N', 16])],
    initializers: [
      weight('w1', [32, 32], 1),
      broken('b1', [32], value, 4),
      weight('w2', [32, 16], 2),
      ...bounds.map((name, i) => makeTensor(name, 'float32', [], Float32Array.of(i === 0 ? -3 : 3))),
    ],
    nodes: [
      makeNode('Gemm', ['x', 'w1', 'b1'], ['h'], {}, { name: 'first' }),
      makeNode(op, ['h', ...bounds], ['t'], {}, { name: 'act' }),
      makeNode('MatMul', ['t', 'w2'], ['y'], {}, { name: 'second' }),
    ],
  });
const vectors: Feeds = { x: floats(noise(9, 8 * 32), [8, 32]) };

const quantizers: [string, Pass<never>, object][] = [
  ['weights alone', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4 }],
  ['packed', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: 32, storage: 'packed' }],
  ['dynamic', dynamicQuantizer as Pass<never>, { bits_weights: 7 }],
  ['static', staticQuantizer as Pass<never>, { bits_weights: 7 }],
];

/** Where the outputs hold NaN or infinity, and which. */
const special = (y: Float32Array): number[] => [...y].map((v) => (Number.isFinite(v) ? 0 : v));

describe.each(quantizers)('stored NaN and infinity, %s', (_, pass, options) => {
  const apply = (model: Model, feeds: Feeds) =>
    pass.apply(model, pass.options.parse(options), testContext({ calibration: [feeds], reference: model }));

  it.each([
    ['a table', table, ids],
    ['a bias, NaN', biased(NaN, 'Tanh'), vectors],
    ['a bias, NaN, and an operator that no list has', biased(NaN, 'Round'), vectors],
    ['a bias, infinity', biased(-Infinity, 'LeakyRelu'), vectors],
  ])('come out of the result as of the float model: %s', async (_name, model, feeds) => {
    const result = await apply(model, feeds);
    for (const level of ['disabled', 'all'] as const) {
      const [expected, got] = await Promise.all([model, result.model].map((m) => runModel(m, feeds, level)));
      const float = special(expected?.y?.data as Float32Array);
      expect(float.some((v) => v !== 0)).toBe(true);
      expect(special(got?.y?.data as Float32Array)).toEqual(float);
    }
    expect(result.skipped.find(({ layer }) => layer === 'second')?.text).toMatch(/"(table|b1)", which holds/);
  });

  it('end where infinity is bounded', async () => {
    const { skipped } = await apply(biased(Infinity, 'Clip', ['low', 'high']), vectors);
    expect(skipped.map(({ layer }) => layer)).not.toContain('second');
  });
});
