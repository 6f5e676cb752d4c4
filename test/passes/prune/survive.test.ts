import fc from '../../helpers/fc.ts';
import { zeroShare } from '../../../src/analyze/zero_share.ts';
import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers, isOp, producers } from '../../../src/graph/query.ts';
import { dimsOf, floatData, tensorData } from '../../../src/graph/tensor.ts';
import { levelPruner } from '../../../src/passes/prune/level.ts';
import { sparseGptPruner } from '../../../src/passes/prune/sparsegpt.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const images = (seed: number): Feeds => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) });
const context = (reference: Model) => testContext({ calibration: [images(1), images(2)], reference });

/** The numbers that a quantized layer multiplies with: (code − zero point) · scale, by layer name. */
function decoded(model: Model): Map<string, number[]> {
  const made = producers(model.graph);
  const stored = initializers(model.graph);
  return new Map(
    model.graph.node.flatMap((node): [string, number[]][] => {
      const decode = made.get(node.input[1] ?? '');
      const codes = decode && isOp(decode, 'DequantizeLinear') ? stored.get(decode.input[0] ?? '') : undefined;
      if (!isOp(node, 'Conv', 'Gemm') || !decode || !codes) return [];
      const points = tensorData(stored.get(decode.input[2] ?? '')!) as Int8Array;
      const data = tensorData(codes) as Int8Array;
      const inner = data.length / (dimsOf(codes)[0] as number);
      const values = Array.from(
        data,
        (code, i) => code - (points[points.length === 1 ? 0 : Math.floor(i / inner)] as number),
      );
      return [[node.name, values]];
    }),
  );
}

describe('zeros that a pruner made', () => {
  it('stay exactly zero under PostTrainLinearQuantizer, at any level and width', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0.3, 0.7, 0.95),
        fc.constantFrom(8, 5, 3),
        fc.boolean(),
        fc.boolean(),
        async (level, bits, symmetric, update) => {
          const plain = smallConvNet();
          const o = { levels: { '*': level } };
          const { model } = update
            ? await sparseGptPruner.apply(plain, sparseGptPruner.options.parse({ ...o, samples: 32 }), context(plain))
            : await levelPruner.apply(plain, o, context(plain));
          const options = staticQuantizer.options.parse({ bits_weights: bits, weights_symmetric: symmetric });
          const { model: quantized, twin } = await staticQuantizer.apply(model, options, context(plain));
          const weights = initializers(twin!.graph);
          const layers = decoded(quantized);
          expect(layers.size).toBeGreaterThan(2);
          for (const node of twin!.graph.node) {
            const codes = layers.get(node.name);
            if (!codes) continue;
            floatData(weights.get(node.input[1] as string)!).forEach((w, i) => {
              if (w === 0) expect(codes[i]).toBe(0);
            });
          }
          expect(zeroShare(quantized)).toBeGreaterThanOrEqual(zeroShare(model) - 1e-9);
        },
      ),
      { numRuns: 10, seed: 3 },
    );
  });
});
