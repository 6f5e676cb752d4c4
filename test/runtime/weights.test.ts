import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import { isStored } from '../../src/graph/bytes.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { optimizedGraph } from '../../src/runtime/optimized.ts';
import { withSession } from '../../src/runtime/session.ts';
import { declaredShapes } from '../../src/runtime/shapes.ts';
import { withWeights } from '../../src/runtime/weights.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'weights-test-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Two weights that lie in a file one behind the other, and a constant that optimizations ask for: to add 0 would be left out. */
function twoProducts(): Model {
  const wave = (step: number): Float32Array => Float32Array.from({ length: 512 }, (_, i) => Math.sin(step * i));
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', [1, 16])],
    outputs: [makeValue('y', 'float32', [1, 16])],
    initializers: [
      makeTensor('first', 'float32', [16, 32], wave(1)),
      makeTensor('more', 'float32', [], Float32Array.of(2.5)),
      makeTensor('second', 'float32', [32, 16], wave(2)),
    ],
    nodes: [
      makeNode('MatMul', ['x', 'first'], ['a']),
      makeNode('Sin', ['a'], ['b']),
      makeNode('Add', ['b', 'more'], ['c']),
      makeNode('MatMul', ['c', 'second'], ['y']),
    ],
  });
}

describe('a session without weights', () => {
  it('has the graph and the shapes of one with them', async () => {
    const model = twoProducts();
    const ops = async (options: object): Promise<string[]> =>
      (await optimizedGraph(model, options)).graph.node.map(({ op_type }) => op_type);
    expect(await ops({ lookedAt: 0 })).toEqual(await ops({}));
    const shapes = await declaredShapes(model, new Map());
    for (const node of model.graph.node) expect(shapes.has(node.output[0] ?? '')).toBe(true);
  });
});

describe('a session with weights in files', () => {
  it('maps them from the model folder, with the same results', async () => {
    const model = twoProducts();
    const path = join(folder, 'm.onnx');
    await writeModel(model, path, 0);
    const stored = await readModel(path, { file: 0, tensor: 1024 });
    expect(stored.graph.initializer.some(({ raw_data }) => isStored(raw_data))).toBe(true);
    const artifact = await withWeights(stored, { fileAbove: 0 });
    expect(artifact.config).toMatchObject({ 'session.model_external_initializers_file_folder_path': folder });
    const run = (given: typeof model, options: object) =>
      withSession(given, options, (session) => {
        const data = Float32Array.from({ length: 16 }, (_, i) => Math.sin(i));
        return session.run({ x: { type: 'float32', dims: [1, 16], data } });
      });
    const [whole, mapped] = [await run(model, {}), await run(stored, { fileAbove: 0 })];
    for (const [name, { data }] of Object.entries(whole))
      // Products in another layout add up in another order: float noise.
      (data as Float32Array).forEach((v, i) => expect((mapped[name]!.data as Float32Array)[i]).toBeCloseTo(v, 4));
  });
});
