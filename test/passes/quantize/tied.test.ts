import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { modelBytes } from '../../../src/graph/file.ts';
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

const words = 256;

/** Row scales differ by up to 50 times: one scale for the whole table would lose the small rows. */
function tableOf(width: number): Float32Array {
  return noise(3, words * width, 0.2).map((v, i) => v * (0.02 + Math.floor(i / width) / words));
}

const feeds = (seed: number): Feeds => ({
  ids: {
    type: 'int64',
    dims: [4, 8],
    data: BigInt64Array.from({ length: 32 }, (_, i) => BigInt((i * 37 + seed * 101) % words)),
  },
});

type Form = 'transpose' | 'gemm' | 'copy';

/** ids → rows of the table → ×2 → logits over the table's words. */
function network(form: Form, width: number): Model {
  const table = tableOf(width);
  const turned = Float32Array.from(table, (_, i) => table[(i % words) * width + Math.floor(i / words)] as number);
  const product: readonly NodeProto[] =
    form === 'transpose'
      ? [
          makeNode('Transpose', ['table'], ['head'], { perm: [1, 0] }),
          makeNode('MatMul', ['hidden', 'head'], ['logits'], {}, { name: 'head' }),
        ]
      : form === 'copy'
        ? [makeNode('MatMul', ['hidden', 'head_weight'], ['logits'], {}, { name: 'head' })]
        : [
            makeNode('Flatten', ['hidden'], ['flat'], { axis: 2 }),
            makeNode('Gemm', ['flat', 'table'], ['logits'], { transB: 1 }, { name: 'head' }),
          ];
  const copy: readonly TensorProto[] =
    form === 'copy' ? [makeTensor('head_weight', 'float32', [width, words], turned)] : [];
  return makeModel({
    opset: 21,
    ir: 10,
    inputs: [makeValue('ids', 'int64', ['N', 'T'])],
    outputs: ['rows', 'logits'].map((name) => makeValue(name, 'float32')),
    initializers: [
      makeTensor('table', 'float32', [words, width], table),
      makeTensor('two', 'float32', [1], Float32Array.of(2)),
      ...copy,
    ],
    nodes: [
      makeNode('Gather', ['table', 'ids'], ['rows'], {}, { name: 'lookup' }),
      makeNode('Mul', ['rows', 'two'], ['hidden'], {}, { name: 'twice' }),
      ...product,
    ],
  });
}

async function quantized(model: Model, pass: Pass<never>, options: object) {
  const calibration = [feeds(1), feeds(2)];
  return (pass as unknown as Pass<object>).apply(
    model,
    pass.options.parse(options),
    testContext({ calibration, reference: model }),
  );
}

/** SQNR of an output in dB, at the worse of both optimization levels. */
async function quality(model: Model, float: Model, output: string): Promise<number> {
  const want = (await runModel(float, feeds(3)))[output]?.data as Float32Array;
  const at = async (level: 'disabled' | 'all'): Promise<number> =>
    snr(want, (await runModel(model, feeds(3), level))[output]?.data as Float32Array);
  return Math.min(await at('disabled'), await at('all'));
}

// Bytes a weight, and the least SQNR of the rows. 7 bits where uint8 meets int8, as processors without VNNI saturate at 8. Floors: 6 dB a bit less what a range has over its spread.
const settings: readonly (readonly [string, Pass<never>, object, number, number])[] = [
  ['static', staticQuantizer as Pass<never>, { bits_weights: 7 }, 1, 35],
  ['static, one scale', staticQuantizer as Pass<never>, { bits_weights: 7, per_channel: false }, 1, 30],
  ['dynamic', dynamicQuantizer as Pass<never>, { bits_weights: 7 }, 1, 35],
  ['4 bits', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: 32, method: 'mse' }, 0.6, 17],
  ['GPTQ', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: 32, method: 'gptq' }, 0.6, 17],
  ['rows', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: null, method: 'rtn' }, 0.5, 15],
  ['packed', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, storage: 'packed' }, 0.6, 17],
  ['folded', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, storage: 'folded' }, 0.6, 17],
];

describe.each(['transpose', 'gemm', 'copy'] as const)('a table that is looked up and multiplied with (%s)', (form) => {
  // 80 is no multiple of 32: the last block of a row is short.
  it.each(settings)('is stored once and well: %s', async (_, pass, options, bytes, floor) => {
    for (const width of [64, 80]) {
      const float = network(form, width);
      const { model, changed } = await quantized(float, pass, options);
      expect(changed.map(({ layer }) => layer)).toEqual(expect.arrayContaining(['lookup', 'head']));
      // Once what one copy takes and some 4 kB of names and scales: half a copy more would be beyond it.
      expect(modelBytes(model)).toBeLessThan(words * width * bytes * 1.2 + 4096);
      expect(await quality(model, float, 'rows')).toBeGreaterThan(floor);
      expect(await quality(model, float, 'logits')).toBeGreaterThan(floor - 3);
    }
  });
});

describe('a tied table that stays in float', () => {
  it('is not stored a second time', async () => {
    const float = network('transpose', 64);
    const options = { bits_weights: 4, overrides: { '*': { bits_weights: null } } };
    const { model } = await quantized(float, weightsOnlyQuantizer as Pass<never>, options);
    expect(modelBytes(model)).toBeLessThan(modelBytes(float) + 200);
    expect(await quality(model, float, 'logits')).toBe(Infinity);
  });
});
