import type { Tensor } from '../../data/types.ts';
import { intAttribute } from '../../graph/attribute.ts';
import { edit, removeUnread } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName, subgraphs } from '../../graph/query.ts';
import { dimsOf, elementCount, makeTensor, tensorBytes } from '../../graph/tensor.ts';
import type { Note, PassContext } from '../pass.ts';
import { takeBranches } from './branches.ts';
import { foldPass } from './each.ts';
import { constantTensor } from './constant_nodes.ts';
import { computeResults, constantResults, type ConstantResult } from './constant_results.ts';
import { shapeParts } from './shape_parts.ts';
import { staticShapes } from './static_shapes.ts';

/**
 * Computes once what is the same in every run: Constant nodes and overridable inputs become initializers, shapes that no
 * input changes become constants, a subgraph of constants becomes its result (computed by onnxruntime), and an If whose condition
 * is constant the branch that it takes. A result that
 * would take more room than what it is made of is left alone: that is how packed weights are stored.
 */
export const foldConstants = foldPass({
  name: 'fold/constants',
  classes: ['FoldConstants'],
  summary: 'computes constant parts of the graph once and stores them',
  async apply(model, _options, ctx) {
    const notes: Notes = { changed: [], skipped: [] };
    let now = model;
    // A branch that is always taken brings constants with it, which may decide the next.
    for (;;) {
      const told: Notes = { changed: notes.changed, skipped: [] };
      const plain = asInitializers(now, told);
      const shaped = await withShapes(plain, ctx, told);
      const taken = takeBranches(await withResults(shaped, ctx, told));
      notes.changed.push(...taken.changed);
      now = taken.model;
      if (taken.changed.length === 0) return { model: now, changed: notes.changed, skipped: told.skipped };
    }
  },
});

interface Notes {
  readonly changed: Note[];
  readonly skipped: Note[];
}

/** Overridable inputs are frozen and Constant nodes become initializers of the same name, so that no reader changes. */
function asInitializers(model: Model, notes: Notes): Model {
  const outputs = new Set(model.graph.output.map((o) => o.name));
  return edit(model, (draft) => {
    const frozen = draft.freezeInputs();
    if (frozen.length > 0)
      notes.changed.push({ layer: 'inputs', text: `${frozen.length} initializers listed as inputs are constants now` });
    let count = 0;
    for (const node of draft.nodes()) {
      if (!isOp(node, 'Constant')) continue;
      const tensor = constantTensor(node);
      if (!tensor) notes.skipped.push({ layer: layerName(node), text: 'a sparse constant stays as it is' });
      else if (outputs.has(tensor.name))
        notes.skipped.push({ layer: layerName(node), text: 'this constant is an output of the model' });
      else {
        draft.removeNode(node);
        draft.replace(tensor.name, tensor);
        count++;
      }
    }
    if (count > 0) notes.changed.push({ layer: 'Constant', text: `${count} Constant nodes became initializers` });
  });
}

/** Shape and Size of a value whose shape no input changes. */
async function withShapes(model: Model, ctx: PassContext, notes: Notes): Promise<Model> {
  const nodes = model.graph.node.filter((node) => isOp(node, 'Shape', 'Size'));
  if (nodes.length === 0) return model;
  const shapes = await staticShapes(model, ctx);
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  return edit(model, (draft) => {
    for (const { node, tensor, text } of shapeParts(model, shapes)) {
      draft.removeNode(node);
      draft.replace(tensor.name, tensor);
      notes.changed.push({ layer: layerName(node), text });
    }
    for (const node of nodes) {
      const [x = ''] = node.input;
      const [y = ''] = node.output;
      const dims = shapes.dims(x);
      const layer = layerName(node);
      if (!dims) notes.skipped.push({ layer, text: `the shape of "${x}" follows the shape of the input` });
      else if (outputs.has(y)) notes.skipped.push({ layer, text: `"${y}" is an output of the model` });
      else if (isOp(node, 'Shape') && rangeReads(readers, y)) notes.skipped.push({ layer, text: scalarsOnly });
      else {
        draft.removeNode(node);
        draft.replace(y, int64Tensor(y, isOp(node, 'Size') ? elementCount(dims) : slice(node, dims)));
        notes.changed.push({ layer, text: `the shape of "${x}" is always [${dims.join(', ')}]` });
      }
    }
  });
}

function slice(node: NodeProto, dims: readonly number[]): readonly number[] {
  return dims.slice(intAttribute(node, 'start', 0), intAttribute(node, 'end', dims.length));
}

function int64Tensor(name: string, value: number | readonly number[]): TensorProto {
  const [values, dims] = typeof value === 'number' ? [[value], []] : [value, [value.length]];
  return makeTensor(name, 'int64', dims, BigInt64Array.from(values, BigInt));
}

/** Bytes up to which a constant may grow. */
const smallBytes = 256;

/** A result with what onnxruntime computed. */
interface Computed extends ConstantResult {
  readonly tensors: readonly TensorProto[];
}

