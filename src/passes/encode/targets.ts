import type { DType } from '../../graph/dtype.ts';
import type { Model } from '../../graph/model.ts';
import { productOf } from '../../graph/ops.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName, subgraphs } from '../../graph/query.ts';
import { dimsOf, elementCount, tensorData, typeOf } from '../../graph/tensor.ts';
import type { Note } from '../pass.ts';
import { makeSource, storable, symbolsOf, type Source, type Storable } from './source.ts';

/** A stored tensor that may be encoded. */
export interface Target {
  readonly tensor: TensorProto;
  /** The layer it belongs to, for the report. */
  readonly layer: string;
  readonly source: Source;
}

/** Smaller tensors cost more in names than they could save. */
const fewest = 32;

/** Weights (initializers of the main graph, rank 2 and more) that can be computed instead of stored; the others with a reason. */
export function findTargets({ graph }: Model): { targets: Target[]; skipped: Note[] } {
  const readers = consumers(graph);
  const inputs = new Set(graph.input.map((input) => input.name));
  const outputs = new Set(graph.output.map((output) => output.name));
  const targets: Target[] = [];
  const skipped: Note[] = [];
  for (const tensor of graph.initializer) {
    const dims = dimsOf(tensor);
    const reading = readers.get(tensor.name) ?? [];
    if (dims.length < 2 || elementCount(dims) < fewest || reading.length === 0) continue;
    const layer = layerOf(tensor.name, readers);
    const type = decodedType(tensor, reading);
    const inBody = reading.some((node) => !node.input.includes(tensor.name) && subgraphs(node).length > 0);
    const reason =
      type === undefined
        ? `${typeOf(tensor)} stays as it is`
        : inputs.has(tensor.name)
          ? 'it is listed as a graph input, so a user may replace it'
          : outputs.has(tensor.name)
            ? 'it is an output of the model'
            : 'it is read inside an If, Loop or Scan, where onnxruntime would decode it at every run';
    const fixed = inputs.has(tensor.name) || outputs.has(tensor.name) || inBody;
    if (type === undefined || fixed) skipped.push({ layer, text: `${tensor.name}: ${reason}` });
    else targets.push({ tensor, layer, source: makeSource(type, dims, () => symbolsOf(tensorData(tensor))) });
  }
  return { targets, skipped };
}

/** Which constants that are stored as FLOAT16 behind a Cast are targets once they are float32: weights of layers, not scales of codes. */
export function castTargets({ graph }: Model): (name: string, stored: TensorProto) => boolean {
  const readers = consumers(graph);
  return (name, stored) => {
    const dims = dimsOf(stored);
    const reading = readers.get(name) ?? [];
    const large = dims.length >= 2 && elementCount(dims) >= fewest && reading.length > 0;
    return (
      large &&
      typeOf(stored) === 'float16' &&
      reading.every((node) => productOf(node) !== undefined && node.input.includes(name))
    );
  };
}

/**
 * The type a tensor is decoded to: its own, but a byte for INT4 and INT2, which no operator writes, where all that reads them
 * is Cast, so that the type makes no difference. undefined: it must stay.
 */
function decodedType(tensor: TensorProto, reading: readonly NodeProto[]): Storable | undefined {
  const type = typeOf(tensor);
  if (/^u?int[24]$/.test(type))
    return reading.every((node) => isOp(node, 'Cast')) ? (type.startsWith('u') ? 'uint8' : 'int8') : undefined;
  return isStorable(type) ? type : undefined;
}

const isStorable = (type: DType): type is Storable => (storable as readonly DType[]).includes(type);

/** What a weight passes on its way to the layer that computes with it. */
const onTheWay = ['DequantizeLinear', 'Cast', 'Sub', 'Mul', 'Reshape', 'Slice', 'Transpose', 'Identity', 'Unsqueeze'];

function layerOf(value: string, readers: ReadonlyMap<string, readonly NodeProto[]>): string {
  let name = value;
  for (let steps = 0; steps < 10; steps++) {
    const node = readers.get(name)?.[0];
    if (node === undefined) return value;
    if (!isOp(node, ...onTheWay)) return layerName(node);
    name = node.output[0] ?? '';
  }
  return value;
}
