import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { formats } from '../../../src/numerics/formats/index.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';

const [rows, columns] = [16, 8];
const identity = { x: floats(Float32Array.from({ length: rows * rows }, (_, i) => (i % (rows + 1) === 0 ? 1 : 0)), [rows, rows]) }; // prettier-ignore
const matrix = (weight: ArrayLike<number>, dims: readonly number[] = [rows, columns]): Model =>
  makeModel({
    inputs: [makeValue('x', 'float32', ['N', dims[0]!])],
    outputs: [makeValue('y', 'float32', ['N', dims[1]!])],
    initializers: [makeTensor('w', 'float32', dims, Float32Array.from(weight))],
    nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
  });
const words = [
  ...formats.map(({ name }) => name).filter((name) => writtenFormat.parse(name).notWeights === undefined),
  ...[
    'codebook:bits=1',
    'codebook:start=exact',
    'weq:zero=false',
    'dorefa:bits=1',
    'fixed:bits=16',
    'ternary:scales=2',
  ],
];
/** The weights as onnxruntime reads them, at both levels, which must agree. */
async function held(word: string, weight: ArrayLike<number>): Promise<Float32Array> {
  const model = matrix(weight);
  const options = { ...formatQuantizer.options.parse({}), format: writtenFormat.parse(word) };
  const result = await formatQuantizer.apply(
    model,
    options,
    testContext({ calibration: [identity], reference: model }),
  );
  const [off, all] = await Promise.all((['disabled', 'all'] as const).map((level) => runModel(result.model, identity, level))); // prettier-ignore
  expect(all!['y']!.data).toEqual(off!['y']!.data);
  return off!['y']!.data as Float32Array;
}
const filled = (of: (i: number) => number): Float32Array => Float32Array.from({ length: rows * columns }, (_, i) => of(i)); // prettier-ignore
const largest = (data: Float32Array): number => Math.max(...data.map(Math.abs));

describe.each(words)('%s', (word) => {
  it('keeps zeros, whole matrices of them and single channels', async () => {
    expect(
      largest(
        await held(
          word,
          filled(() => 0),
        ),
      ),
    ).toBe(0);
    const random = noise(1, rows * columns);
    // Channels of the output are columns here.
    const one = await held(
      word,
      random.map((v, i) => (i % columns === 3 ? 0 : v)),
    );
    const format = writtenFormat.parse(word);
    if (format.sharing === 'channel') expect(largest(one.filter((_, i) => i % columns === 3))).toBe(0);
  });

  it('makes nothing large of the smallest numbers', async () => {
    expect(
      largest(
        await held(
          word,
          filled((i) => (i % 2 ? 1e-40 : -1e-40)),
        ),
      ),
    ).toBeLessThan(1e-30);
  });

  it.each([
    ['one value', () => 0.37],
    ['one negative value', () => -1 / 9],
    ['two values 1 apart', (i: number) => (i % 2 ? 0.5 : -0.5)],
  ])('holds %s', async (_, of) => {
    const wanted = filled(of);
    const found = await held(word, wanted);
    // The coarsest sets of powers of two are a third off.
    found.forEach((v, i) => expect(Math.abs(v - wanted[i]!)).toBeLessThan(0.42 * Math.abs(wanted[i]!)));
  });
});

it('leaves a weight without elements alone, in a sentence', async () => {
  const model = matrix([], [0, 8]);
  const context = testContext({ calibration: [{ x: floats(new Float32Array(0), [2, 0]) }], reference: model });
  const options = { ...formatQuantizer.options.parse({}), format: writtenFormat.parse('nf4') };
  expect((await formatQuantizer.apply(model, options, context)).skipped).toEqual([{ layer: 'y_MatMul', text: 'its weight "w" has no elements' }]); // prettier-ignore
});

it('stores 16-bit integers as such, without a table', async () => {
  for (const word of ['fixed:bits=16', 'flexpoint']) {
    const model = matrix(noise(1, rows * columns));
    const options = { ...formatQuantizer.options.parse({}), format: writtenFormat.parse(word) };
    const result = await formatQuantizer.apply(
      model,
      options,
      testContext({ calibration: [identity], reference: model }),
    );
    const sizes = result.model.graph.initializer.map(({ raw_data }) => raw_data.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(2 * rows * columns);
  }
});

it('says what is wrong with a format also where none may stand', () => {
  const problem = (format: unknown) => formatQuantizer.options.safeParse({ format });
  expect(problem('float').success).toBe(true);
  expect(problem(null).success).toBe(true);
  expect(JSON.stringify(problem('foo').error?.issues)).toContain('no number format is called');
  expect(JSON.stringify(problem('minifloat:exponent=4,exponent=5').error?.issues)).toContain('exponent is given twice');
});
