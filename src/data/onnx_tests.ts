import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TensorCodec, type TensorProto } from '../graph/proto.ts';
import { dimsOf, tensorData, typeOf } from '../graph/tensor.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError, messageOf } from './errors.ts';
import type { IndexedSource, Opening } from './source.ts';
import type { Feeds, Tensor } from './types.ts';

/**
 * ONNX test data: folders `test_data_set_*` with input_0.pb … and output_0.pb …, each a TensorProto; one set is one sample, its
 * outputs are what is expected. Tensors without a name, or with one the model does not know, go by their number.
 * Source: onnx, docs/OnnxBackendTest.md.
 */
export function openOnnxTests(config: SourceConfigOf<'onnx'>, opening: Opening): IndexedSource {
  const path = opening.find(config.path, 'path');
  if (!statSync(path).isDirectory()) throw dataError('is not a folder', path, 'Name the folder that holds test_data_set_0.'); // prettier-ignore
  // A model without inputs has sets without any.
  const isSet = (folder: string): boolean =>
    existsSync(join(folder, opening.inputs.length > 0 ? 'input_0.pb' : 'output_0.pb'));
  const sets = isSet(path)
    ? [path]
    : readdirSync(path).filter((name) => name.startsWith('test_data_set_')).sort(byNumber).map((name) => join(path, name)); // prettier-ignore
  if (sets.length === 0) throw dataError('holds no ONNX test data (test_data_set_*/input_*.pb)', path);
  const empty = sets.find((set) => !isSet(set));
  if (empty !== undefined) throw dataError('has no input_0.pb', empty);
  const inputs = opening.inputs.map(({ name }) => name);
  return {
    access: 'index',
    kind: 'onnx',
    source: config.path,
    length: sets.length,
    labelled: false,
    notes: [],
    identity: (index) => sets[index]!,
    files: (index) => readdirSync(sets[index]!).map((name) => join(sets[index]!, name)),
    open: async () => ({
      read(index) {
        const set = sets[index]!;
        const feeds = readTensors(set, 'input', inputs);
        const expected = readTensors(set, 'output', opening.outputs);
        return { id: set, feeds, ...(Object.keys(expected).length > 0 ? { target: { expected } } : {}) };
      },
      close: () => undefined,
    }),
  };
}

const byNumber = (a: string, b: string): number => Number(/\d+/.exec(a)?.[0]) - Number(/\d+/.exec(b)?.[0]);

function readTensors(set: string, what: 'input' | 'output', names: readonly string[]): Feeds {
  const files = readdirSync(set).filter((name) => new RegExp(`^${what}_\\d+\\.pb$`).test(name)).sort(byNumber); // prettier-ignore
  const feeds: Record<string, Tensor> = {};
  for (const file of files) {
    const path = join(set, file);
    const proto = decode(path);
    const number = Number(/\d+/.exec(file)![0]);
    const named = names.includes(proto.name) ? proto.name : names[number];
    if (named === undefined && names.length > 0)
      throw dataError(`the model has ${names.length} ${what}s (${names.join(', ')}): this is none of them`, path);
    // Without the model's output names the file's own name is all there is.
    const name = named ?? (proto.name || file.slice(0, -3));
    feeds[name] = tensorOf(proto, path);
  }
  return feeds;
}

function decode(path: string): TensorProto {
  try {
    return TensorCodec.decode(readFileSync(path));
  } catch (cause) {
    throw dataError(`is not an ONNX tensor: ${messageOf(cause)}`, path, undefined, cause);
  }
}

function tensorOf(proto: TensorProto, path: string): Tensor {
  try {
    const type = typeOf(proto);
    const dims = dimsOf(proto);
    if (type === 'string')
      return { type, dims, data: proto.string_data.map((bytes) => Buffer.from(bytes).toString('utf8')) };
    return { type, dims, data: tensorData(proto) };
  } catch (cause) {
    throw dataError(messageOf(cause), path, undefined, cause);
  }
}
