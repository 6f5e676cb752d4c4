import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

/** A case: operator set, what makes `m` of `c` [1, 4, 8, 8], its constants, and what it runs as. */
type Case = readonly [string, number, readonly NodeProto[], readonly TensorProto[], string];

const axes = makeTensor('axes', 'int64', [2], BigInt64Array.of(2n, 3n));
const cases: readonly Case[] = [
  ['ReduceMax, axes as an attribute', 13, [makeNode('ReduceMax', ['c'], ['m'], { axes: [2, 3] })], [], 'ReduceMax'],
  ['ReduceMax, axes as an input', 18, [makeNode('ReduceMax', ['c', 'axes'], ['m'])], [axes], 'ReduceMax'],
];

describe('operators between two Convs', () => {
  it.each(cases)('%s', async (_, opset, nodes, constants, runsAs) => {
    const model = makeModel({
      opset,
      inputs: [makeValue('x', 'float32', [1, 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w1', [4, 3, 3, 3], 1), weight('w2', [4, 4, 1, 1], 2), ...constants],
      nodes: [
        makeNode('Conv', ['x', 'w1'], ['c'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
        ...nodes,
        makeNode('Conv', ['m', 'w2'], ['y'], { kernel_shape: [1, 1] }),
      ],
    });
    const feeds: Feeds = { x: floats(noise(100, 192), [1, 3, 8, 8]) };
    // 7 bits, whose sums cannot saturate on a processor without VNNI.
    const options = staticQuantizer.options.parse({ bits_weights: 7 });
    const context = testContext({ calibration: [feeds], reference: model });
    const { model: result } = await staticQuantizer.apply(model, options, context);
    // Integers from one end to the other: one QuantizeLinear in, one DequantizeLinear out.
    const ops = await optimizedOps(result);
    expect(ops).toMatchObject({ QLinearConv: 2, [runsAs]: 1, QuantizeLinear: 1, DequantizeLinear: 1 });
    const data = async (m: Model, level: 'disabled' | 'all') =>
      (await runModel(m, feeds, level))['y']?.data as Float32Array;
    for (const level of ['disabled', 'all'] as const)
      // 43.6 dB at both; 40 leaves room for the roundings of other kernels, and none for a wrong scale.
      expect(snr(await data(model, level), await data(result, level))).toBeGreaterThan(40);
  });
});
