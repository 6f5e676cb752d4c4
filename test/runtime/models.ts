import type { Batch, Feeds, Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { AttributeCodec, GraphCodec, NodeCodec } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';

/** A reproducible stream of numbers in [-1, 1): a linear congruential generator (Numerical Recipes' constants). */
export function numbers(seed: number, count: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

export function float(dims: readonly number[], data: readonly number[] | Float32Array): Tensor {
  return { type: 'float32', dims, data: Float32Array.from(data) };
}

export const weights = Float32Array.from([1, -2, 0.5, 3, -1, 0.25]);
export const bias = Float32Array.from([0.5, -0.5]);

/** x [N, 3] → hidden = x · w + b → y = Relu(hidden), all [N, 2]. */
export function denseModel(): Model {
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3])],
    outputs: [makeValue('y', 'float32', ['N', 2])],
    nodes: [
      makeNode('MatMul', ['x', 'w'], ['product']),
      makeNode('Add', ['product', 'b'], ['hidden']),
      makeNode('Relu', ['hidden'], ['y']),
    ],
    initializers: [makeTensor('w', 'float32', [3, 2], weights), makeTensor('b', 'float32', [2], bias)],
  });
}

/** The value `hidden` of `denseModel`, row by row. */
export function hidden(x: ArrayLike<number>): number[] {
  const out: number[] = [];
  for (let row = 0; row < x.length / 3; row++)
    for (let column = 0; column < 2; column++) {
      let sum = bias[column] as number;
      for (let k = 0; k < 3; k++) sum += (x[3 * row + k] as number) * (weights[2 * k + column] as number);
      out.push(sum);
    }
  return out;
}

/** A batch without targets: `count` real samples, the rest padding. */
export function batchOf(feeds: Feeds, size: number, count = size): Batch {
  const ids = Array.from({ length: count }, (_, i) => `s${i}`);
  return { ids, feeds, targets: ids.map(() => undefined), count, size };
}

/** A source that gives the same batches at every pass. */
export function source(...batches: Batch[]): () => AsyncIterable<Batch> {
  return async function* () {
    yield* batches;
  };
}

/** x [N], flag → y = flag ? -|x| : x, each branch a body of an If, z = y + 1; `inner` = |x| lives inside the first body. */
export function ifModel(): Model {
  const branch = (name: string, nodes: ReturnType<typeof makeNode>[], output: string) =>
    AttributeCodec.create({
      name,
      type: 5, // AttributeProto.GRAPH
      g: GraphCodec.create({ name, node: nodes, output: [makeValue(output, 'float32', ['N'])] }),
    });
  const node = makeNode('If', ['flag'], ['y'], {}, { name: 'choice' });
  node.attribute = [
    branch('then_branch', [makeNode('Abs', ['x'], ['inner']), makeNode('Neg', ['inner'], ['then_out'])], 'then_out'),
    branch('else_branch', [makeNode('Identity', ['x'], ['else_out'])], 'else_out'),
  ];
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N']), makeValue('flag', 'bool', [])],
    outputs: [makeValue('z', 'float32', ['N'])],
    nodes: [NodeCodec.create(node), makeNode('Add', ['y', 'one'], ['z'])],
    initializers: [makeTensor('one', 'float32', [1], Float32Array.of(1))],
  });
}
