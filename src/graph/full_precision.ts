import { words } from '../util/words.ts';
import { intAttribute, intsAttribute, stringAttribute, tensorAttribute } from './attribute.ts';
import { dtypeOf } from './dtype.ts';
import type { Model } from './model.ts';
import { nanPaths } from './nan_paths.ts';
import type { GraphProto, NodeProto, TensorProto } from './proto.ts';
import { constantTensor, describeValue, everyNode, isOp, layerName, storedTensors, subgraphs } from './query.ts';
import { dimsOf, elementCount, tensorNumbers } from './tensor.ts';

/**
 * What a value is made of. Each wins over those before it where several come together:
 * `constant` stored numbers; `coordinate` a float, byte or bool the model is fed; `integer` an int32 or int64 it is fed;
 * `position` integers counted in the graph (Range, Shape, CumSum …); `other` anything a layer had its hands in.
 */
const origins = ['constant', 'coordinate', 'integer', 'position', 'other'] as const;
type Origin = (typeof origins)[number];

interface Value {
  readonly origin: Origin;
  readonly float: boolean;
  /** Whether a constant of several elements went in. */
  readonly table: boolean;
  /** Undefined where not known without running the model. */
  readonly dims: readonly (number | string)[] | undefined;
}

const unknown: Value = { origin: 'other', float: true, table: false, dims: undefined };

const products = ['MatMul', 'Gemm', 'Einsum', 'Conv'];
const sums = ['Mul', 'Add', 'Sub', 'Div', 'Sum'];
const moves = words(
  'Identity Reshape Flatten Transpose Squeeze Unsqueeze Slice Split Expand Tile Pad Resize Upsample Dropout Gather DequantizeLinear Cast',
);
/** Carried on as what goes in: element by element, or a choice among elements. */
const pointwise = words(
  'Neg Pow Exp Log Sqrt Reciprocal Abs Floor Ceil Round Sign Mod Min Max Clip Mean Concat Where ReduceSum ReduceMean ReduceMax ReduceMin',
);
const comparisons = words('Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Not IsNaN IsInf');
/** Whatever goes in, counts and places come out. */
const counts = ['Shape', 'Size', 'NonZero', 'ArgMax', 'ArgMin', 'NonMaxSuppression'];
/** Between a product and a Sin or Cos these leave an angle an angle. */
const angular = [...products, ...sums, ...moves, 'Concat', 'Neg', 'Mod', 'CumSum', 'Where'];

/**
 * The nodes that must stay in float32, with a sentence why. They are those that make positions or angles: rotary and sinusoidal embeddings,
 * distances times slopes. 16 bits of 2,000 · 0.7 radians are wrong by half a radian, 8 bits by several turns, and no later
 * layer makes up for it. Caught are
 *
 * - Mul, Div, Add, Sub, Sum, MatMul, Gemm, Einsum and Conv of constants and positions alone whose result goes into Sin or Cos, with
 *   nothing but sums, products and moves between, also of up to four floats that are fed (points times frequencies: Fourier features, the first
 *   layer of a SIREN); rows of a table that are looked up for a Sin or Cos; and Sin or Cos of a constant;
 * - the same operators on positions that the graph counts itself and a table, wherever it leads;
 * - outer products (a sum over one element) of integers that the model is fed with a table;
 * - what `nanPaths` finds.
 *
 * Not caught: a layer whose input is more floats or a layer's output, be its activation Sin (the others of a SIREN, a phase that a layer
 * makes and CumSum adds up); layers on integer features or on an image's bytes. Nodes in the bodies of If, Loop and Scan are looked at too.
 */
export function fullPrecision(model: Model): ReadonlyMap<NodeProto, string> {
  return examined(model).found;
}

/**
 * The float initializers that those nodes compute with, by name, with the sentence: tables of frequencies, slopes, positions.
 * Tables that come to them through moves or other constants are among them.
 */
export function fullPrecisionTensors(model: Model): ReadonlyMap<string, string> {
  const { found, values } = examined(model);
  const made = new Map<string, NodeProto>();
  for (const node of everyNode(model.graph)) for (const name of node.output) made.set(name, node);
  const tensors = new Map<string, string>();
  for (const [node, reason] of found) {
    const seen = new Set(node.input);
    for (const name of seen) {
      const { origin, float } = values.get(name) ?? unknown;
      const from = made.get(name);
      if (origin === 'constant' && float && !from) tensors.set(name, reason);
      // What is only counted (the Shape of a layer's output) is not computed with.
      if (from && origin !== 'other' && !isOp(from, ...counts)) from.input.forEach((input) => seen.add(input));
    }
  }
  return tensors;
}

