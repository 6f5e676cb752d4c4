import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readModel, writeModel } from '../../src/graph/file.ts';
import { isStored } from '../../src/graph/bytes.ts';
import { optimizedGraph } from '../../src/runtime/optimized.ts';
import { withSession } from '../../src/runtime/session.ts';
import { declaredShapes } from '../../src/runtime/shapes.ts';
import { withWeights } from '../../src/runtime/weights.ts';
import { smallConvNet } from '../helpers/models.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'weights-test-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const dims = [1, 3, 8, 8];

describe('a session without weights', () => {
  it('has the graph and the shapes of one with them', async () => {
    const model = smallConvNet();
    const ops = async (options: object): Promise<string[]> =>
      (await optimizedGraph(model, options)).graph.node.map(({ op_type }) => op_type);
    expect(await ops({ lookedAt: 0 })).toEqual(await ops({}));
    const shapes = await declaredShapes(model, new Map());
    for (const node of model.graph.node) expect(shapes.has(node.output[0] ?? '')).toBe(true);
  });
});

describe('a session with weights in files', () => {
  it('maps them from the model folder, with the same results', async () => {
    const model = smallConvNet();
    const path = join(folder, 'm.onnx');
    await writeModel(model, path, 0);
    const stored = await readModel(path, { file: 0, tensor: 1024 });
    expect(stored.graph.initializer.some(({ raw_data }) => isStored(raw_data))).toBe(true);
    const artifact = await withWeights(stored, { fileAbove: 0 });
    expect(artifact.config).toMatchObject({ 'session.model_external_initializers_file_folder_path': folder });
    const run = (given: typeof model, options: object) =>
      withSession(given, options, (session) => {
        const [input] = session.inputs;
        const shape = input!.dims!.map((dim, i) => (typeof dim === 'number' ? dim : dims[i]!));
        const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i));
        return session.run({ [input!.name]: { type: 'float32', dims: shape, data } });
      });
    const [whole, mapped] = [await run(model, {}), await run(stored, { fileAbove: 0 })];
    for (const [name, { data }] of Object.entries(whole))
      // Products in another layout add up in another order: float noise.
      (data as Float32Array).forEach((v, i) => expect((mapped[name]!.data as Float32Array)[i]).toBeCloseTo(v, 4));
  });
});
