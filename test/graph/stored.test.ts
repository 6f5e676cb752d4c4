import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesOf, fileState, isStored, piecesOf, wholeFile } from '../../src/graph/bytes.ts';
import { edit } from '../../src/graph/edit.ts';
import { modelBytes, modelHash, readModel, writeModel } from '../../src/graph/file.ts';
import { decodeModel, encodeModel, modelOf, type Model } from '../../src/graph/model.ts';
import { GraphCodec, ModelCodec, TensorCodec, ValueInfoCodec } from '../../src/graph/proto.ts';
import { encodeParts } from '../../src/graph/wire.ts';
import { initializers } from '../../src/graph/query.ts';
import { floatData, makeTensor, tensorPieces } from '../../src/graph/tensor.ts';
import { notFinite } from '../../src/graph/not_finite.ts';
import { countZeros } from '../../src/analyze/zeros.ts';
import { must } from '../../src/util/must.ts';
import { smallConvNet } from '../helpers/models.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'qtool-stored-'));
  path = join(folder, 'model.onnx');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Everything that is no scalar stays in the file. */
const left = { file: 0, tensor: 32 };
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const weightsOf = (model: Model): Record<string, number[]> =>
  Object.fromEntries(model.graph.initializer.filter((t) => t.data_type === 1).map((t) => [t.name, [...floatData(t)]]));

/** Fields that the schema does not know, in the model, the graph and each tensor: field 999, varint 5. */
function withUnknowns(model: Model): Model {
  const unknown = Uint8Array.of(0xb8, 0x3e, 5);
  const again = <T>(codec: { decode(b: Uint8Array): T; encode(m: T): Uint8Array }, message: T): T =>
    codec.decode(Buffer.concat([codec.encode(message), unknown]));
  const initializer = model.graph.initializer.map((tensor) => again(TensorCodec, tensor));
  const graph = again(GraphCodec, GraphCodec.amend(model.graph, { initializer }));
  return modelOf(again(ModelCodec, ModelCodec.amend(model.proto, { graph })));
}

describe('a model whose weights stay in the file', () => {
  it('is the same as one that was read whole', async () => {
    const bytes = encodeModel(withUnknowns(smallConvNet()));
    await writeFile(path, bytes);
    const model = await readModel(path, left);
    const large = model.graph.initializer.filter(({ raw_data }) => raw_data.length >= left.tensor);
    expect(large.length).toBeGreaterThan(3);
    expect(large.every(({ raw_data }) => isStored(raw_data))).toBe(true);
    expect(weightsOf(model)).toEqual(weightsOf(decodeModel(bytes)));
    expect(Buffer.compare(encodeModel(model), bytes)).toBe(0);
    expect(modelBytes(model)).toBe(bytes.length);
    expect(modelHash(model)).toBe(sha(bytes));
  });

  it('is written byte for byte, edited and not, as one that was read whole', async () => {
    const bytes = encodeModel(withUnknowns(smallConvNet()));
    await writeFile(path, bytes);
    const change = (model: Model): Model =>
      edit(model, (draft) => void draft.add('more', makeTensor('', 'float32', [2], Float32Array.of(1, 2))));
    const out = join(folder, 'out.onnx');
    const model = await readModel(path, left);
    expect(await writeModel(model, out)).toBe(bytes.length);
    expect(Buffer.compare(await readFile(out), bytes)).toBe(0);
    const whole = encodeModel(change(decodeModel(bytes)));
    expect(await writeModel(change(model), out)).toBe(whole.length);
    expect(Buffer.compare(await readFile(out), whole)).toBe(0);
  });

  it('has its data read where it is external', async () => {
    const model = smallConvNet();
    // Under a limit of no bytes everything goes beside the model.
    const many = edit(model, (draft) =>
      draft.replace(
        'fc.weight',
        makeTensor(
          '',
          'float32',
          [10, 128],
          Float32Array.from({ length: 1280 }, (_, i) => i),
        ),
      ),
    );
    await writeModel(many, path, 0);
    const read = await readModel(path, left);
    expect(isStored(must(initializers(read.graph), 'fc.weight', 'weight').raw_data)).toBe(true);
    expect(weightsOf(read)).toEqual(weightsOf(many));
    const one = join(folder, 'one.onnx');
    await writeModel(read, one);
    expect(weightsOf(await readModel(one))).toEqual(weightsOf(many));
  });

  it.each([
    ['written over', async () => appendFile(path, 'x'), 'the file was changed while its weights were still needed'],
    ['cut off', async () => truncate(path, 100), 'the file was changed while its weights were still needed'],
    ['gone', async () => rm(path), 'the file cannot be read any more'],
  ])('says so where the file is %s', async (_, harm, message) => {
    await writeFile(path, encodeModel(smallConvNet()));
    const model = await readModel(path, left);
    await harm();
    expect(() => weightsOf(model)).toThrow(message);
    expect(() => weightsOf(model)).toThrow(expect.objectContaining({ code: 'model', at: path }) as Error);
    await expect(writeModel(model, join(folder, 'out.onnx'))).rejects.toThrow(message);
  });

  it('is refused where the file is cut at any place', async () => {
    const bytes = encodeModel(smallConvNet());
    for (let length = 8; length < bytes.length; length += 997) {
      await writeFile(path, bytes.subarray(0, length));
      await expect(readModel(path, left)).rejects.toThrow(/truncated or damaged/);
    }
  });
});

describe('encodeParts', () => {
  it('gives the bytes that protobufjs gives', () => {
    for (const model of [smallConvNet(), withUnknowns(smallConvNet())])
      expect(Buffer.compare(Buffer.concat(encodeParts(model.proto).map(bytesOf)), ModelCodec.encode(model.proto))).toBe(
        0,
      );
  });
});

describe('pieces of a file', () => {
  it('are walked through, and the place of a number is that in the tensor', async () => {
    const data = new Float32Array(300_000).fill(1);
    data[0] = 0;
    data[299_999] = 0;
    data[270_000] = NaN;
    const written = edit(smallConvNet(), (draft) => {
      draft.addOutput(ValueInfoCodec.create({ name: draft.add('more', makeTensor('', 'float32', [300_000], data)) }));
    });
    await writeModel(written, path);
    const tensor = must(initializers((await readModel(path, left)).graph), 'more', 'tensor');
    expect(isStored(tensor.raw_data)).toBe(true);
    expect([...tensorPieces(tensor)].length).toBeGreaterThan(1);
    expect(notFinite(tensor)).toBe('holds NaN at element 270000 of 300000');
    expect(countZeros(tensor, undefined)).toBe(2);
  });

  it('are all of it', async () => {
    const bytes = Uint8Array.from({ length: 2 ** 22 + 1000 }, (_, i) => i % 251);
    await writeFile(path, bytes);
    const got = [...piecesOf(wholeFile(fileState(path)))].length;
    const parts: Buffer[] = [];
    for (const piece of piecesOf(wholeFile(fileState(path)))) parts.push(Buffer.from(piece));
    expect(got).toBe(5);
    expect(Buffer.compare(Buffer.concat(parts), bytes)).toBe(0);
  });
});
