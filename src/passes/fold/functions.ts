import { allNames } from '../../graph/draft.ts';
import { modelOf, type Model } from '../../graph/model.ts';
import { productOf } from '../../graph/ops.ts';
import {
  AttributeCodec,
  GraphCodec,
  ModelCodec,
  NodeCodec,
  OperatorSetCodec,
  int64,
  toNumber,
  type AttributeProto,
  type FunctionProto,
  type NodeProto,
} from '../../graph/proto.ts';
import { everyNode, layerName, opset } from '../../graph/query.ts';
import { definedIn, freshNames, nodeWithNames, withBodies, type NewName } from '../../graph/rename.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import type { Note } from '../pass.ts';

/** Nodes that a model may have with its functions written out: functions that call each other twice, 27 deep, are a hundred million. */
const mostNodes = 200_000;

type Functions = ReadonlyMap<string, FunctionProto>;

const keyOf = ({ domain, op_type, overload }: NodeProto): string => `${domain}:${op_type}:${overload}`;
const keyOfFunction = ({ domain, name, overload }: FunctionProto): string => `${domain}:${name}:${overload}`;

/**
 * Writes the local functions that hold layers out where they are called, in bodies too, as onnxruntime does itself when it loads a model: what
 * they compute stays the same to the bit. Attributes are those of the call or the function's defaults, inputs that the call leaves out stay
 * left out, and inner values get names of their own (ONNX IR, "Functions").
 * @throws QtoolError('model') where that would be more nodes than a model may have, or functions call themselves.
 */
export function inlineFunctions(model: Model): { readonly model: Model; readonly notes: readonly Note[] } {
  const { functions: all } = model.proto;
  if (all.length === 0) return { model, notes: [] };
  const functions: Functions = new Map(all.map((f) => [keyOfFunction(f), f]));
  const { holds, nodes } = measured(functions, model);
  const notes: Note[] = [];
  const chosen = new Map([...functions].filter(([key]) => holds(key)));
  for (const [key, f] of chosen) {
    const why = otherOpset(f, model);
    if (why === undefined) continue;
    chosen.delete(key);
    notes.push({ layer: f.name, text: `its layers stay as they are in the local function: ${why}` });
  }
  const calls = [...everyNode(model.graph)].filter((node) => chosen.has(keyOf(node)));
  if (calls.length === 0) return { model, notes };
  const total = calls.reduce((sum, node) => sum + nodes(keyOf(node)), 0);
  if (total > mostNodes)
    throw new QtoolError('model', `its local functions, written out where they are called, would be ${total.toExponential(1)} nodes`, {
      at: layerName(calls[0]!),
      hint: `qtool writes out up to ${mostNodes}: export the model without local functions`,
    }); // prettier-ignore
  const fresh = freshNames(new Set(allNames(model.graph)));
  const written = (list: readonly NodeProto[]): NodeProto[] =>
    list.flatMap((node) => {
      const f = chosen.get(keyOf(node));
      const inner = withBodies(node, (body) => GraphCodec.amend(body, { node: written(body.node) }));
      return f === undefined ? [inner] : written(callOf(f, inner, fresh));
    });
  const graph = GraphCodec.amend(model.graph, { node: written(model.graph.node) });
  const imported = new Set(model.proto.opset_import.map(({ domain }) => plain(domain)));
  const more = [...chosen.values()]
    .flatMap((f) => f.opset_import)
    .filter(({ domain }) => !imported.has(plain(domain)))
    .filter(({ domain }, i, list) => list.findIndex((other) => other.domain === domain) === i)
    .map(({ domain, version }) => OperatorSetCodec.create({ domain, version: int64(toNumber(version)) }));
  const proto = ModelCodec.amend(model.proto, {
    graph,
    functions: all.filter((f) => !chosen.has(keyOfFunction(f))),
    opset_import: [...model.proto.opset_import, ...more],
  });
  for (const node of calls) notes.push({ layer: layerName(node), text: `the local function ${node.op_type} is written out` }); // prettier-ignore
  return { model: modelOf(proto, model.path), notes };
}

const plain = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

/** Which functions lead to a layer, and to how many nodes each comes. */
function measured(
  functions: Functions,
  model: Model,
): { readonly holds: (key: string) => boolean; readonly nodes: (key: string) => number } {
  const known = new Map<string, { readonly holds: boolean; readonly nodes: number }>();
  const measure = (key: string, open: readonly string[]): { readonly holds: boolean; readonly nodes: number } => {
    const before = known.get(key);
    if (before) return before;
    const f = must(functions, key, 'the function');
    if (open.includes(key))
      throw new QtoolError('model', `the local function "${f.name}" calls itself`, { at: model.path });
    let [holds, nodes] = [false, 0];
    for (const node of everyNode(f)) {
      const called = functions.has(keyOf(node)) ? measure(keyOf(node), [...open, key]) : undefined;
      holds ||= called?.holds ?? productOf(node) !== undefined;
      nodes += called?.nodes ?? 1;
    }
    known.set(key, { holds, nodes });
    return { holds, nodes };
  };
  return { holds: (key) => measure(key, []).holds, nodes: (key) => measure(key, []).nodes };
}

/** Why a function's nodes do not mean the same in the model. */
function otherOpset(f: FunctionProto, model: Model): string | undefined {
  const known = new Map(model.proto.opset_import.map((o) => [plain(o.domain), toNumber(o.version)]));
  const other = f.opset_import.find(
    ({ domain, version }) => (known.get(plain(domain)) ?? toNumber(version)) !== toNumber(version),
  );
  if (!other) return undefined;
  const name = plain(other.domain) || 'ai.onnx';
  return `it is of operator set ${toNumber(other.version)} of ${name}, the model of ${opset(model, plain(other.domain))}`;
}

/** The nodes of a function in the place of one call. */
function callOf(f: FunctionProto, call: NodeProto, fresh: NewName): NodeProto[] {
  const name = layerName(call);
  const names = new Map(f.input.map((input, i) => [input, call.input[i] ?? '']));
  // onnxruntime refuses functions whose outputs are inputs of theirs.
  f.output.forEach((output, i) => {
    const result = call.output[i] ?? '';
    if (result !== '') names.set(output, result);
  });
  for (const value of definedIn(f.node)) if (!names.has(value)) names.set(value, fresh(`${name}/${value}`));
  const of = (value: string): string => names.get(value) ?? value;
  const attributes = new Map([...f.attribute_proto, ...call.attribute].map((one) => [one.name, one]));
  return f.node.map((node) => {
    const own = nodeWithNames(withAttributes(node, attributes), of);
    return NodeCodec.amend(own, { name: fresh(`${name}/${layerName(node)}`) });
  });
}

/** A node of a function with the call's attributes where it refers to them; one that the call leaves out is left out. */
function withAttributes(node: NodeProto, given: ReadonlyMap<string, AttributeProto>): NodeProto {
  const attribute = node.attribute.flatMap((one): AttributeProto[] => {
    if (one.ref_attr_name === '') return [one];
    const value = given.get(one.ref_attr_name);
    return value ? [AttributeCodec.amend(value, { name: one.name })] : [];
  });
  return withBodies(NodeCodec.amend(node, { attribute }), (body) =>
    GraphCodec.amend(body, { node: body.node.map((inner) => withAttributes(inner, given)) }),
  );
}
