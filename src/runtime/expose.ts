import type { Tensor } from '../data/types.ts';
import { edit } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { ValueInfoCodec, type GraphProto } from '../graph/proto.ts';
import { initializers, modelInputs, producers, subgraphs } from '../graph/query.ts';
import { dimsOf, tensorData, typeOf } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';

/**
 * The model with these values as its graph outputs, and no others; their types are left to onnxruntime's inference. Graph
 * inputs among them are left out: they are known from the feeds.
 *
 * @throws QtoolError `graph` for a value that the main graph does not produce, saying where it is.
 */
export function expose(model: Model, values: readonly string[]): Model {
  const wanted = exposable(model, values);
  const known = new Map(model.graph.output.map((value) => [value.name, value]));
  return edit(model, (draft) => {
    draft.setOutputs(wanted.map((name) => known.get(name) ?? ValueInfoCodec.create({ name })));
  });
}

/** Those of `values` that are constants of the model. */
export function constantsAmong(model: Model, values: readonly string[]): Map<string, Tensor> {
  const tensors = initializers(model.graph);
  return new Map(
    values.flatMap((name) => {
      const tensor = tensors.get(name);
      return tensor ? [[name, { type: typeOf(tensor), dims: dimsOf(tensor), data: tensorData(tensor) }]] : [];
    }),
  );
}

/** Those of `values` that must be computed, without repeats: neither fed nor constant. @throws QtoolError as `expose` does. */
export function exposable(model: Model, values: readonly string[]): string[] {
  const produced = producers(model.graph);
  const constants = initializers(model.graph);
  const fed = new Set(modelInputs(model).map((input) => input.name));
  return [...new Set(values)].filter((name) => {
    if (fed.has(name) || constants.has(name)) return false;
    if (produced.has(name)) return true;
    throw new QtoolError('graph', `cannot collect "${name}": ${absence(model, name)}`, { at: name });
  });
}

function absence(model: Model, name: string): string {
  for (const node of model.graph.node)
    if (subgraphs(node).some((body) => produces(body, name)))
      return `it is computed inside the body of the ${node.op_type} node "${node.name}", which onnxruntime runs as a whole`;
  return 'the model computes no such value';
}

function produces(body: Readonly<GraphProto>, name: string): boolean {
  return (
    body.input.some((input) => input.name === name) ||
    body.node.some((node) => node.output.includes(name) || subgraphs(node).some((inner) => produces(inner, name)))
  );
}
