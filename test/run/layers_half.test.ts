import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { layerReports } from '../../src/run/layers.ts';
import { floats } from '../helpers/context.ts';
import { never, samplesOf } from './support.ts';

it('layers are said to compute in float16 where the model does', async () => {
  const half = makeModel({
    opset: 17,
    inputs: [makeValue('x', 'float32', ['N', 4])],
    outputs: [makeValue('y', 'float32', ['N', 3])],
    initializers: [makeTensor('w', 'float16', [4, 3], new Uint16Array(12).fill(0x3c00))],
    nodes: [
      makeNode('Cast', ['x'], ['h'], { to: 10 }),
      makeNode('MatMul', ['h', 'w'], ['m'], {}, { name: 'half' }),
      makeNode('Cast', ['m'], ['y'], { to: 1 }),
    ],
  });
  const [report] = await layerReports(
    half,
    half,
    samplesOf([{ x: floats(new Float32Array(4).fill(1), [1, 4]) }]),
    never,
  );
  expect(report).toMatchObject({ layer: 'half', weights: 'float16', activations: 'float16' });
  expect(report).not.toHaveProperty('floatType');
});
