import { given, must } from '../util/must.ts';
import { makeValue } from './build.ts';
import type { DType } from './dtype.ts';
import { modelOf, type Model } from './model.ts';
import { GraphCodec, ModelCodec, NodeCodec, type NodeProto } from './proto.ts';
import { initializers, modelInputs, producers, reads } from './query.ts';

/** The part of a model between what is known and some of its values. */
export interface Part {
  /** What it reads of what is known, and of the model's inputs. */
  readonly needed: readonly string[];
  readonly nodes: readonly NodeProto[];
  /** It as a model of its own. `described`: type and rank of what it reads; only the rank is fixed, since batches may differ in size. */
  model(described: (needed: string) => { readonly type: DType; readonly dims: readonly number[] } | undefined): Model;
}

/** The nodes between known values and these, which are float32. No node: all of them are known, are inputs, or are constants. */
export function partOf(model: Model, values: readonly string[], known: { has(value: string): boolean }): Part {
  const made = producers(model.graph);
  const constants = initializers(model.graph);
  const fed = new Set(modelInputs(model).map((input) => input.name));
  const needed = new Set<string>();
  const used = new Set<NodeProto>();
  const tensors = new Set<string>();
  const open = [...values];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = made.get(name);
    if (known.has(name) || fed.has(name)) needed.add(name);
    else if (constants.has(name)) tensors.add(name);
    else if (node && !used.has(node)) {
      used.add(node);
      open.push(...reads(node));
    }
  }
  const parts = model.graph.node.filter((node) => used.has(node));
  const taken = new Set(parts.flatMap((node) => [...reads(node), ...node.output]));
  const fresh = (name: string): string => {
    let other = name;
    while (taken.has(other)) other += '_';
    taken.add(other);
    return other;
  };
  // A node may make a value that is an input here beside one that is wanted: the half of a Split that was kept.
  const nodes = parts.map((node) =>
    node.output.some((name) => needed.has(name))
      ? NodeCodec.amend(node, { output: node.output.map((name) => (needed.has(name) ? fresh(name) : name)) })
      : node,
  );
  return {
    needed: [...needed],
    nodes,
    model: (described) =>
      modelOf(
        ModelCodec.amend(model.proto, {
          graph: GraphCodec.create({
            name: 'part',
            input: [...needed].map((name) => {
              const { type, dims } = given(described(name), `the value "${name}"`);
              return makeValue(
                name,
                type,
                dims.map((_, axis) => `${name}_${axis}`),
              );
            }),
            output: values.map((value) => makeValue(value, 'float32')),
            node: nodes,
            initializer: [...tensors].map((name) => must(constants, name, 'the constant')),
          }),
        }),
        model.path,
      ),
  };
}
