import type { Model } from '../../../graph/model.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, modelInputs, reads } from '../../../graph/query.ts';
import type { Shapes } from '../../../graph/shapes.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { given } from '../../../util/must.ts';
import type { Note } from '../../pass.ts';
import type { QuantizedLayer } from '../../recover/sites.ts';
import { roundings } from './roundings.ts';

/** A value of the quantized model, and the float model's value that it stands for. */
export interface Joint {
  readonly value: string;
  readonly twin: string;
}

/** A part of a quantized model whose layers are rounded together. */
export interface Block {
  /** Its first layer, and its last where that is another one. */
  readonly name: string;
  readonly inputs: readonly Joint[];
  readonly outputs: readonly Joint[];
  readonly layers: readonly QuantizedLayer[];
}

/** Layers in a row that are taken together: as many as an inverted residual block without its shortcut has. */
const inRow = 3;

/** A stretch between two values that each carry everything alone. */
interface Stretch {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly NodeProto[];
  readonly layers: readonly QuantizedLayer[];
}

/**
 * The blocks of a model, front to back. `auto`: parts between values that alone carry everything (every way from the inputs to the outputs
 * goes through them: dominators), which are residual blocks where there are any; layers in a row, without a branch, are taken together up
 * to three, in equal parts. What has more layers than that between two such values is taken layer by layer, as all is with `layer`.
 */
export function findBlocks(
  model: Model,
  twin: Model,
  shapes: Shapes,
  layers: readonly QuantizedLayer[],
  o: { readonly blocks: 'auto' | 'layer'; readonly most: number },
): { readonly blocks: readonly Block[]; readonly skipped: readonly Note[] } {
  const skipped: Note[] = [];
  const alone = (layer: QuantizedLayer): Block[] => {
    const block = layerBlock(model, twin, layer);
    if (typeof block !== 'string') return [block];
    skipped.push({ layer: layer.name, text: `left as it was rounded: ${block}` });
    return [];
  };
  if (o.blocks === 'layer') return { blocks: layers.flatMap(alone), skipped };
  const blocks = rows(withCarriers(stretches(model, twin, layers), shapes), Math.min(inRow, o.most)).flatMap((one) =>
    one.layers.length > o.most && one.layers.length > 1 ? one.layers.flatMap(alone) : [named(one)],
  );
  return { blocks, skipped };
}

const same = (value: string): Joint => ({ value, twin: value });

function named({ inputs, outputs, layers }: Pick<Stretch, 'inputs' | 'outputs' | 'layers'>): Block {
  const [first, last] = [given(layers[0], 'a layer').name, given(layers.at(-1), 'a layer').name];
  return {
    name: layers.length === 1 ? first : `${first} … ${last}`,
    inputs: inputs.map(same),
    outputs: outputs.map(same),
    layers,
  };
}

/** Cuts a model at each value that is all there is between what was computed and what is still to be. */
function stretches(model: Model, twin: Model, layers: readonly QuantizedLayer[]): Stretch[] {
  const { graph } = model;
  const readers = consumers(graph);
  const outputs = graph.output.map(({ name }) => name);
  const inTwin = new Set(twin.graph.node.flatMap((node) => node.output));
  const layerOf = new Map(layers.map((layer) => [layer.node, layer]));
  const left = new Map<string, number>();
  const open = new Set<string>();
  const begin = (value: string): void => {
    const count = (readers.get(value)?.length ?? 0) + (outputs.includes(value) ? 1 : 0);
    if (count === 0) return;
    left.set(value, count);
    open.add(value);
  };
  const inputs = modelInputs(model).map(({ name }) => name);
  inputs.forEach(begin);
  const found: Stretch[] = [];
  let [from, nodes]: [readonly string[], NodeProto[]] = [inputs, []];
  const close = (to: readonly string[]): void => {
    const own = nodes.flatMap((node) => layerOf.get(node) ?? []);
    found.push({ inputs: from, outputs: to, nodes, layers: own });
    [from, nodes] = [to, []];
  };
  for (const node of graph.node) {
    const dynamic = [...reads(node)].filter((name) => left.has(name));
    if (dynamic.length === 0) continue;
    nodes.push(node);
    for (const name of dynamic) {
      left.set(name, left.get(name)! - 1);
      if (left.get(name) === 0) open.delete(name);
    }
    node.output.forEach(begin);
    const [value] = open;
    if (open.size === 1 && value !== undefined && inTwin.has(value) && !outputs.includes(value)) close([value]);
  }
  close(outputs);
  return found;
}