/** Results in groups of those that are made of the same large constants. */
function sharing(results: readonly Computed[]): Computed[][] {
  const large = ({ leaves }: Computed): TensorProto[] => leaves.filter((t) => tensorBytes(t) > smallBytes);
  let groups: Computed[][] = [];
  for (const result of results) {
    const own = new Set(large(result));
    const [near, far] = [true, false].map((want) =>
      groups.filter((group) => group.some((one) => large(one).some((t) => own.has(t))) === want),
    ) as [Computed[][], Computed[][]];
    groups = [...far, [...near.flat(), result]];
  }
  return groups;
}

async function withResults(model: Model, ctx: PassContext, notes: Notes): Promise<Model> {
  const results = constantResults(model);
  if (results.length === 0) return model;
  const values = await computeResults(model, results, ctx, notes.skipped);
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  const computed = results.flatMap((result): Computed[] => {
    const tensors = result.names.flatMap((name) => asTensor(name, values.get(name)));
    if (tensors.length < result.names.length) return [];
    if (!tensors.some((t) => t.dims.length > 0 && rangeReads(readers, t.name))) return [{ ...result, tensors }];
    notes.skipped.push({ layer: layerName(result.node), text: scalarsOnly });
    return [];
  });
  /** Bytes that results take together, and of what only they are made of. */
  const bytesOf = (list: readonly Computed[]): [after: number, before: number] => {
    const nodes = new Set(list.flatMap((one) => [...one.nodes]));
    const leaves = new Set(list.flatMap((one) => one.leaves));
    const freed = [...leaves].filter((t) => !outputs.has(t.name) && inside({ nodes }, readers, t.name));
    return [list.flatMap(({ tensors }) => tensors.map(tensorBytes)), freed.map(tensorBytes)].map(sum) as [
      number,
      number,
    ];
  };
  const small = (one: Computed): boolean => {
    const [after, before] = bytesOf([one]);
    return after <= Math.max(before, smallBytes);
  };
  // One constant that several nodes cut into parts goes when all of them are taken.
  const large = computed.filter((one) => !small(one));
  const taken = new Set(computed.filter(small));
  for (const group of sharing(large)) {
    const [after, before] = bytesOf(group);
    for (const one of group)
      if (after <= before) taken.add(one);
      else {
        const [bytes, made] = bytesOf([one]);
        const text = `its constant result takes ${bytes} bytes, what it is made of and would go ${made}`;
        notes.skipped.push({ layer: layerName(one.node), text });
      }
  }
  return edit(model, (draft) => {
    for (const result of computed) {
      if (!taken.has(result)) continue;
      const { tensors } = result;
      const layer = layerName(result.node);
      draft.removeNode(result.node);
      for (const tensor of tensors) {
        const name = keptName(result, tensor, readers, outputs) ?? tensor.name;
        if (name !== tensor.name) draft.rewire(tensor.name, name);
        draft.replace(name, tensor);
        const ops = [...result.nodes].map((node) => node.op_type).reverse();
        notes.changed.push({ layer, text: `${ops.join(', ')} of constants became the constant "${name}"` });
      }
    }
    removeUnread(draft, outputs);
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** What onnxruntime gave, to store: strings cannot be. */
function asTensor(name: string, value: Tensor | undefined): TensorProto[] {
  return value && ArrayBuffer.isView(value.data) ? [makeTensor(name, value.type, value.dims, value.data)] : [];
}

type Readers = ReadonlyMap<string, readonly NodeProto[]>;

/** onnxruntime runs Range on computed vectors of one element, but refuses constants that are. */
function rangeReads(readers: Readers, name: string): boolean {
  return readers.get(name)?.some((node) => isOp(node, 'Range')) ?? false;
}

const scalarsOnly = 'Range reads its result, and takes constants only if they are scalars';

/** Whether only the nodes of this result read a value. */
function inside({ nodes }: Pick<ConstantResult, 'nodes'>, readers: Readers, name: string): boolean {
  return readers.get(name)?.every((node) => nodes.has(node)) ?? true;
}

const moves = ['Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity', 'Cast'];

/**
 * A weight that is only transposed or reshaped keeps the name it had before, which is the one schedules and reports know: that
 * of the leaf of as many elements, if it and all steps towards the result are read for this result alone.
 */
function keptName(
  result: ConstantResult,
  tensor: TensorProto,
  readers: Readers,
  outputs: ReadonlySet<string>,
): string | undefined {
  const elements = elementCount(dimsOf(tensor));
  const [leaf, ...others] = result.leaves.filter((t) => elementCount(dimsOf(t)) === elements);
  if (!leaf || others.length > 0 || elements < 2 || outputs.has(leaf.name)) return undefined;
  if (![...result.nodes].every((node) => isOp(node, ...moves))) return undefined;
  const steps = [...result.nodes].filter((node) => node !== result.node).flatMap((node) => node.output);
  // A body of If or Loop may read the result by its name only.
  const plain = readers.get(tensor.name)?.every((node) => subgraphs(node).length === 0) ?? true;
  return plain && [leaf.name, ...steps].every((name) => inside(result, readers, name)) ? leaf.name : undefined;
}
