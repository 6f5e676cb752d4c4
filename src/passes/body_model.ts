import { attribute } from '../graph/attribute.ts';
import { makeValue } from '../graph/build.ts';
import { bytesOf } from '../graph/bytes.ts';
import { allNames } from '../graph/draft.ts';
import { edit } from '../graph/edit.ts';
import { modelOf, type Model } from '../graph/model.ts';
import { upgradeOpset } from '../graph/opset.ts';
import {
  AttributeCodec,
  GraphCodec,
  ModelCodec,
  NodeCodec,
  toNumber,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from '../graph/proto.ts';
import { captured, consumers, describeValue, initializers, isOp, layerName, opset } from '../graph/query.ts';
import { definedIn, freshNames, graphWithNames } from '../graph/rename.ts';
import { dimsOf, typeOf } from '../graph/tensor.ts';
import type { Shapes } from '../graph/shapes.ts';

/** A body of If, Loop or Scan: the node, and the attribute that holds it. */
export interface Place {
  readonly node: NodeProto;
  readonly attribute: string;
  readonly body: GraphProto;
}

/** `If "gate" then_branch`, as `innerLayers` begins the way to what lies in a body. */
export const placeName = ({ node, attribute: name }: Place): string => `${node.op_type} "${layerName(node)}" ${name}`;

/** The bodies of a model's main graph, in graph order. */
export function places(model: Model): Place[] {
  return model.graph.node.flatMap((node) =>
    isOp(node, 'If', 'Loop', 'Scan')
      ? node.attribute.flatMap(({ name, g }) => (g ? [{ node, attribute: name, body: g }] : []))
      : [],
  );
}

/** The same body in another form of the model: the node of that name, or that makes one of the same values. */
export function placeIn(model: Model, { node, attribute: name }: Place): Place | undefined {
  const nodes = model.graph.node.filter((one) => one.op_type === node.op_type);
  const found =
    nodes.find((one) => layerName(one) === layerName(node)) ??
    nodes.find((one) => one.output.some((output) => output !== '' && node.output.includes(output)));
  const body = found && attribute(found, name)?.g;
  return body ? { node: found, attribute: name, body } : undefined;
}

/**
 * A body as a model of its own: its inputs, and behind them what it reads from outside; stored tensors that it reads from there are stored in
 * it. Shapes are declared only where they hold for any data: those of the model's own inputs, and of scalars. `body` says which are
 * its inputs, and which tensors came from outside.
 */
export interface BodyModel {
  readonly model: Model;
  readonly place: Place;
  /** Values that it reads from outside, which are inputs of `model`. */
  readonly read: readonly string[];
  /** Stored tensors of the graph around it that it reads. */
  readonly outer: ReadonlyMap<string, TensorProto>;
}

/**
 * Makes a model of a body. @param known types and shapes of what it reads and of its own inputs, from one run.
 * @returns undefined where the type of one is not known: a sequence, say.
 */
export function bodyModel(around: Model, place: Place, known: Shapes): BodyModel | undefined {
  const { body } = place;
  const tensors = initializers(around.graph);
  const names = [...captured(body)];
  const outer = new Map(names.flatMap((name) => (tensors.has(name) ? [[name, tensors.get(name)!] as const] : [])));
  const read = names.filter((name) => !outer.has(name));
  const declared = new Map(around.graph.input.map((value) => [value.name, value]));
  const own = body.input.map((value) => ({ name: value.name, type: value.type && describeValue(value).type }));
  const inputs = [...own, ...read.map((name) => ({ name, type: undefined }))].map(({ name, type }) => {
    const given = declared.get(name);
    if (given && type === undefined) return given;
    const seen = known.get(name);
    const valueType = seen?.type ?? type;
    return valueType && makeValue(name, valueType, seen?.dims.length === 0 ? [] : undefined);
  });
  const whole = inputs.flatMap((input) => (input ? [input] : []));
  if (whole.length < inputs.length) return undefined;
  const graph = GraphCodec.amend(body, {
    input: whole,
    initializer: [...body.initializer, ...outer.values()],
  });
  return {
    model: modelOf(ModelCodec.amend(around.proto, { graph, metadata_props: [] }), around.path),
    place,
    read,
    outer,
  };
}

/**
 * The model with a changed body in the place of the one that it was made of. New values get names that the model does not have. A tensor that
 * came from outside and that the model has in the same form, or that the change left alone, is read from there again; others go into the body.
 * @param into the model, which may be another form of the one that the body was taken from.
 */
export function withBody(into: Model, from: BodyModel, changed: Model): Model {
  // One operator set for all: whichever is older is written as of the other.
  const version = Math.max(opset(into), opset(changed));
  const [target, inner] = [into, changed].map((one) => (opset(one) < version ? upgradeOpset(one, version).model : one)) as [Model, Model]; // prettier-ignore
  const place = placeIn(target, from.place);
  if (!place) throw new Error(`${placeName(from.place)} is gone`);
  const { graph } = inner;
  const stored = initializers(target.graph);
  const around = new Set([...stored.keys(), ...target.graph.node.flatMap(({ output }) => output)]);
  const outside = (tensor: TensorProto): boolean => {
    const was = from.outer.get(tensor.name);
    if (!was) return false;
    const there = stored.get(tensor.name);
    return (there !== undefined && sameTensor(there, tensor)) || (tensor === was && around.has(tensor.name));
  };
  const readers = consumers(graph);
  // What the main graph stores in the same codes stands there once, where a Cast reads it: other decoders do not load so.
  const shared = (tensor: TensorProto): boolean => {
    const there = stored.get(tensor.name);
    const cast = readers.get(tensor.name)?.every((node) => isOp(node, 'Cast')) ?? false;
    return there !== undefined && cast && sameTensor(there, tensor);
  };
  const initializer = graph.initializer.filter((tensor) => !outside(tensor) && !shared(tensor));
  const empty = NodeCodec.amend(place.node, { attribute: withAttribute(place, GraphCodec.create({ name: 'none' })) });
  const others = target.graph.node.map((node) => (node === place.node ? empty : node));
  const taken = new Set(allNames(GraphCodec.amend(target.graph, { node: others })));
  const before = new Set([...definedIn(from.place.body.node), ...from.place.body.initializer.map(({ name }) => name)]);
  const fresh = freshNames(new Set([...taken, ...allNames(graph)]));
  const names = new Map<string, string>();
  for (const name of [...definedIn(graph.node), ...initializer.map((tensor) => tensor.name)])
    if (!before.has(name) && taken.has(name)) names.set(name, fresh(name));
  const own = new Set(from.place.body.input.map(({ name }) => name));
  const body = GraphCodec.amend(graph, {
    name: from.place.body.name,
    initializer,
    input: graph.input.filter(({ name }) => own.has(name)),
  });
  const named = names.size === 0 ? body : graphWithNames(body, (name) => names.get(name) ?? name);
  return edit(target, (draft) => {
    draft.update(place.node, { attribute: withAttribute(place, named) });
    for (const { domain, version } of inner.proto.opset_import) draft.requireOpset(domain, toNumber(version));
  });
}

const sameTensor = (a: TensorProto, b: TensorProto): boolean =>
  a === b ||
  (typeOf(a) === typeOf(b) &&
    dimsOf(a).join() === dimsOf(b).join() &&
    a.raw_data.length > 0 &&
    Buffer.compare(bytesOf(a.raw_data), bytesOf(b.raw_data)) === 0);

/** The attributes of a place's node with another body. */
export const withAttribute = ({ node, attribute: name }: Place, body: GraphProto): NodeProto['attribute'] =>
  node.attribute.map((one) => (one.name === name ? AttributeCodec.amend(one, { g: body }) : one));
