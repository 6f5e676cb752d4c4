import { clippedBy, cutsMore } from '../../src/run/clipping.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { floats } from '../helpers/context.ts';
import { dense, never, samplesOf, vectors } from './support.ts';

describe('clippedBy', () => {
  it('counts what lies outside of a range, on either side, and by how much', async () => {
    const data = new Float32Array(64);
    data.set([3, -2, 1, -1, 1.5]);
    const feeds = [{ x: floats(data, [1, 64]) }, { x: floats(new Float32Array(64).fill(1), [1, 64]) }];
    const found = await clippedBy([-1, 1], dense, 'x', () => samplesOf(feeds)(9), never);
    expect(found).toEqual({ count: 128, beyond: 3, reach: [-2, 3], noise: 4 + 1 + 0.25 });
  });

  it('knows nothing of a value that holds no floats, and stops when it is told to', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 64])],
      outputs: [makeValue('y', 'int64', ['N', 1])],
      nodes: [makeNode('ArgMax', ['x'], ['y'], { axis: 1 })],
    });
    const feeds = () => samplesOf(vectors)(9);
    expect(await clippedBy([0, 1], model, 'y', feeds, never)).toMatchObject({ count: 0, beyond: 0, noise: 0 });
    const stopped = clippedBy([0, 1], model, 'y', feeds, AbortSignal.abort(new Error('enough')));
    await expect(stopped).rejects.toThrow();
  });
});

describe('cutsMore', () => {
  // Steps of 2: an error of 4 / 12 a value by rounding.
  it.each([
    [3, false],
    [10 / 3, false],
    [3.4, true],
    [0, false],
  ])('than rounding: %d for 10 values, %s', (noise, more) => {
    // prettier-ignore
    expect(cutsMore([-255, 255], { count: 10, beyond: 1, reach: [-300, 300], noise })).toBe(more);
  });
});
