import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';

/** A deterministic generator of numbers in [0, 1) (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Numbers of mean 0 that look like weights: the sum of four uniform ones, scaled. */
export function noise(seed: number, count: number, scale = 1): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: count }, () => (next() + next() + next() + next() - 2) * scale);
}

/** A float32 initializer of noise. */
export function weight(name: string, dims: readonly number[], seed: number, scale = 0.3) {
  return makeTensor(
    name,
    'float32',
    dims,
    noise(
      seed,
      dims.reduce((a, b) => a * b, 1),
      scale,
    ),
  );
}

/**
 * A small convnet with everything that makes real ones hard: Conv+Relu, a residual Add, a depthwise Conv, pooling, Flatten and a
 * Gemm. Input `x` [N, 3, 8, 8], output `y` [N, 5].
 */
export function smallConvNet(options: { readonly seed?: number; readonly opset?: number } = {}): Model {
  const seed = options.seed ?? 1;
  return makeModel({
    opset: options.opset ?? 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 5])],
    initializers: [
      weight('conv1.weight', [8, 3, 3, 3], seed),
      weight('conv1.bias', [8], seed + 1),
      weight('conv2.weight', [8, 8, 3, 3], seed + 2),
      weight('conv2.bias', [8], seed + 3),
      weight('dw.weight', [8, 1, 3, 3], seed + 4),
      weight('dw.bias', [8], seed + 5),
      weight('fc.weight', [5, 8], seed + 6),
      weight('fc.bias', [5], seed + 7),
    ],
    nodes: [
      makeNode(
        'Conv',
        ['x', 'conv1.weight', 'conv1.bias'],
        ['c1'],
        { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
        { name: 'conv1' },
      ),
      makeNode('Relu', ['c1'], ['r1'], {}, { name: 'relu1' }),
      makeNode(
        'Conv',
        ['r1', 'conv2.weight', 'conv2.bias'],
        ['c2'],
        { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
        { name: 'conv2' },
      ),
      makeNode('Add', ['c2', 'r1'], ['a'], {}, { name: 'add' }),
      makeNode('Relu', ['a'], ['r2'], {}, { name: 'relu2' }),
      makeNode(
        'Conv',
        ['r2', 'dw.weight', 'dw.bias'],
        ['c3'],
        { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2], group: 8 },
        { name: 'dw' },
      ),
      makeNode('Relu', ['c3'], ['r3'], {}, { name: 'relu3' }),
      makeNode('GlobalAveragePool', ['r3'], ['p'], {}, { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], { axis: 1 }, { name: 'flatten' }),
      makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y'], { transB: 1 }, { name: 'fc' }),
    ],
  });
}
