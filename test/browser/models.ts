import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { weight } from '../helpers/models.ts';

/** An LSTM of 6 steps and a layer on its last state: `x` [N, 6, 12] → `y` [N, 5]. */
export function lstmNet(): Model {
  const [inputs, hidden] = [12, 16];
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 6, inputs])],
    outputs: [makeValue('y', 'float32', ['N', 5])],
    initializers: [
      weight('w', [1, 4 * hidden, inputs], 1),
      weight('r', [1, 4 * hidden, hidden], 2),
      weight('b', [1, 8 * hidden], 3, 0.1),
      weight('fc.weight', [hidden, 5], 4, 0.8),
      makeTensor('axis', 'int64', [1], BigInt64Array.of(0n)),
    ],
    nodes: [
      makeNode('Transpose', ['x'], ['steps'], { perm: [1, 0, 2] }, { name: 'transpose' }),
      makeNode('LSTM', ['steps', 'w', 'r', 'b'], ['', 'state'], { hidden_size: hidden }, { name: 'lstm' }),
      makeNode('Squeeze', ['state', 'axis'], ['last'], {}, { name: 'squeeze' }),
      makeNode('MatMul', ['last', 'fc.weight'], ['y'], {}, { name: 'fc' }),
    ],
  });
}

/** A net of images of CIFAR-10's size and classes: `input` [N, 3, 32, 32] → `scores` [N, 10]. */
export function imageNet(): Model {
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('input', 'float32', ['N', 3, 32, 32])],
    outputs: [makeValue('scores', 'float32', ['N', 10])],
    initializers: [weight('conv.weight', [16, 3, 3, 3], 11), weight('conv.bias', [16], 12), weight('fc.weight', [10, 16], 13, 2)], // prettier-ignore
    nodes: [
      makeNode('Conv', ['input', 'conv.weight', 'conv.bias'], ['c'], { pads: [1, 1, 1, 1], strides: [2, 2] }, { name: 'conv' }), // prettier-ignore
      makeNode('Relu', ['c'], ['r'], {}, { name: 'relu' }),
      makeNode('GlobalAveragePool', ['r'], ['p'], {}, { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], {}, { name: 'flatten' }),
      makeNode('Gemm', ['f', 'fc.weight'], ['scores'], { transB: 1 }, { name: 'fc' }),
    ],
  });
}
