import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import { dynamicQuantizer } from '../../../src/passes/quantize/dynamic.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

export const words = 256;

/** Row scales differ by up to 50 times: one scale for the whole table would lose the small rows. */
export function tableOf(width: number): Float32Array {
  return noise(3, words * width, 0.2).map((v, i) => v * (0.02 + Math.floor(i / width) / words));
}

export const feeds = (seed: number): Feeds => ({
  ids: {
    type: 'int64',
    dims: [4, 8],
    data: BigInt64Array.from({ length: 32 }, (_, i) => BigInt((i * 37 + seed * 101) % words)),
  },
});

export async function quantized(model: Model, pass: Pass<never>, options: object) {
  const calibration = [feeds(1), feeds(2)];
  return (pass as unknown as Pass<object>).apply(
    model,
    pass.options.parse(options),
    testContext({ calibration, reference: model }),
  );
}

/** SQNR of an output in dB, at the worse of both optimization levels. */
export async function quality(model: Model, float: Model, output: string): Promise<number> {
  const want = (await runModel(float, feeds(3)))[output]?.data as Float32Array;
  const at = async (level: 'disabled' | 'all'): Promise<number> =>
    snr(want, (await runModel(model, feeds(3), level))[output]?.data as Float32Array);
  return Math.min(await at('disabled'), await at('all'));
}

// Each form as its own pass stores it.
export const quantizers: readonly (readonly [string, Pass<never>, object])[] = [
  ['static', staticQuantizer as Pass<never>, { bits_weights: 7 }],
  ['dynamic', dynamicQuantizer as Pass<never>, { bits_weights: 7 }],
  ['weights only', weightsOnlyQuantizer as Pass<never>, { bits_weights: 8 }],
  ['packed', weightsOnlyQuantizer as Pass<never>, { bits_weights: 8, block_size: 16, storage: 'packed' }],
];

/** ids → rows of the table → ×2 → y = `op` of them and a weight. */
export function beside(
  table: TensorProto,
  weight: TensorProto,
  op: NodeProto,
  between: readonly NodeProto[] = [],
  more: readonly TensorProto[] = [],
): Model {
  return makeModel({
    opset: 21,
    ir: 10,
    inputs: [makeValue('ids', 'int64', ['N', 'T'])],
    outputs: ['rows', 'y'].map((name) => makeValue(name, 'float32')),
    initializers: [
      table,
      ...(weight.name === table.name ? [] : [weight]),
      makeTensor('two', 'float32', [1], Float32Array.of(2)),
      makeTensor('picture', 'int64', [4], BigInt64Array.of(4n, -1n, 4n, 2n)),
      ...more,
    ],
    nodes: [
      makeNode('Gather', ['table', 'ids'], ['rows'], {}, { name: 'lookup' }),
      makeNode('Mul', ['rows', 'two'], ['hidden'], {}, { name: 'twice' }),
      ...between,
      op,
    ],
  });
}
