import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import { modelOf, type Model } from '../../graph/model.ts';
import { ModelCodec, type NodeProto, type TensorProto, type ValueInfoProto } from '../../graph/proto.ts';
import { constantTensor, consumers, isOp, producers } from '../../graph/query.ts';
import { functionWith, isLarge, nodeWith, valueWith, wideCast, type Names } from './float32_nodes.ts';
import { halfType, isWideCast, widened, withWidened } from './half.ts';
import { withFloatOutputs } from './half_outputs.ts';
import { constantTensors } from './tensors.ts';

/**
 * A model that computes in FLOAT16 or BFLOAT16, written so that it computes in float32, as onnxruntime's CPU kernels do with most of its
 * nodes anyway: a Cast behind each input and before each output of 16 bits, which keep their types, and float32 between, in bodies and
 * local functions too. Weights stay stored as they are, each behind a Cast that has its name (`withWidened` makes constants of them):
 * nothing large is copied. BFLOAT16 inputs and outputs become float32, since onnxruntime for Node.js hands none over.
 * @returns the model itself where it only stores in 16 bits and computes in float32.
 */
export function inFloat32(model: Model): Model {
  let changed = false;
  const wide = edit(model, (draft) => {
    const readers = consumers(model.graph);
    const { names, kept, retyped } = writeEnds(model, readers, draft);
    const { done, count } = writeConstants(model, readers, names, draft);
    changed = retyped || count > 0 || names.size > 0;
    for (const node of model.graph.node) {
      if (done.has(node)) continue;
      const next = nodeWith(node, names, (base) => draft.freshName(base), kept.has(node));
      if (next === node) continue;
      changed = true;
      draft.update(node, next);
    }
    const half = model.graph.value_info.filter((value) => typeOfValue(value) !== undefined);
    draft.forgetShapes(new Set(half.map(({ name }) => name)));
  });
  const functions = model.proto.functions.map(functionWith);
  if (functions.every((f, i) => f === model.proto.functions[i])) return changed ? wide : model;
  return modelOf(ModelCodec.amend(wide.proto, { functions }), wide.path);
}

/** A model that computes in float32, with its weights as float32 constants and float32 outputs: what analyses read. Twice the bytes of 16-bit weights. */
export const plainFloat32 = (model: Model): Model => withFloatOutputs(withWidened(inFloat32(model)).model);

const typeOfValue = (value: ValueInfoProto) => halfType(value.type?.tensor_type?.elem_type);

type Readers = ReadonlyMap<string, readonly NodeProto[]>;

/** The readers of a value take it as float32 already, or there are none. */
const isCast = (readers: Readers, name: string): boolean => (readers.get(name) ?? []).every(isWideCast);

interface Ends {
  readonly names: Names;
  /** The Casts that make outputs of the model, as they stand. */
  readonly kept: ReadonlySet<NodeProto>;
  /** Whether an input or output has another type now. */
  readonly retyped: boolean;
}

/** Casts at the inputs and outputs of 16 bits; what lies between them gets names of its own. */
function writeEnds(model: Model, readers: Readers, draft: Draft): Ends {
  const { input, output } = model.graph;
  const made = producers(model.graph);
  const constant = constantTensors(model);
  const names = new Map<string, string>();
  const kept = new Set<NodeProto>();
  const inside = (name: string): string => {
    const known = names.get(name) ?? draft.freshName(`${name}_float32`);
    names.set(name, known);
    return known;
  };
  const enter = (name: string): void => {
    if (!isCast(readers, name)) draft.addNode(wideCast(name, inside(name)));
  };
  for (const value of input) if (typeOfValue(value) === 'float16' && !constant.has(value.name)) enter(value.name);
  for (const value of output) {
    if (typeOfValue(value) !== 'float16') continue;
    const node = made.get(value.name);
    if (node === undefined) {
      if (constant.has(value.name)) enter(value.name);
    } else if (isOp(node, 'Cast') && !readers.has(value.name)) kept.add(node);
    else draft.addNode(makeNode('Cast', [inside(value.name)], [value.name], { to: dtypes.float16.code }));
  }
  const float = (value: ValueInfoProto) => (typeOfValue(value) === 'bfloat16' ? valueWith(value) : value);
  draft.setInputs(input.map(float));
  draft.setOutputs(output.map(float));
  return { names, kept, retyped: [...input, ...output].some((value) => float(value) !== value) };
}

/** Initializers and Constants of 16 bits: small ones become float32, large ones stay as they are stored, behind a Cast. */
function writeConstants(
  model: Model,
  readers: Readers,
  names: Names,
  draft: Draft,
): { done: Set<NodeProto>; count: number } {
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const done = new Set<NodeProto>();
  let count = 0;
  const store = (name: string, tensor: TensorProto): void => {
    count++;
    draft.addNode(wideCast(draft.add(`${name}_half`, tensor), names.get(name) ?? name));
  };
  for (const [name, tensor] of constantTensors(model)) {
    const type = halfType(tensor.data_type);
    const isEnd = outputs.has(name) && type === 'float16';
    if (type === undefined || isEnd || (isCast(readers, name) && !outputs.has(name))) continue;
    if (isLarge(tensor)) {
      draft.removeInitializer(name);
      store(name, tensor);
    } else {
      count++;
      draft.replace(name, widened(tensor));
    }
  }
  for (const node of model.graph.node) {
    const tensor = constantTensor(node);
    const [name = ''] = node.output;
    const cast = isCast(readers, name) && !outputs.has(name);
    if (!tensor || halfType(tensor.data_type) === undefined || !(cast || isLarge(tensor))) continue;
    done.add(node);
    if (cast) continue;
    draft.removeNode(node);
    store(name, tensor);
  }
  return { done, count };
}
