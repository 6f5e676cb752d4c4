import { mkdtemp, mkdir, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { edit } from '../../src/graph/edit.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import { encodeModel, modelOf, type Model } from '../../src/graph/model.ts';
import { GraphCodec, ModelCodec, TensorCodec } from '../../src/graph/proto.ts';
import { floatData } from '../../src/graph/tensor.ts';
import { smallConvNet, weight } from '../helpers/models.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-file-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The same model with conv2.weight in `location`, as exporters write it. */
function external(model: Model, location: string): { bytes: Uint8Array; data: Uint8Array } {
  let data = new Uint8Array(0);
  const initializer = model.graph.initializer.map((t) => {
    if (t.name !== 'conv2.weight') return t;
    data = t.raw_data as Uint8Array<ArrayBuffer>;
    const entries = [
      { key: 'location', value: location },
      { key: 'offset', value: '8' },
      { key: 'length', value: String(data.length) },
    ];
    return TensorCodec.create({
      name: t.name,
      dims: t.dims,
      data_type: t.data_type,
      external_data: entries,
      data_location: 1,
    });
  });
  const proto = ModelCodec.amend(model.proto, { graph: GraphCodec.amend(model.graph, { initializer }) });
  return { bytes: encodeModel(modelOf(proto)), data };
}

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

  it('read external data beside the model and copy it with the unedited model', async () => {
    const { bytes, data } = external(smallConvNet(), 'weights.bin');
    await writeFile(join(folder, 'm.onnx'), bytes);
    await writeFile(join(folder, 'weights.bin'), Buffer.concat([Buffer.alloc(8), data]));
    const model = await readModel(join(folder, 'm.onnx'));
    const expected = floatData(smallConvNet().graph.initializer.find((t) => t.name === 'conv2.weight') as never);
    expect(floatData(model.graph.initializer.find((t) => t.name === 'conv2.weight') as never)).toEqual(expected);
    await writeModel(model, join(folder, 'copy', 'm.onnx'));
    expect(await readFile(join(folder, 'copy', 'm.onnx'))).toEqual(Buffer.from(bytes));
    expect((await readModel(join(folder, 'copy', 'm.onnx'))).graph.initializer.length).toBe(8);
    // An edited one carries the data inside, as it is small.
    await writeModel(
      edit(model, (d) => d.setInitializer(weight('fc.bias', [5], 3))),
      join(folder, 'edited.onnx'),
    );
    const edited = await readModel(join(folder, 'edited.onnx'));
    expect(floatData(edited.graph.initializer.find((t) => t.name === 'conv2.weight') as never)).toEqual(expected);
  });

  it('refuse external data outside the model folder, missing or too short', async () => {
    const open = async (location: string) => {
      await writeFile(join(folder, 'm.onnx'), external(smallConvNet(), location).bytes);
      return readModel(join(folder, 'm.onnx'));
    };
    await writeFile(join(folder, 'short.bin'), Buffer.alloc(20));
    await expect(open('../weights.bin')).rejects.toThrow(/outside the model's folder/);
    await expect(open('a/../../weights.bin')).rejects.toThrow(/outside the model's folder/);
    await expect(open('/etc/hostname')).rejects.toThrow(/outside the model's folder/);
    await expect(open('C:\\weights.bin')).rejects.toThrow(/outside the model's folder/);
    await expect(open('gone.bin')).rejects.toThrow(/gone.bin is missing/);
    await expect(open('short.bin')).rejects.toThrow(/ends after 12 of/);
  });

  it('say what is wrong with the path', async () => {
    await expect(readModel(join(folder, 'none.onnx'))).rejects.toThrow('no such file');
    await expect(readModel(folder)).rejects.toThrow('folder');
    await writeFile(join(folder, 'huge.onnx'), '');
    await truncate(join(folder, 'huge.onnx'), 2 ** 31);
    await expect(readModel(join(folder, 'huge.onnx'))).rejects.toThrow(/over protobuf's limit of 2 GiB/);
  });
});
