import type { Batch, Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { type Model } from '../../src/graph/model.ts';
import type { Pass } from '../../src/passes/pass.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

export const never = new AbortController().signal;

/** Samples as a run gives them, one a batch; `asked` is told how many are wanted. */
export const samplesOf = (all: readonly Feeds[], asked: number[] = []) =>
  async function* (samples: number): AsyncGenerator<Batch> {
    asked.push(samples);
    for (const [i, feeds] of all.slice(0, samples).entries())
      yield { ids: [String(i)], feeds, targets: [undefined], count: 1, size: 1 };
  };
export const images = Array.from({ length: 10 }, (_, i) => ({ x: floats(noise(100 + i, 192), [1, 3, 8, 8]) }));
export const vectors = Array.from({ length: 10 }, (_, i) => ({ x: floats(noise(200 + i, 64), [1, 64]) }));

export async function quantized(pass: unknown, model: Model, feeds: readonly Feeds[], options: object = {}) {
  const context = testContext({ calibration: feeds, reference: model });
  return (pass as Pass).apply(model, (pass as Pass).options.parse(options), context);
}

/** x [N, 64] → MatMul → Tanh → MatMul → y [N, 8]. */
export const dense = makeModel({
  opset: 21,
  inputs: [makeValue('x', 'float32', ['N', 64])],
  outputs: [makeValue('y', 'float32', ['N', 8])],
  initializers: [weight('w1', [64, 32], 1), weight('w2', [32, 8], 2)],
  nodes: [
    makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
    makeNode('Tanh', ['h'], ['t']),
    makeNode('MatMul', ['t', 'w2'], ['y'], {}, { name: 'two' }),
  ],
});

/** Texts in expectations, of a type that can be used. */
export const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);
export const containing = (text: string): unknown => expect.stringContaining(text);
