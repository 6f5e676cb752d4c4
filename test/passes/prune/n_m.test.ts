import { nmPruner } from '../../../src/passes/prune/n_m.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { testContext } from '../../helpers/context.ts';
import { smallConvNet } from '../../helpers/models.ts';

const weightsOf = (model: Model, name: string): Float32Array => floatData(initializers(model.graph).get(name)!);
const zeros = (model: Model, name: string): number => weightsOf(model, name).filter((w) => w === 0).length;

describe('prune/n_m', () => {
  it('keeps the 2 largest of every 4 input channels at each place of the kernel', async () => {
    const plain = smallConvNet();
    const { model } = await nmPruner.apply(plain, { patterns: { '*': '2:4' } }, testContext());
    const before = weightsOf(plain, 'conv2.weight');
    const after = weightsOf(model, 'conv2.weight');
    for (let o = 0; o < 8; o++)
      for (let tap = 0; tap < 9; tap++)
        for (const half of [0, 4]) {
          const places = [0, 1, 2, 3].map((i) => (o * 8 + half + i) * 9 + tap);
          const order = [...places].sort((a, b) => Math.abs(before[b]!) - Math.abs(before[a]!));
          expect(order.map((e) => after[e])).toEqual([before[order[0]!], before[order[1]!], 0, 0]);
        }
    expect(zeros(model, 'fc.weight')).toBe(20);
    // Of 3 channels ⌈2·3/4⌉ = 2 stay, of a depthwise Conv's one that one.
    expect([zeros(model, 'conv1.weight'), zeros(model, 'dw.weight')]).toEqual([72, 0]);
  });

  it.each([
    ['MatMul', {}, [4, 2], [0, 0, 0, 4, 5, 0, 7, 8]],
    ['Gemm', { transB: 1 }, [2, 4], [0, 0, 3, 4, 0, 0, 7, 8]],
  ] as const)('counts along what a %s %j sums over', async (op, attributes, dims, expected) => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32', ['N', 2])],
      // Read as [4, 2], the columns are 1 3 5 7 and 2 4 6 8.
      initializers: [makeTensor('w', 'float32', dims, Float32Array.of(1, 2, 3, 4, 5, op === 'MatMul' ? 0.5 : 6, 7, 8))],
      nodes: [makeNode(op, ['x', 'w'], ['y'], { ...attributes }, { name: 'layer' })],
    });
    const pruned = await nmPruner.apply(model, { patterns: { w: '2:4' } }, testContext());
    expect([...weightsOf(pruned.model, 'w')]).toEqual(expected);
  });

  it.each(['3:2', '2-4', '1:0'])('refuses the pattern %s', (text) => {
    expect(nmPruner.options.safeParse({ patterns: { '*': text } }).success).toBe(false);
  });
});
