import { makeModel, makeNode, makeValue } from '../../../../src/graph/build.ts';
import type { Model } from '../../../../src/graph/model.ts';
import { initializers } from '../../../../src/graph/query.ts';
import { dimsOf, floatData, makeTensor } from '../../../../src/graph/tensor.ts';
import type { Feeds } from '../../../../src/data/types.ts';
import { floats } from '../../../helpers/context.ts';
import { noise, weight } from '../../../helpers/models.ts';

/** Batches of images [8, 3, 8, 8]. */
export const images = (count: number): Feeds[] =>
  Array.from({ length: count }, (_, i) => ({ x: floats(noise(100 + i, 8 * 192, 2), [8, 3, 8, 8]) }));

/**
 * A residual block whose inner layer `a` has 8 filters, of which the last four only repeat the first four: half of them can go
 * without loss once `b` is refitted. Then a head of 12 hidden units, again each twice. Input x [N, 3, 8, 8], output y [N, 5].
 */
export function redundantNet(seed = 1): Model {
  const twice = (name: string, dims: readonly number[], s: number) => {
    const half = noise(s, dims.reduce((p, d) => p * d, 1) / 2, 0.5);
    return makeTensor(name, 'float32', dims, Float32Array.of(...half, ...half));
  };
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 5])],
    initializers: [
      weight('stem.weight', [6, 3, 3, 3], seed),
      weight('stem.bias', [6], seed + 1),
      twice('a.weight', [8, 6, 3, 3], seed + 2),
      twice('a.bias', [8], seed + 3),
      weight('b.weight', [6, 8, 3, 3], seed + 4),
      weight('b.bias', [6], seed + 5),
      twice('h.weight', [12, 96], seed + 6),
      twice('h.bias', [12], seed + 7),
      weight('fc.weight', [5, 12], seed + 8),
      weight('fc.bias', [5], seed + 9),
    ],
    nodes: [
      makeNode('Conv', ['x', 'stem.weight', 'stem.bias'], ['s'], { pads: [1, 1, 1, 1] }, { name: 'stem' }),
      makeNode('Relu', ['s'], ['sr']),
      makeNode('Conv', ['sr', 'a.weight', 'a.bias'], ['c'], { pads: [1, 1, 1, 1] }, { name: 'a' }),
      makeNode('Relu', ['c'], ['cr']),
      makeNode('Conv', ['cr', 'b.weight', 'b.bias'], ['d'], { pads: [1, 1, 1, 1] }, { name: 'b' }),
      makeNode('Add', ['d', 'sr'], ['e']),
      makeNode('AveragePool', ['e'], ['p'], { kernel_shape: [2, 2], strides: [2, 2] }),
      makeNode('Flatten', ['p'], ['f']),
      makeNode('Gemm', ['f', 'h.weight', 'h.bias'], ['h'], { transB: 1 }, { name: 'h' }),
      makeNode('Relu', ['h'], ['hr']),
      makeNode('Gemm', ['hr', 'fc.weight', 'fc.bias'], ['y'], { transB: 1 }, { name: 'fc' }),
    ],
  });
}

/** A stem and three residual blocks, of which the second adds next to nothing; then a head. Input x [N, 3, 8, 8]. */
export function residualNet(): Model {
  const scales = [0.3, 0.002, 0.3];
  const pads = { pads: [1, 1, 1, 1] };
  const blocks = scales.flatMap((_, i) => {
    const x = i === 0 ? 'r' : `e${i - 1}`;
    return [
      makeNode('Conv', [x, `a${i}.weight`, `a${i}.bias`], [`a${i}`], pads, { name: `a${i}` }),
      makeNode('Relu', [`a${i}`], [`ar${i}`]),
      makeNode('Conv', [`ar${i}`, `b${i}.weight`, `b${i}.bias`], [`b${i}`], pads, { name: `b${i}` }),
      makeNode('Add', [`b${i}`, x], [`e${i}`], {}, { name: `add${i}` }),
    ];
  });
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 5])],
    initializers: [
      weight('stem.weight', [6, 3, 3, 3], 1),
      ...scales.flatMap((scale, i) => [
        weight(`a${i}.weight`, [6, 6, 3, 3], 10 + i),
        weight(`a${i}.bias`, [6], 20 + i),
        weight(`b${i}.weight`, [6, 6, 3, 3], 30 + i, scale),
        weight(`b${i}.bias`, [6], 40 + i),
      ]),
      weight('fc.weight', [5, 6], 50),
      weight('fc.bias', [5], 51),
    ],
    nodes: [
      makeNode('Conv', ['x', 'stem.weight'], ['s'], pads, { name: 'stem' }),
      makeNode('Relu', ['s'], ['r']),
      ...blocks,
      makeNode('GlobalAveragePool', ['e2'], ['p']),
      makeNode('Flatten', ['p'], ['f']),
      makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y'], { transB: 1 }, { name: 'fc' }),
    ],
  });
}

/** Values and dims of a stored tensor. */
export const stored = (model: Model, name: string): Float32Array =>
  floatData(initializers(model.graph).get(name) as never);
export const dims = (model: Model, name: string): number[] => dimsOf(initializers(model.graph).get(name) as never);

/** ‖a − b‖ / ‖b‖ over all outputs. */
export function distance(a: Feeds, b: Feeds): number {
  let [error, size] = [0, 0];
  for (const [name, tensor] of Object.entries(b)) {
    const [x, y] = [a[name]?.data as Float32Array, tensor.data as Float32Array];
    expect(x).toHaveLength(y.length);
    y.forEach((v, i) => {
      error += ((x[i] as number) - v) ** 2;
      size += v * v;
    });
  }
  return Math.sqrt(error / size);
}