function examined(model: Model): { found: Map<NodeProto, string>; values: ReadonlyMap<string, Value> } {
  const values = new Map<string, Value>();
  const angles = new Map<string, string>();
  trace(model.graph, values, false);
  leads(model.graph, values, angles);
  const found = new Map(nanPaths(model));
  for (const node of everyNode(model.graph)) {
    const reason = reasonFor(node, values, angles);
    if (reason !== undefined) found.set(node, reason);
  }
  return { found, values };
}

function reasonFor(
  node: NodeProto,
  values: ReadonlyMap<string, Value>,
  angles: ReadonlyMap<string, string>,
): string | undefined {
  const operands = node.input.filter((name) => name !== '').map((name) => values.get(name) ?? unknown);
  const [y = ''] = node.output;
  const { origin, float } = values.get(y) ?? unknown;
  if (isOp(node, 'Sin', 'Cos'))
    return operands.every((o) => o.origin === 'constant') ? `its angles are a table, and ${finer}` : undefined;
  const angle = angles.get(y);
  if (isOp(node, 'Gather') && angle !== undefined && operands[0]?.origin === 'constant' && origin === 'other')
    return `it looks up the angles of "${angle}", and ${finer}`;
  if (!isOp(node, ...products, ...sums) || origin === 'other' || !float) return undefined;
  if (angle !== undefined) return `it makes the angles of "${angle}", and ${finer}`;
  const product = isOp(node, ...products);
  const tabled = product || operands.some((o) => o.origin === 'constant' && o.table);
  const outer = origin === 'integer' && product && !isOp(node, 'Gemm') && summedOver(node, values) === 1;
  return (origin === 'position' && tabled) || outer ? `it multiplies or adds positions, and ${finer}` : undefined;
}

const finer = 'coarser numbers would put large positions elsewhere';

/** Walks a graph in its order and says of each value what it is made of. Values of outer graphs are in `values` already. */
function trace(graph: Readonly<GraphProto>, values: Map<string, Value>, body: boolean): void {
  for (const input of graph.input) values.set(input.name, body ? unknown : fed(describeValue(input)));
  const tensors = storedTensors({ graph });
  for (const tensor of graph.initializer) values.set(tensor.name, stored(tensor));
  for (const node of graph.node) {
    for (const inner of subgraphs(node)) trace(inner, values, true);
    const constant = constantTensor(node);
    const value = constant ? stored(constant) : resultOf(node, values, tensors);
    node.output.forEach((name, i) => {
      if (name === '') return;
      // Where TopK found its values.
      if (isOp(node, 'TopK')) values.set(name, i === 1 ? { ...unknown, origin: 'position', float: false } : unknown);
      else values.set(name, isOp(node, 'If') ? ofBranches(node, i, values) : value);
    });
  }
}

function fed({ type, dims }: ReturnType<typeof describeValue>): Value {
  const integer = ['int32', 'int64', 'uint32', 'uint64'].includes(type);
  return { origin: integer ? 'integer' : 'coordinate', float: isFloat(type), table: false, dims };
}

function stored(tensor: TensorProto): Value {
  const dims = dimsOf(tensor);
  return { origin: 'constant', float: isFloat(dtypeOf(tensor.data_type)), table: elementCount(dims) > 1, dims };
}

const isFloat = (type: string | undefined): boolean => /^b?float/.test(type ?? '');

function resultOf(
  node: NodeProto,
  values: ReadonlyMap<string, Value>,
  tensors: ReadonlyMap<string, TensorProto>,
): Value {
  const at = (i: number): Value => values.get(node.input[i] ?? '') ?? unknown;
  const places = isOp(node, ...counts);
  if (places) return { origin: 'position', float: false, table: false, dims: undefined };
  if (isOp(node, 'Range')) return { origin: 'position', float: at(0).float, table: false, dims: undefined };
  if (isOp(node, 'Constant', 'ConstantOfShape', 'EyeLike')) {
    const floats = node.attribute.some((a) => a.name.startsWith('value_float'));
    const filled = tensorAttribute(node, 'value');
    return { ...unknown, origin: 'constant', float: filled ? stored(filled).float : floats };
  }
  // Only the data: sizes, axes and bounds decide where numbers stand, not which they are.
  const carries = isOp(node, ...moves, 'CumSum') || isOp(node, 'ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin');
  const first = isOp(node, 'Where') ? 1 : 0;
  const all = node.input
    .slice(first, carries ? 1 : undefined)
    .filter((name) => name !== '')
    .map((name) => values.get(name) ?? unknown);
  const together = all.reduce((a, b) => (origins.indexOf(b.origin) > origins.indexOf(a.origin) ? b : a), at(first));
  const { origin } = together;
  const known = isOp(node, ...products, ...sums, ...moves, ...pointwise, ...comparisons, 'CumSum');
  if (!known || origin === 'other') return unknown;
  const value: Value = { origin, float: at(first).float, table: all.some((v) => v.table), dims: undefined };
  if (isOp(node, ...comparisons)) return { ...value, origin: origin === 'constant' ? origin : 'coordinate' };
  if (isOp(node, 'CumSum')) return { ...value, origin: 'position' };
  if (isOp(node, 'Cast')) return { ...value, float: isFloat(dtypeOf(intAttribute(node, 'to', 1))), dims: at(0).dims };
  // A table's row by number: an embedding, which is learned.
  if (isOp(node, 'Gather') && origin === 'constant' && at(1).origin !== 'constant') return unknown;
  if (isOp(node, 'Identity')) return at(0);
  if (isOp(node, 'Unsqueeze')) return { ...value, dims: unsqueezed(node, at(0).dims, tensors) };
  if (isOp(node, 'Transpose')) return { ...value, dims: turned(node, at(0).dims) };
  // A layer: it sums over more things that it is fed than a point in space and time has.
  if (isOp(node, ...products) && origin === 'coordinate' && (summedOver(node, values) ?? Infinity) > 4) return unknown;
  return value;
}