/** What turns scores into shares, or takes their scale away: an error behind it says less than one before it. */
const closing: ReadonlySet<string> = new Set(['Softmax', 'LogSoftmax']);

/** Stretches without a layer go to the one before where they keep its size (a Relu), else to the one behind (a pooling). */
function withCarriers(all: readonly Stretch[], shapes: Shapes): Stretch[] {
  const size = (names: readonly string[]): number | undefined => {
    const dims = names.length === 1 ? shapes.get(names[0]!)?.dims : undefined;
    return dims && elementCount(dims);
  };
  const found: Stretch[] = [];
  for (const one of all) {
    const before = found.at(-1);
    if (!before) found.push(one);
    else if (one.layers.length === 0 && before.layers.length > 0 && size(one.outputs) === size(before.outputs) && !one.nodes.some(({ op_type }) => closing.has(op_type))) // prettier-ignore
      found.splice(-1, 1, { ...before, outputs: one.outputs, nodes: [...before.nodes, ...one.nodes] });
    else if (before.layers.length === 0) found.splice(-1, 1, { ...one, inputs: before.inputs, nodes: [...before.nodes, ...one.nodes] });
    else found.push(one);
  } // prettier-ignore
  return found.filter(({ layers }) => layers.length > 0);
}

/** Joins stretches of one layer that follow each other, in equal parts of at most so many layers. */
function rows(all: readonly Stretch[], most: number): Stretch[] {
  const runs: Stretch[][] = [];
  for (const one of all) {
    const run = runs.at(-1);
    const before = run?.at(-1);
    const follows = before?.layers.length === 1 && one.layers.length === 1 && before.outputs.join() === one.inputs.join(); // prettier-ignore
    if (run && follows) run.push(one);
    else runs.push([one]);
  }
  return runs.flatMap((run) => {
    const parts = Math.ceil(run.length / most);
    const each = Math.ceil(run.length / parts);
    return Array.from({ length: Math.ceil(run.length / each) }, (_, i) => run.slice(i * each, (i + 1) * each)).map((part) => ({
      inputs: part[0]!.inputs,
      outputs: part.at(-1)!.outputs,
      nodes: part.flatMap(({ nodes }) => nodes),
      layers: part.flatMap(({ layers }) => layers),
    })); // prettier-ignore
  });
}

/** What a layer's output goes through and nothing else reads it: belongs to the layer. */
const activations = ['Relu', 'Clip', 'LeakyRelu'];

/** A layer with the quantization of its input and the activation behind it; a sentence where it cannot be had alone. */
function layerBlock(model: Model, twin: Model, layer: QuantizedLayer): Block | string {
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const twins = new Map(twin.graph.node.map((node) => [layerName(node), node]));
  const read = layer.node.input[0] ?? '';
  const input = roundings(model).find(({ restored }) => restored === read)?.value ?? read;
  if (initializers(model.graph).has(input)) return 'what it reads is a constant';
  let [output, other] = [layer.node.output[0] ?? '', layer.twin.output[0] ?? ''];
  for (;;) {
    const [reader, ...more] = readers.get(output) ?? [];
    const beside = reader && twins.get(layerName(reader));
    if (!reader || !beside || more.length > 0 || outputs.has(output) || !isOp(reader, ...activations)) break;
    [output, other] = [reader.output[0] ?? '', beside.output[0] ?? ''];
  }
  const inputs = [{ value: input, twin: layer.twin.input[0] ?? '' }];
  return { name: layer.name, inputs, outputs: [{ value: output, twin: other }], layers: [layer] };
}
