import { words } from '../util/words.ts';
import type { Model } from './model.ts';
import type { NodeProto, TensorProto } from './proto.ts';
import { notFinite } from './not_finite.ts';
import { consumers, isOp, layerName, producers } from './query.ts';

const products = ['MatMul', 'Gemm', 'Einsum', 'Conv', 'ConvTranspose'];
/** NaN for a part of the numbers they may be given, which may be a hair's breadth from those that they are not. */
const makers = ['Log', 'Sqrt', 'Pow', 'Acos', 'Asin', 'Acosh', 'Atanh'];
/** NaN in, NaN out; the numbers beside it are only moved, added up or scaled. */
const carriers = words(
  'Identity Reshape Flatten Transpose Squeeze Unsqueeze Slice Split Expand Tile Concat Gather Cast Add Sub Mul Div Neg Abs Exp Sum Mean ReduceSum ReduceMean',
);
/** What answers a question about its inputs, or chooses among them: neither NaN nor infinity is taken further. */
const ends = words(
  'Where IsNaN IsInf Equal Greater GreaterOrEqual Less LessOrEqual ArgMax ArgMin NonZero Shape Size ConstantOfShape',
);
/** What they give for infinity is finite; NaN stays NaN. */
const bounded = words('Sigmoid HardSigmoid Tanh Erf Softsign Clip Softmax LogSoftmax');

/** The stored tensors that hold NaN or infinity, with what each holds. Reads all weights. */
export function notFiniteTensors(model: Model): ReadonlyMap<TensorProto, string> {
  return new Map(
    model.graph.initializer.flatMap((tensor) => {
      const bad = notFinite(tensor);
      return bad === undefined ? [] : [[tensor, bad] as const];
    }),
  );
}

/**
 * The nodes that NaN or infinity among the stored numbers comes to, with a sentence: integers hold neither, and kernels that round
 * their input make them finite. Infinity ends at what bounds it (a mask of −∞ at the Softmax), both end at Where and comparisons;
 * any other operator carries them on, whatever it is (LSTM, a custom one).
 */
export function notFinitePaths(model: Model, tensors = notFiniteTensors(model)): ReadonlyMap<NodeProto, string> {
  const found = new Map<NodeProto, string>();
  const readers = consumers(model.graph);
  for (const [tensor, bad] of tensors) {
    const last = bad.includes('NaN') ? ends : [...ends, ...bounded];
    const after = (names: readonly string[]): NodeProto[] =>
      names.flatMap((name) => (readers.get(name) ?? []).filter((node) => !isOp(node, ...last)));
    for (const node of reached(after([tensor.name]), (node) => after(node.output)))
      if (!found.has(node))
        found.set(node, `it computes with "${tensor.name}", which ${bad}, which integers cannot hold`);
  }
  return found;
}

/**
 * In a model that asks with IsNaN what became NaN: the layers that compute with NaN, which no integer holds, and those whose
 * results decide where there will be NaN, with a sentence. NaN that comes of masks (Softmax of −∞ alone) is not looked for:
 * rounding does not move it.
 */
export function nanPaths(model: Model): ReadonlyMap<NodeProto, string> {
  const found = new Map<NodeProto, string>();
  const asked = model.graph.node.filter((node) => isOp(node, 'IsNaN'));
  const made = producers(model.graph);
  const readers = consumers(model.graph);
  const before = (node: NodeProto): NodeProto[] => node.input.flatMap((name) => made.get(name) ?? []);
  const after = (node: NodeProto): NodeProto[] => node.output.flatMap((name) => readers.get(name) ?? []);
  const through = (node: NodeProto): boolean => isOp(node, ...carriers, ...products);
  const origins = reached(asked.flatMap(before), (node) => (through(node) ? before(node) : []));
  for (const maker of origins.filter((node) => isOp(node, ...makers))) {
    for (const node of reached(after(maker), (node) => (through(node) ? after(node) : [])))
      if (isOp(node, ...products))
        found.set(node, `it computes with what "${layerName(maker)}" gives, NaN too, which integers cannot hold`);
    for (const node of reached(before(maker), (node) => (isOp(node, ...carriers) ? before(node) : [])))
      if (isOp(node, ...products))
        found.set(node, `its result decides where "${layerName(maker)}" gives NaN, which the model asks for`);
  }
  return found;
}

/** The nodes that can be come to from some, each once. */
function reached(from: readonly NodeProto[], next: (node: NodeProto) => readonly NodeProto[]): NodeProto[] {
  const seen = new Set(from);
  for (const node of seen) for (const other of next(node)) seen.add(other);
  return [...seen];
}
