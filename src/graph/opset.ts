import { QtoolError } from '../util/error.ts';
import { edit } from './edit.ts';
import { modelOf, type Model } from './model.ts';
import {
  AttributeCodec,
  FunctionCodec,
  GraphCodec,
  ModelCodec,
  NodeCodec,
  OperatorSetCodec,
  int64,
  toNumber,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from './proto.ts';
import { everyNode, layerName, opset, reads, subgraphs } from './query.ts';
import { makeTensor, renamed } from './tensor.ts';
import { breaking } from './opset/adapters.ts';
import { dimsIn, floatTypeIn, onlyFloat32, rankIn, scopeOf, tensorIn, type Scope, type Site } from './opset/site.ts';
import { firstVersions } from './opset/versions.ts';

/** One sentence about one converted node. */
export interface OpsetNote {
  readonly layer: string;
  readonly text: string;
}

/** The oldest operator set that is converted and the newest one whose changes are known. */
const oldest = 7;
const newest = 26;

/**
 * The model said in a newer version of the standard operator set, computing the same: every operator whose definition
 * changed in between is rewritten, in bodies of If, Loop and Scan too. A model of that version or newer comes back as it is.
 * @throws QtoolError('model') naming the node where an operator has no equivalent in the newer set or is not known.
 */
export function upgradeOpset(model: Model, version: number): { model: Model; notes: OpsetNote[] } {
  const from = opset(model);
  if (from >= version) return { model, notes: [] };
  if (version > newest || (from > 0 && from < oldest))
    throw new QtoolError('model', `cannot convert opset ${from} to ${version} (only ${oldest} to ${newest})`, {
      at: model.path,
      hint: 'export the model with opset 13 or newer',
    });
  const notes: OpsetNote[] = [];
  const next = edit(model, (draft) => {
    // Before IR 4 a listed initializer could not be overridden; from 4 on it could, and would no longer be a constant.
    const ir3 = toNumber(model.proto.ir_version) < 4;
    if (ir3) draft.freezeInputs();
    const work: Work = {
      from,
      to: version,
      notes,
      fresh: (base) => draft.freshName(base),
      float32: onlyFloat32(model.graph),
    };
    const scope = scopeOf(model.graph, undefined, !ir3);
    const added = additions((base, tensor) => draft.add(base, tensor));
    for (const node of draft.nodes()) {
      const { before, fields, after } = convert(node, scope, work, added);
      if (fields) draft.update(node, fields);
      for (const extra of [...before, ...after]) draft.addNode(extra);
    }
    draft.requireOpset('', version);
  });
  return { model: withFunctions(next, version), notes };
}

const isStandard = (domain: string): boolean => domain === '' || domain === 'ai.onnx';

interface Work {
  readonly from: number;
  readonly to: number;
  readonly notes: OpsetNote[];
  readonly float32: boolean;
  fresh(base: string): string;
}

/** The constants that the conversion adds to one graph, by name; equal ones are added once. */
interface Added {
  readonly tensors: Map<string, TensorProto>;
  readonly constant: Site['constant'];
}

/** The constants that conversions need, each once; `add` stores one and names it. */
function additions(add: (base: string, tensor: TensorProto) => string): Added {
  const tensors = new Map<string, TensorProto>();
  const known = new Map<string, string>();
  return {
    tensors,
    constant(base, type, dims, data) {
      const key = `${type} ${dims.join()} ${data.join()}`;
      const found = known.get(key);
      if (found !== undefined) return found;
      const tensor = makeTensor('', type, dims, data);
      const name = add(base, tensor);
      known.set(key, name);
      tensors.set(name, tensor);
      return name;
    },
  };
}

interface Converted {
  readonly before: NodeProto[];
  /** Undefined where the node stays as it is. */
  readonly fields: Partial<NodeProto> | undefined;
  readonly after: NodeProto[];
}

/** Carries one node from change to change of its operator, and its bodies with it. */
function convert(node: NodeProto, scope: Scope, work: Work, added: Added): Converted {
  const before: NodeProto[] = [];
  const after: NodeProto[] = [];
  let now = node;
  for (let change = nextChange(now, work.from, work); change !== undefined; change = nextChange(now, change, work)) {
    const to = change;
    const rewrite = breaking[now.op_type]?.[to]?.(now, siteOf(now, to, scope, work, added));
    if (!rewrite) continue;
    before.push(...(rewrite.before ?? []));
    after.unshift(...(rewrite.after ?? []));
    now = NodeCodec.amend(now, rewrite.fields);
    work.notes.push({ layer: layerName(node), text: `${node.op_type} is written as of opset ${to}` });
  }
  if (subgraphs(now).length > 0) now = NodeCodec.amend(now, { attribute: bodies(now, scope, work) });
  return { before, fields: now === node ? undefined : { ...now }, after };
}

/** The next version after `at` at which the node's operator has to be rewritten; undefined where it has not until `to`. */
function nextChange(node: NodeProto, at: number, work: Work): number | undefined {
  if (!isStandard(node.domain)) return undefined;
  const first = firstVersions.get(node.op_type);
  if (first === undefined || (at === work.from && first > at))
    throw new QtoolError('model', `${node.op_type} is no operator of opset ${at}`, { at: layerName(node) });
  return changesOf(node).find((version) => version > at && version <= work.to);
}

/** The versions, rising, at which a node's operator has to be rewritten. */
const changesOf = (node: NodeProto): number[] => Object.keys(breaking[node.op_type] ?? {}).map(Number);

function siteOf(node: NodeProto, to: number, scope: Scope, work: Work, added: Added): Site {
  return {
    constant: added.constant,
    fresh: (base) => work.fresh(base),
    tensor: (name) => added.tensors.get(name) ?? tensorIn(scope, name),
    dims: (name) => dimsIn(scope, name),
    rank: (name) => rankIn(scope, name),
    floatType: (name) => floatTypeIn(scope, name) ?? (work.float32 ? 'float32' : undefined),
    isRead: (name) =>
      scope.graph.output.some((o) => o.name === name) || scope.graph.node.some((other) => reads(other).has(name)),
    note: (text) => void work.notes.push({ layer: layerName(node), text }),
    refuse(why, hint) {
      throw new QtoolError('model', `${node.op_type} cannot go from opset ${work.from} to ${work.to}: ${why}`, {
        at: layerName(node),
        hint: hint ?? `export the model with opset ${to} or newer`,
      });
    },
  };
}

/** The attributes of a control-flow node with its bodies converted. */
function bodies(node: NodeProto, scope: Scope, work: Work): NodeProto['attribute'] {
  return node.attribute.map((attribute) => {
    if (!attribute.g && attribute.graphs.length === 0) return attribute;
    const g = attribute.g ? { g: body(attribute.g, scope, work) } : {};
    const graphs = attribute.graphs.length > 0 ? { graphs: attribute.graphs.map((b) => body(b, scope, work)) } : {};
    return AttributeCodec.amend(attribute, { ...g, ...graphs });
  });
}

function body(graph: GraphProto, outer: Scope, work: Work): GraphProto {
  const scope = scopeOf(graph, outer, false);
  const initializer = [...graph.initializer];
  const added = additions((base, tensor) => {
    const name = work.fresh(base);
    initializer.push(renamed(tensor, name));
    return name;
  });
  const node = graph.node.flatMap((n) => {
    const { before, fields, after } = convert(n, scope, work, added);
    return [...before, fields ? NodeCodec.amend(n, fields) : n, ...after];
  });
  return GraphCodec.amend(graph, { node, initializer });
}

/** Local functions import operator sets of their own; their bodies have no place for constants, so they are not rewritten. */
function withFunctions(model: Model, version: number): Model {
  if (model.proto.functions.length === 0) return model;
  const functions = model.proto.functions.map((f) => raised(f, version));
  return modelOf(ModelCodec.amend(model.proto, { functions }), model.path);
}

function raised(f: FunctionProto, version: number): FunctionProto {
  const from = toNumber(f.opset_import.find((o) => isStandard(o.domain))?.version ?? version);
  const stuck = [...everyNode(f)].find(
    (node) => isStandard(node.domain) && changesOf(node).some((v) => v > from && v <= version),
  );
  if (stuck)
    throw new QtoolError('model', `${stuck.op_type} of the local function "${f.name}" cannot go to opset ${version}`, {
      at: layerName(stuck),
      hint: `export with opset ${version} or newer, or without local functions`,
    });
  const opset_import = f.opset_import.map((o) =>
    isStandard(o.domain) && from < version ? OperatorSetCodec.create({ domain: o.domain, version: int64(version) }) : o,
  );
  return FunctionCodec.amend(f, { opset_import });
}
