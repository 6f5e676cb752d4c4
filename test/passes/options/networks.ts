import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import type { Fixture } from './table.ts';

const width = 8;
const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 4 * width), [8, 4, width]) }));

/** A normalization before two products. */
const norm = {
  initializers: [weight('gamma', [width], 1, 3), weight('beta', [width], 2), weight('q', [width, width], 3)],
  nodes: [
    makeNode('LayerNormalization', ['x', 'gamma', 'beta'], ['n'], {}, { name: 'norm' }),
    makeNode('MatMul', ['n', 'q'], ['y'], {}, { name: 'query' }),
  ],
};
/** Two 1 × 1 convolutions with a Relu or a Clip between, the first with a bias that lifts all it gives above 0. */
const pair = (between: 'Relu' | 'Clip') => ({
  initializers: [
    weight('a', [width, 4, 1], 4, 0.5),
    makeTensor(
      'a.bias',
      'float32',
      [width],
      Float32Array.from({ length: width }, (_, i) => (i < 4 ? 6 : 0.5)),
    ),
    weight('b', [width, width, 1], 5),
    weight('b.bias', [width], 6),
    makeTensor('low', 'float32', [], Float32Array.of(0)),
    makeTensor('high', 'float32', [], Float32Array.of(6)),
  ],
  nodes: [
    makeNode('Conv', ['x', 'a', 'a.bias'], ['c'], {}, { name: 'a' }),
    makeNode(between, between === 'Clip' ? ['c', 'low', 'high'] : ['c'], ['r'], {}, { name: 'between' }),
    makeNode('Conv', ['r', 'b', 'b.bias'], ['y'], {}, { name: 'b' }),
  ],
});
/** A normalization of uneven channels, which its mean is read of too, before a product. */
const uneven = {
  initializers: [
    makeTensor(
      'gamma',
      'float32',
      [width],
      Float32Array.from({ length: width }, (_, c) => (c === 3 ? 50 : 1)),
    ),
    weight('q', [width, width], 3, 0.3),
  ],
  nodes: [
    makeNode('LayerNormalization', ['x', 'gamma'], ['n'], {}, { name: 'norm' }),
    makeNode('MatMul', ['n', 'q'], ['p'], {}, { name: 'query' }),
    makeNode('Add', ['p', 'n'], ['y'], {}, { name: 'residual' }),
  ],
};
const parts = { norm, uneven, Clip: pair('Clip'), shifted: pair('Relu') };

/** What single passes look for. */
export const normalizedNet =
  (kind: keyof typeof parts): Fixture =>
  async () => {
    const { initializers, nodes } = parts[kind];
    const used = new Set(nodes.flatMap(({ input }) => input));
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 4, width])],
      outputs: [makeValue('y', 'float32')],
      initializers: initializers.filter(({ name }) => used.has(name)),
      nodes,
    });
    return { model, context: testContext({ calibration, reference: model }) };
  };
