import { withOutputs } from './edit.ts';
import type { Model } from './model.ts';
import { type NodeProto } from './proto.ts';
import { constantTensor, describeValue, everyNode, isOp, layerName, modelInputs, producers, reads } from './query.ts';

/** How many rows they give depends on the numbers that go in. */
const selecting = ['NonMaxSuppression', 'NonZero', 'Compress', 'Unique'];

/** What of two models can be compared one by one: values of the same size, by their name in the float model. */
export interface Comparable {
  /** The model with what is compared among its outputs. */
  readonly model: Model;
  readonly float: Model;
  /** Names in the float model by names in the model, of values that stand for outputs. */
  readonly named: ReadonlyMap<string, string>;
  /** By names in the float model. */
  readonly compared: readonly string[];
  /** Outputs that hold what the model selected, and what stands for them; none for most models. */
  readonly selected: ReadonlyMap<string, readonly string[]>;
}

/**
 * Two models as they can be compared. How many boxes NonMaxSuppression leaves, or numbers NonZero finds, a change of the last digit decides:
 * outputs of it have other sizes in a changed model, or rows that do not correspond. The numbers that are selected from stand for such
 * an output: all that goes into the nodes between the selection and the output. They are found by the nodes that read them.
 */
export function comparable(model: Model, float: Model): Comparable {
  const outputs = float.graph.output.map(({ name }) => name);
  const selected = selections(float);
  if (selected.size === 0) return { model, float, named: new Map(), compared: outputs, selected: new Map() };
  const own = model === float ? selected : selections(model);
  const named = new Map<string, string>();
  const stand = new Map<string, string[]>();
  for (const [output, edges] of selected) {
    const known = [...edges].flatMap(([place, name]) => {
      const theirs = own.get(output)?.get(place);
      if (theirs !== undefined) named.set(theirs, name);
      return theirs === undefined ? [] : [name];
    });
    stand.set(output, [...new Set(known)]);
  }
  const values = [...new Set([...stand.values()].flat())];
  return {
    model: withOutputs(model, [...named.keys()]),
    float: withOutputs(float, values),
    named,
    compared: [...outputs.filter((name) => !selected.has(name)), ...values.filter((name) => !outputs.includes(name))],
    selected: stand,
  };
}

/** What is compared in place of an output, in a sentence for each. */
export function selectionNotes(float: Model): string[] {
  return [...comparable(float, float).selected].map(([output, stand]) => {
    const names = stand.map((name) => `"${name}"`).join(', ');
    return `how many rows output "${output}" has depends on its numbers: compared with the float model's is what is selected from instead, ${names}`;
  });
}

/** For each output of a size that the numbers decide: place where a value enters the selection → the value. */
function selections(model: Model): Map<string, ReadonlyMap<string, string>> {
  const { graph } = model;
  const found = new Map<string, ReadonlyMap<string, string>>();
  const moving = new Set<string>();
  for (const node of graph.node) if (moves(node, moving)) for (const name of node.output) moving.add(name);
  const made = producers(graph);
  const fixed = new Set([...graph.initializer, ...modelInputs(model)].map(({ name }) => name));
  for (const output of graph.output) {
    const sized = describeValue(output).dims?.every((size) => typeof size === 'number') === true;
    if (sized || !moving.has(output.name)) continue;
    const edges = new Map<string, string>();
    const seen = new Set([output.name]);
    for (const name of seen) {
      const node = made.get(name);
      if (node === undefined) continue;
      for (const [i, read] of [...reads(node)].entries()) {
        const from = made.get(read);
        if (moving.has(read)) seen.add(read);
        else if (!fixed.has(read) && from && constantTensor(from) === undefined)
          edges.set(`${layerName(node)} ${i}`, read);
      }
    }
    found.set(output.name, edges);
  }
  return found;
}

/** Whether the sizes of what a node gives depend on the numbers it is given. What is scattered keeps the size of what it is scattered into. */
function moves(node: NodeProto, moving: ReadonlySet<string>): boolean {
  if ([...everyNode({ node: [node] })].some((one) => isOp(one, ...selecting))) return true;
  const read = isOp(node, 'ScatterND', 'ScatterElements') ? node.input.slice(0, 1) : [...reads(node)];
  return read.some((name) => moving.has(name));
}
