import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import * as ort from 'onnxruntime-node';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { modelBytes, modelHash, readModel, writeModel } from '../../src/graph/file.ts';
import { decodeModel, encodeModel, modelOf, type Model } from '../../src/graph/model.ts';
import { AttributeCodec, GraphCodec, ModelCodec, TensorCodec, int64 } from '../../src/graph/proto.ts';
import { initializers } from '../../src/graph/query.ts';
import { floatData } from '../../src/graph/tensor.ts';
import { must } from '../../src/util/must.ts';
import { smallConvNet, weight } from '../helpers/models.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-file-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The same model with conv2.weight in `location`, as exporters write it. */
function external(
  model: Model,
  location: string,
  more: Readonly<Record<string, string>> = {},
): { bytes: Uint8Array; data: Uint8Array } {
  let data = new Uint8Array(0);
  const initializer = model.graph.initializer.map((t) => {
    if (t.name !== 'conv2.weight') return t;
    data = t.raw_data as Uint8Array<ArrayBuffer>;
    const entries = Object.entries({ location, offset: '8', length: String(data.length), ...more });
    return TensorCodec.create({
      name: t.name,
      dims: t.dims,
      data_type: t.data_type,
      external_data: entries.map(([key, value]) => ({ key, value })),
      data_location: 1,
    });
  });
  const proto = ModelCodec.amend(model.proto, { graph: GraphCodec.amend(model.graph, { initializer }) });
  return { bytes: encodeModel(modelOf(proto)), data };
}

/** A float32 tensor [2] that is the start of a file. */
const outside = (name: string, location: string) =>
  TensorCodec.create({
    name,
    dims: [int64(2)],
    data_type: 1,
    external_data: [{ key: 'location', value: location }],
    data_location: 1,
  });

const conv2 = (model: Model): Float32Array => floatData(must(initializers(model.graph), 'conv2.weight', 'initializer'));

