import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { needyRows } from '../../../src/passes/quantize/float16_rows.ts';
import { floats, testContext } from '../../helpers/context.ts';

const n = 8;
/** A matrix of halves, which float16 holds exactly, but for one row or column of numbers that it makes zero. */
const matrix = (name: string, tiny: 'row' | 'column' | 'none', value = 1e-9) =>
  makeTensor(
    name,
    'float32',
    [n, n],
    Float32Array.from({ length: n * n }, (_, i) =>
      (tiny === 'row' && i < n) || (tiny === 'column' && i % n === 3) ? value : 0.5,
    ),
  );

/** y = x·v + x·w, a second output z that knows nothing of them, and a third of integers. */
function network(v: ReturnType<typeof matrix>, w = matrix('w', 'none'), by = new Float32Array(n).fill(1)): Model {
  return makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', n])],
    outputs: [makeValue('z', 'float32'), makeValue('top', 'int64'), makeValue('y', 'float32')],
    initializers: [v, w, makeTensor('by', 'float32', [n], by)],
    nodes: [
      makeNode('MatMul', ['x', 'v'], ['xv']),
      makeNode('MatMul', ['x', 'w'], ['xw']),
      makeNode('Add', ['xv', 'xw'], ['sum']),
      makeNode('Mul', ['sum', 'by'], ['y']),
      makeNode('ArgMax', ['x'], ['top']),
      makeNode('Neg', ['x'], ['z']),
    ],
  });
}

/** A sample of ones whose first number is another. */
const sample = (first: number, second = 1): Feeds => ({
  x: floats(
    Float32Array.from({ length: n }, (_, i) => (i === 0 ? first : i === 1 ? second : 1)),
    [1, n],
  ),
});
async function needy(model: Model, feeds: Feeds[]): Promise<string[]> {
  const tensors = model.graph.initializer;
  return [...(await needyRows(model, tensors, testContext({ calibration: feeds })))].map(({ name }) => name).sort();
}

// 7 halves from v and 8 from w are 7.5; −60 dB of that are 7.5e-3, what a tiny row of 1e-9 gives for x₀ = 7.5e6.
it.each<[string, Model, Feeds[], string[]]>([
  ['a row that nothing amplifies', network(matrix('v', 'row')), [sample(1)], []],
  // x₀ meets halves in w, unless that has a tiny row too: then both do.
  ['rows that a large input amplifies', network(matrix('v', 'row'), matrix('w', 'row')), [sample(1e8)], ['v', 'w']],
  ['no rows', network(matrix('v', 'none')), [sample(1)], []],
  // Small, but normal numbers of float16 (from 6.1e-5 on): rounded, and not lost.
  ['rows that float16 holds', network(matrix('v', 'row', 2 ** -13), matrix('w', 'row', 2 ** -14)), [sample(1e8)], []],
  // Between: 1e-6 is 16.8 times float16's smallest number, which makes 17 of it, 38 dB.
  ['rows that float16 rounds coarsely', network(matrix('v', 'row', 1e-6), matrix('w', 'row', 1e-6)), [sample(1e8)], ['v', 'w']], // prettier-ignore
  ['a later sample', network(matrix('v', 'row'), matrix('w', 'row')), [sample(1), sample(1), sample(1e8)], ['v', 'w']],
])('needed is what the outputs show: %s', async (_, model, feeds, wanted) => {
  expect(await needy(model, feeds)).toEqual(wanted);
});

it('needed are columns that a later layer makes up for', async () => {
  const by = Float32Array.from({ length: n }, (_, i) => (i === 3 ? 1e9 : 1));
  const [v, w] = [matrix('v', 'column'), matrix('w', 'column')];
  expect(await needy(network(v, w, by), [sample(1)])).toEqual(['v', 'w']);
  expect(await needy(network(v, w), [sample(1)])).toEqual([]);
});

it('only those that show are needed', async () => {
  // v has a row that x₀ amplifies and w has a column, beside which v's halves are all that is seen.
  const model = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', n])],
    outputs: [makeValue('a', 'float32'), makeValue('b', 'float32')],
    initializers: [matrix('v', 'row'), matrix('w', 'column')],
    nodes: [makeNode('MatMul', ['x', 'v'], ['a']), makeNode('MatMul', ['x', 'w'], ['b'])],
  });
  expect(await needy(model, [sample(1e8)])).toEqual(['v']);
});

it('where none shows alone but all do together, all are needed', async () => {
  // Each tiny row gives 1e-9·x₀ of y = 7: for x₀ = 5e6 that is −63 dB alone, −57 dB together.
  const rows = network(matrix('v', 'row'), matrix('w', 'row'));
  expect(await needy(rows, [sample(5e6)])).toEqual(['v', 'w']);
  // −69 dB and −63 dB.
  expect(await needy(rows, [sample(2.5e6)])).toEqual([]);
});

it('outputs that are not finite say nothing, and the others still do', async () => {
  const rows = network(matrix('v', 'row'), matrix('w', 'row'));
  const broken = (first: number): Feeds[] => [
    { x: floats(Float32Array.of(first, ...Array<number>(7).fill(1), 1, NaN, ...Array<number>(6).fill(1)), [2, n]) },
  ];
  expect(await needy(rows, broken(1e8))).toEqual(['v', 'w']);
  expect(await needy(rows, broken(1))).toEqual([]);
});

it('vectors have no rows, and nothing runs where there is nothing to ask', async () => {
  const vector = makeTensor('b', 'float32', [n], new Float32Array(n).fill(1e-9));
  const capture = () => {
    throw new Error('ran');
  };
  const model = network(matrix('v', 'none'));
  expect(await needyRows(model, [vector, matrix('v', 'none')], { capture })).toEqual(new Set());
});
