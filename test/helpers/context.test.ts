import type { Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { sealed } from '../../src/numerics/fold.ts';
import { floats, runModel, testContext } from './context.ts';
import { smallConvNet } from './models.ts';

const batch = (value: number) => ({ x: floats(new Float32Array(2 * 192).fill(value), [2, 3, 8, 8]) });
const peak = sealed({
  name: 'peak',
  start: () => -Infinity,
  add: (state: number, tensor: Tensor) => Math.max(state, ...(tensor.data as Float32Array)),
  finish: (state: number) => state,
});

describe('testContext', () => {
  it('knows the shape of inputs, constants and intermediate values', async () => {
    const shapes = await testContext({ calibration: [batch(1)] }).shapes(smallConvNet());
    expect(shapes.get('x')).toEqual({ type: 'float32', dims: [2, 3, 8, 8] });
    expect(shapes.get('dw.weight')?.dims).toEqual([8, 1, 3, 3]);
    expect(shapes.get('c3')?.dims).toEqual([2, 8, 4, 4]);
    expect(shapes.get('y')?.dims).toEqual([2, 5]);
  });

  it('folds and streams inputs, intermediate values and outputs, whole batches at a time', async () => {
    const context = testContext({ calibration: [batch(1), batch(3), batch(2)] });
    const folds = new Map([
      ['x', [peak]],
      ['r1', [peak, peak]],
    ]);
    const all = await context.collect(smallConvNet(), folds);
    expect(all.get('x')).toEqual([3]);
    expect(all.get('r1')).toHaveLength(2);
    expect((await context.collect(smallConvNet(), folds, 2)).get('x')).toEqual([1]);
    const seen = [];
    for await (const { y, x } of context.capture(smallConvNet(), ['y', 'x'], 3)) seen.push([y?.dims, x?.data[0]]);
    expect(seen).toEqual([
      [[2, 5], 1],
      [[2, 5], 3],
    ]);
  });

  it('computes with float64, int64 and without inputs', async () => {
    const model = makeModel({
      inputs: [],
      outputs: [makeValue('d', 'float64'), makeValue('i', 'int64')],
      nodes: [makeNode('Add', ['a', 'a'], ['d']), makeNode('Shape', ['a'], ['i'])],
      initializers: [makeTensor('a', 'float64', [2], Float64Array.of(0.1, 1))],
    });
    const expected = {
      d: { type: 'float64', dims: [2], data: Float64Array.of(0.2, 2) },
      i: { type: 'int64', dims: [1], data: BigInt64Array.of(2n) },
    };
    expect(await testContext().compute(model, {})).toEqual(expected);
    expect(await runModel(model, {})).toEqual(expected);
  });

  it('takes overrides, and says what it was not given', async () => {
    const model = smallConvNet();
    expect(testContext({ reference: model }).reference).toBe(model);
    expect(() => testContext().reference).toThrow('reference model');
    await expect(testContext().shapes(model)).rejects.toThrow('calibration batch');
  });
});