describe('readModel and writeModel', () => {
  it('write an unedited model byte for byte, and re-encode it the same', async () => {
    const bytes = encodeModel(smallConvNet());
    await writeFile(join(folder, 'a.onnx'), bytes);
    const model = await readModel(join(folder, 'a.onnx'));
    expect(await writeModel(model, join(folder, 'b.onnx'))).toBe(bytes.length);
    expect(await readFile(join(folder, 'b.onnx'))).toEqual(Buffer.from(bytes));
    expect(Buffer.from(ModelCodec.encode(model.proto))).toEqual(Buffer.from(bytes));
  });

  it('leave no half-written file behind', async () => {
    await writeModel(smallConvNet(), join(folder, 'm.onnx'));
    await mkdir(join(folder, 'taken.onnx'));
    await expect(writeModel(smallConvNet(), join(folder, 'taken.onnx'))).rejects.toThrow(/cannot write/);
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'taken.onnx']);
  });

  it('read external data beside the model, count its bytes, and write it inside', async () => {
    const { bytes, data } = external(smallConvNet(), 'sub/weights.bin');
    await writeFile(join(folder, 'm.onnx'), bytes);
    await mkdir(join(folder, 'sub'));
    await writeFile(join(folder, 'sub', 'weights.bin'), Buffer.concat([Buffer.alloc(8), data]));
    const model = await readModel(join(folder, 'm.onnx'));
    expect(conv2(model)).toEqual(conv2(smallConvNet()));
    expect(modelBytes(model)).toBe(bytes.length + 8 + data.length);
    const written = await writeModel(model, join(folder, 'copy', 'm.onnx'));
    expect(await readdir(join(folder, 'copy'))).toEqual(['m.onnx']);
    const copy = await readModel(join(folder, 'copy', 'm.onnx'));
    expect(conv2(copy)).toEqual(conv2(model));
    expect([modelBytes(copy), (await stat(join(folder, 'copy', 'm.onnx'))).size]).toEqual([written, written]);
    const edited = edit(model, (d) => d.replace('fc.bias', weight('fc.bias', [5], 3)));
    expect(modelBytes(edited)).toBe(written);
  });

  it('read it by a path relative to the working directory', async () => {
    const { bytes, data } = external(smallConvNet(), 'weights.bin');
    await writeFile(join(folder, 'm.onnx'), bytes);
    await writeFile(join(folder, 'weights.bin'), Buffer.concat([Buffer.alloc(8), data]));
    const model = await readModel(relative(process.cwd(), join(folder, 'm.onnx')));
    await writeModel(model, join(folder, 'copy', 'm.onnx'));
    expect(conv2(await readModel(join(folder, 'copy', 'm.onnx')))).toEqual(conv2(model));
  });

  it('tell models apart whose weights alone differ', async () => {
    const { bytes, data } = external(smallConvNet(), 'weights.bin');
    await writeFile(join(folder, 'm.onnx'), bytes);
    const hash = async (change: number) => {
      data[0] = change;
      await writeFile(join(folder, 'weights.bin'), Buffer.concat([Buffer.alloc(8), data]));
      return modelHash(await readModel(join(folder, 'm.onnx')));
    };
    expect(await hash(1)).not.toBe(await hash(2));
    expect(await hash(1)).toBe(await hash(1));
    expect(modelHash(decodeModel(bytes))).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  it('read external tensors of nodes and of bodies', async () => {
    const constant = (name: string) => makeNode('Constant', [], [name], { value: { tensor: outside(name, 'c.bin') } });
    const body = (name: string) =>
      GraphCodec.create({ name, node: [constant(name)], output: [makeValue(name, 'float32', [2])] });
    const choose = makeNode('If', ['c'], ['i'], {}, { name: 'choose' });
    choose.attribute = ['then_branch', 'else_branch'].map((name) =>
      AttributeCodec.create({ name, type: 5, g: body(name) }),
    );
    const model = makeModel({
      inputs: [makeValue('c', 'bool', [])],
      outputs: [makeValue('y', 'float32', [2])],
      nodes: [choose, constant('k'), makeNode('Add', ['i', 'k'], ['y'])],
    });
    await writeFile(join(folder, 'm.onnx'), encodeModel(model));
    await writeFile(join(folder, 'c.bin'), new Uint8Array(Float32Array.of(3, 4).buffer));
    const read = await readModel(join(folder, 'm.onnx'));
    const session = await ort.InferenceSession.create(encodeModel(read));
    const { y } = await session.run({ c: new ort.Tensor('bool', [true], []) });
    expect(y?.data).toEqual(Float32Array.of(6, 8));
    await session.release();
  });

  it('refuse external data outside the model folder, missing or too short', async () => {
    const open = async (location: string, more: Readonly<Record<string, string>> = {}) => {
      await writeFile(join(folder, 'm.onnx'), external(smallConvNet(), location, more).bytes);
      return readModel(join(folder, 'm.onnx'));
    };
    await writeFile(join(folder, 'short.bin'), Buffer.alloc(20));
    await writeFile(join(folder, 'long.bin'), Buffer.alloc(9999));
    await mkdir(join(folder, 'folder.bin'));
    await expect(open('../weights.bin')).rejects.toThrow(/outside the model's folder/);
    await expect(open('a/../../weights.bin')).rejects.toThrow(/outside the model's folder/);
    await expect(open('/etc/hostname')).rejects.toThrow(/outside the model's folder/);
    await expect(open('C:\\weights.bin')).rejects.toThrow(/outside the model's folder/);
    await expect(open('')).rejects.toThrow(/no file is named/);
    await expect(open('gone.bin')).rejects.toThrow(/gone.bin is missing/);
    await expect(open('folder.bin')).rejects.toThrow(/folder.bin is no file/);
    await expect(open('short.bin')).rejects.toThrow(/ends after 12 of 2304/);
    for (const offset of ['eight', '-8', '8.5', '1e2', ''])
      await expect(open('long.bin', { offset })).rejects.toThrow(`offset of its external data is "${offset}"`);
    await expect(open('long.bin', { offset: '9000' })).rejects.toThrow(/ends after 999 of/);
    await expect(open('long.bin', { length: '2300' })).rejects.toThrow(/has 2300 bytes, its shape .* takes 2304/);
    await expect(open('long.bin', { length: 'all' })).rejects.toThrow(/length of its external data is "all"/);
  });

  it('hash what is written: the file, and the data beside it behind that', async () => {
    const path = join(folder, 'm.onnx');
    const sum = async (...names: readonly string[]): Promise<string> => {
      const parts = await Promise.all(names.map((name) => readFile(join(folder, name))));
      return createHash('sha256').update(Buffer.concat(parts)).digest('hex');
    };
    const model = smallConvNet();
    expect(model.source).toBeUndefined();
    await writeModel(model, path);
    expect(modelHash(model, 'm.onnx')).toBe(await sum('m.onnx'));
    expect(modelHash(await readModel(path))).toBe(await sum('m.onnx'));
    await writeModel(model, path, 1000);
    expect(modelHash(model, 'm.onnx', 1000)).toBe(await sum('m.onnx', 'm.onnx.data'));
    // Wherever the same weights were read from, the hash is that of the one file that they fit in.
    await writeModel(await readModel(path), join(folder, 'again.onnx'));
    expect(modelHash(await readModel(path))).toBe(await sum('again.onnx'));
  });

  it('write data beside the model where it is too large for one file, and the same again', async () => {
    const path = join(folder, 'm.onnx');
    const bytes = await writeModel(smallConvNet(), path, 1000);
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.data']);
    expect(bytes).toBe((await stat(path)).size + (await stat(`${path}.data`)).size);
    const model = await readModel(path);
    expect(conv2(model)).toEqual(conv2(smallConvNet()));
    expect(modelBytes(model)).toBe(bytes);
    const session = await ort.InferenceSession.create(path);
    await session.release();
    await writeModel(model, path, 1000);
    expect(conv2(await readModel(path))).toEqual(conv2(smallConvNet()));
  });

  it('leave the model and its data as they were where the new one cannot be written', async () => {
    const path = join(folder, 'm.onnx');
    await writeModel(smallConvNet(), path, 1000);
    await mkdir(`${path}.part`);
    await expect(writeModel(smallConvNet({ seed: 9 }), path, 1000)).rejects.toThrow(/cannot write/);
    expect(conv2(await readModel(path))).toEqual(conv2(smallConvNet()));
    await rm(`${path}.part`, { recursive: true, force: true });
    expect((await readdir(folder)).sort()).toEqual(['m.onnx', 'm.onnx.data']);
  });

  it('say what is wrong with the path', async () => {
    await expect(readModel(join(folder, 'none.onnx'))).rejects.toThrow('no such file');
    await expect(readModel(folder)).rejects.toThrow('folder');
    await writeFile(join(folder, 'huge.onnx'), '');
    await truncate(join(folder, 'huge.onnx'), 2 ** 31);
    await expect(readModel(join(folder, 'huge.onnx'))).rejects.toThrow(/over protobuf's limit of 2 GiB/);
  });
});

describe('decodeModel', () => {
  it('says what a file is that is no model', () => {
    const bytes = encodeModel(smallConvNet());
    expect(() => decodeModel(new Uint8Array(0))).toThrow('the file is empty');
    expect(() => decodeModel(new TextEncoder().encode('hello: world\n'))).toThrow('text file');
    expect(() => decodeModel(Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 1, 2, 3, 0))).toThrow('not an ONNX model');
    for (const share of [0.1, 0.5, 0.9, 0.999])
      expect(() => decodeModel(bytes.subarray(0, Math.floor(bytes.length * share)))).toThrow('truncated or damaged');
  });
});
