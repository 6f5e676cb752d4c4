import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { passes } from '../../../src/passes/index.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { everyOption, type Fixture } from './table.ts';

const calibration = [{ x: floats(noise(1, 4 * 256), [4, 256]) }];
/** One layer of 4 bits, large enough that packing it is worth its decoder. */
const packed: Fixture = async () => {
  const reference = makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 256])],
    outputs: [makeValue('y', 'float32', ['N', 64])],
    initializers: [weight('w', [256, 64], 1)],
    nodes: [
      makeNode('MatMul', ['x', 'w'], ['a_long_name'], {}, { name: 'first' }),
      makeNode('Sigmoid', ['a_long_name'], ['y']),
    ],
  });
  const context = testContext({ calibration, reference });
  const { model, twin } = await staticQuantizer.apply(
    reference,
    staticQuantizer.options.parse({ bits_weights: 4 }),
    context,
  );
  return { model, context: testContext({ calibration, reference, twin: twin! }) };
};

describe('every option of the encoder changes what it makes', () => {
  everyOption(/^encode\//, {
    'encode/encode': {
      base: {},
      on: packed,
      options: {
        forms: [['bits'], ['rice']],
        names: ['short', 'keep'],
        max_opset: [13, 21, { with: { forms: ['cast', 'bits'] } }],
        load_memory: [256, 0, { with: { forms: ['bits'] } }],
      },
    },
  });
});

describe('the tables of options', () => {
  it('hold every family of passes', () => {
    const families = new Set(passes.map(({ name }) => name.split('/')[0]));
    expect([...families].sort()).toEqual(['allocate', 'encode', 'fold', 'prune', 'quantize', 'recover', 'train']);
  });
  const wide = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
  const normed: Fixture = () => Promise.resolve({ model: smallConvNet(), context: testContext({ calibration: wide }) });
  everyOption(/^fold\//, {
    'fold/restore_batchnorm': {
      base: {},
      on: normed,
      options: { layers: [['conv1'], ['conv2']], samples: [8, 16] },
    },
  });
});