function ofBranches(node: NodeProto, output: number, values: ReadonlyMap<string, Value>): Value {
  const results = subgraphs(node).map((graph) => values.get(graph.output[output]?.name ?? '') ?? unknown);
  const worst = results.reduce((a, b) => (origins.indexOf(b.origin) > origins.indexOf(a.origin) ? b : a));
  return { ...worst, dims: undefined };
}

function unsqueezed(
  node: NodeProto,
  dims: Value['dims'],
  tensors: ReadonlyMap<string, TensorProto>,
): (number | string)[] | undefined {
  const tensor = tensors.get(node.input[1] ?? '');
  const axes = intsAttribute(node, 'axes') ?? (tensor && tensorNumbers(tensor));
  if (!dims || !axes) return undefined;
  const rank = dims.length + axes.length;
  const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const rest = [...dims];
  return Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : (rest.shift() ?? '?')));
}

function turned(node: NodeProto, dims: Value['dims']): (number | string)[] | undefined {
  const perm = intsAttribute(node, 'perm');
  return dims && (perm ? perm.map((axis) => dims[axis] ?? '?') : [...dims].reverse());
}

/** How many products make one element of the result; undefined where that is not known. */
function summedOver(node: NodeProto, values: ReadonlyMap<string, Value>): number | undefined {
  const [a, b] = [0, 1].map((i) => values.get(node.input[i] ?? '')?.dims);
  let lengths: readonly (number | string | undefined)[];
  if (isOp(node, 'Einsum')) {
    const [inputs = '', output = ''] = stringAttribute(node, 'equation', '').replaceAll(' ', '').split('->');
    // Without an output, what stands twice is summed over.
    const summed = [...inputs.replace(/[,.]/g, '')].filter((c) =>
      output === '' ? inputs.split(c).length > 2 : !output.includes(c),
    );
    return summed.length === 0 && inputs !== '' ? 1 : undefined;
  } else if (isOp(node, 'Conv')) {
    const kernel = b?.slice(1);
    return kernel?.every((n) => typeof n === 'number') ? elementCount(kernel) : undefined;
  } else if (isOp(node, 'Gemm'))
    lengths = [a?.[intAttribute(node, 'transA', 0) ? 0 : 1], b?.[intAttribute(node, 'transB', 0) ? 1 : 0]];
  else lengths = [a?.at(-1), b?.at(Math.max(-2, -b.length))];
  return lengths.find((n) => typeof n === 'number');
}

/** Value name → the Sin or Cos that it goes into, with nothing between that makes it another thing than an angle. */
function leads(graph: Readonly<GraphProto>, values: ReadonlyMap<string, Value>, angles: Map<string, string>): void {
  for (const node of [...graph.node].reverse()) {
    if (isOp(node, 'Sin', 'Cos')) angles.set(node.input[0] ?? '', layerName(node));
    for (const inner of subgraphs(node)) {
      inner.output.forEach((output, i) => {
        const angle = isOp(node, 'If') ? angles.get(node.output[i] ?? '') : undefined;
        if (angle !== undefined) angles.set(output.name, angle);
      });
      leads(inner, values, angles);
    }
    const angle = node.output.map((name) => angles.get(name)).find((name) => name !== undefined);
    if (angle === undefined || !isOp(node, ...angular)) continue;
    // A layer's product ends it: what goes into a SIREN's layer is no angle yet.
    if (isOp(node, ...products) && (values.get(node.output[0] ?? '') ?? unknown).origin === 'other') continue;
    const data = isOp(node, ...moves, 'CumSum') ? node.input.slice(0, 1) : node.input;
    for (const name of data) if (name !== '') angles.set(name, angle);
  }
}
