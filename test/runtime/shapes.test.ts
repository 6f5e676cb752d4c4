import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { inferShapes } from '../../src/runtime/shapes.ts';
import { batchOf, denseModel, float, ifModel } from './models.ts';

describe('inferShapes', () => {
  it('knows inputs, weights and every computed value', async () => {
    const shapes = await inferShapes(denseModel(), batchOf({ x: float([5, 3], new Float32Array(15)) }, 5));
    expect(Object.fromEntries(shapes)).toEqual({
      x: { type: 'float32', dims: [5, 3] },
      w: { type: 'float32', dims: [3, 2] },
      b: { type: 'float32', dims: [2] },
      product: { type: 'float32', dims: [5, 2] },
      hidden: { type: 'float32', dims: [5, 2] },
      y: { type: 'float32', dims: [5, 2] },
    });
  });

  it('runs data-dependent shapes and types JavaScript has not, and leaves sequences out', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N'])],
      outputs: [makeValue('y', 'int64')],
      nodes: [
        makeNode('NonZero', ['x'], ['where']),
        makeNode('Cast', ['x'], ['brain'], { to: 16 }),
        makeNode('Cast', ['brain'], ['back'], { to: 1 }),
        makeNode('Cast', ['x'], ['eight'], { to: 17 }),
        makeNode('SplitToSequence', ['back', 'two'], ['list'], { axis: 0 }),
        makeNode('SequenceLength', ['list'], ['length']),
        makeNode('Add', ['where', 'length'], ['y']),
      ],
      initializers: [makeTensor('two', 'int64', [], BigInt64Array.of(2n))],
    });
    const shapes = await inferShapes(model, batchOf({ x: float([6], [1, 0, 2, 0, 3, 0]) }, 6));
    expect(shapes.get('where')).toEqual({ type: 'int64', dims: [1, 3] });
    expect(shapes.get('brain')).toEqual({ type: 'bfloat16', dims: [6] });
    expect(shapes.get('back')).toEqual({ type: 'float32', dims: [6] });
    expect(shapes.get('eight')).toEqual({ type: 'float8e4m3fn', dims: [6] });
    expect(shapes.get('length')).toEqual({ type: 'int64', dims: [] });
    expect(shapes.has('list')).toBe(false);
  });

  it('sees what an If gives back, not what is inside', async () => {
    const flag = { type: 'bool', dims: [], data: Uint8Array.of(1) } as const;
    const shapes = await inferShapes(ifModel(), batchOf({ x: float([2], [1, -1]), flag }, 2));
    expect(shapes.get('y')).toEqual({ type: 'float32', dims: [2] });
    expect(shapes.has('inner')).toBe(false);
  });
});
