import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import fc from '../helpers/fc.ts';
import { gradientsOf } from './differences.ts';

const axis = fc.record({
  size: fc.integer({ min: 4, max: 8 }),
  kernel: fc.integer({ min: 1, max: 3 }),
  stride: fc.integer({ min: 1, max: 3 }),
  dilation: fc.integer({ min: 1, max: 2 }),
  begin: fc.integer({ min: 0, max: 1 }),
  end: fc.integer({ min: 0, max: 1 }),
});

describe('MaxPool without places, as it is written for WebGPU', () => {
  it('gives the first of equal elements the gradient, as the places that the CPU names do', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(axis, { minLength: 1, maxLength: 2 }),
        fc.boolean(),
        fc.array(fc.integer({ min: -1, max: 1 }), { minLength: 128, maxLength: 128 }),
        async (axes, up, levels) => {
          // A kernel of 1 in padding alone has nothing to take the largest of; of windows that begin behind the last element, which
          // rounding up may make, onnxruntime has two opinions.
          const sides = axes.map((one) => ({
            ...one,
            begin: one.kernel === 1 ? 0 : one.begin,
            end: one.kernel === 1 || up ? 0 : one.end,
            stride: up ? Math.min(one.stride, one.kernel) : one.stride,
          }));
          const attributes = {
            kernel_shape: sides.map(({ kernel }) => kernel),
            strides: sides.map(({ stride }) => stride),
            dilations: sides.map(({ dilation }) => dilation),
            pads: [...sides.map(({ begin }) => begin), ...sides.map(({ end }) => end)],
            ceil_mode: up ? 1 : 0,
          };
          const dims = [1, 2, ...sides.map(({ size }) => size)];
          const count = dims.reduce((a, b) => a * b, 1);
          // Of three levels nearly every window holds its largest several times.
          const data = Float32Array.from({ length: count }, (_, i) => levels[i]!);
          const model = makeModel({
            opset: 18,
            inputs: [],
            outputs: [makeValue('y', 'float32')],
            initializers: [makeTensor('x', 'float32', dims, data)],
            nodes: [makeNode('MaxPool', ['x'], ['y'], attributes)],
          });
          const [cpu, webgpu] = [
            await gradientsOf(model, ['x']),
            await gradientsOf(model, ['x'], { target: 'webgpu' }),
          ];
          for (const level of ['all', 'disabled'] as const) {
            const [found, wanted] = [webgpu, cpu].map((one) => Array.from(one[level].get('x')!.data as Float32Array));
            // Elements of several windows are summed in another order.
            for (const [i, value] of wanted!.entries()) expect(found![i]).toBeCloseTo(value, 5);
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});
