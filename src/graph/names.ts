import type { Model } from './model.ts';
import { moduleOf } from './module_path.ts';
import { productOf } from './ops.ts';
import { toNumber } from './proto.ts';
import { constantTensor, everyNode, layerName, producers, subgraphs } from './query.ts';
import { parsePattern } from '../util/pattern.ts';
import { didYouMean } from '../util/suggest.ts';
import { words } from '../util/words.ts';

/** A node as selectors see it: plain data. */
export interface LayerFact {
  /** The node's name, or its first output where the exporter gave none. */
  readonly node: string;
  readonly opType: string;
  /** The initializers that are its weights, in input order; empty for nodes without any. */
  readonly weights: readonly string[];
  /** The PyTorch module it was exported from (`layer1.0.conv1`), as far as names tell. */
  readonly module?: string | undefined;
  /** Place in the graph's list of nodes. */
  readonly index: number;
}

/** One node that a selector means; `weights` are those of its weights that are meant (all, unless the selector names one). */
export interface Match {
  readonly layer: LayerFact;
  readonly weights: readonly string[];
}

/** Selector → what it matches, in graph order; the notes tell where a name had to be translated. */
export interface Resolution {
  readonly matches: ReadonlyMap<string, readonly Match[]>;
  readonly notes: readonly string[];
}

// What a weight may pass through on its way from the initializer.
const carriers = new Set(
  words('Identity DequantizeLinear QuantizeLinear Reshape Transpose Cast Squeeze Unsqueeze Flatten'),
);
// float, uint8, int8, float16, double, bfloat16, 4 and 2 bit: what weights are stored as. An int64 table is no weight.
const weightTypes = new Set([1, 2, 3, 10, 11, 16, 21, 22, 25, 26]);

/** What selectors can name in a model: its top-level nodes, without those that only make constants. */
export function layerFacts({ graph }: Pick<Model, 'graph'>): LayerFact[] {
  const stored = new Set(
    graph.initializer.filter((t) => t.dims.length >= 2 && weightTypes.has(t.data_type)).map((t) => t.name),
  );
  for (const node of graph.node) {
    const t = constantTensor(node);
    if (t && t.dims.length >= 2 && weightTypes.has(t.data_type) && t.dims.every((d) => toNumber(d) > 0))
      stored.add(node.output[0] ?? '');
  }
  const halves = new Set(graph.initializer.filter((t) => t.data_type === 10 || t.data_type === 16).map((t) => t.name));
  const made = producers(graph);
  const origin = (value: string): string | undefined => {
    for (let name = value; ;) {
      if (stored.has(name)) return name;
      const node = made.get(name);
      if (node === undefined || !carriers.has(node.op_type)) return undefined;
      // What is stored in 16 bits is called by the name of the float32 constant that passes make of it.
      if (node.op_type === 'Cast' && halves.has(node.input[0] ?? '')) return name;
      name = node.input[0] ?? '';
    }
  };
  return graph.node.flatMap((node, index) => {
    if (node.op_type === 'Constant') return [];
    const places = [...(productOf(node)?.weights ?? [])].sort((a, b) => a - b);
    const inputs = places.map((i) => origin(node.input[i] ?? ''));
    const weights = inputs.filter((name) => name !== undefined);
    return [{ node: layerName(node), opType: node.op_type, weights, module: moduleOf(node, weights), index }];
  });
}

/** What selectors of a schedule may name: nodes in the bodies of If, Loop and Scan too, behind those of the main graph. */
export function everyLayerFacts(model: Model): LayerFact[] {
  const bodies = [...everyNode(model.graph)].flatMap(subgraphs);
  const facts = [model.graph, ...bodies].flatMap((graph) => layerFacts({ graph }));
  return facts.map((fact, index) => ({ ...fact, index }));
}

const isRecurrent = ({ opType, weights }: LayerFact): boolean =>
  /^(GRU|LSTM|RNN)$/.test(opType) && weights.length === 2;

/**
 * What PyTorch calls each weight of a layer, below its module. GRU, LSTM and RNN have two; one module of several layers became as
 * many nodes, `weight_ih_l0`, `weight_ih_l1` … in their order.
 */
function suffixes(layer: LayerFact, layers: readonly LayerFact[]): readonly string[] {
  if (!isRecurrent(layer)) return ['weight'];
  const before = (other: LayerFact): boolean => other.index < layer.index && isRecurrent(other);
  const place = layer.module === undefined ? 0 : layers.filter((l) => l.module === layer.module && before(l)).length;
  return [`weight_ih_l${place}`, `weight_hh_l${place}`];
}

/** The readings of a selector, the likeliest first: later ones are tried where the earlier match nothing. */
function readings(text: string): { readonly text: string; readonly why: string | undefined }[] {
  const bare = text.replace(/(^|[./^(|])module\\?\./g, '$1');
  const found: { text: string; why: string | undefined }[] = [{ text, why: undefined }];
  if (bare !== text && bare !== '') found.push({ text: bare, why: undefined });
  // Distiller's overrides are regular expressions that must match the whole name.
  const { kind } = parsePattern(text);
  if (kind !== 'regex' && /[*+?()|^$\\[\]]/.test(bare) && isRegExp(bare))
    found.push({
      text: `/^(?:${bare})$/`,
      why: `"${text}" matches nothing as a glob; read as the regular expression it is`,
    });
  return found;
}

function isRegExp(source: string): boolean {
  try {
    return new RegExp(source) instanceof RegExp;
  } catch {
    return false;
  }
}

/**
 * Finds the nodes that selectors mean, by the node's name, its weights' names, or the names both have in PyTorch
 * (`layer1.0.conv1`, `layer1.0.conv1.weight`, with or without `module.`). Selectors are names, globs and /regex/
 * (`parsePattern`); `op:Conv` means every node of that operator. `over: 'weights'` leaves out nodes without weights. A selector that matches nothing has an empty list.
 */
export function resolveNames(
  selectors: Iterable<string>,
  layers: readonly LayerFact[],
  over: 'weights' | 'layers' = 'weights',
): Resolution {
  const candidates = over === 'weights' ? layers.filter((layer) => layer.weights.length > 0) : layers;
  const inner = containers(layers);
  const notes: string[] = [];
  const matches = new Map<string, readonly Match[]>();
  for (const selector of selectors) {
    let found: readonly Match[] = [];
    for (const { text, why } of readings(selector)) {
      const { matches: test, kind } = parsePattern(text);
      found = text.startsWith('op:')
        ? candidates.filter(({ opType }) => test(`op:${opType}`)).map((layer) => ({ layer, weights: layer.weights }))
        : candidates.flatMap((layer) => matchLayer(test, layer, inner, layers));
      if (found.length === 0) continue;
      if (why !== undefined) notes.push(why);
      if (kind === 'name') notes.push(...translated(selector, found));
      break;
    }
    if (found.length === 0) {
      found = classifier(selector, candidates);
      notes.push(...translated(selector, found));
    }
    matches.set(selector, found);
  }
  return { matches, notes };
}

/** Which selector has the say over each node and each weight. */
export interface Assignment {
  /** Node name → selector. */
  readonly nodes: ReadonlyMap<string, string>;
  /** Weight name → selector. */
  readonly weights: ReadonlyMap<string, string>;
  readonly notes: readonly string[];
}

/**
 * Ordered selectors, the first that matches wins; a bare `'*'` is asked last wherever it stands, as in Distiller's
 * `levels: {'*': 0.5, fc: 0.7}`. Nodes and weights that none matches are not in the result.
 */
export function assignNames(
  selectors: readonly string[],
  layers: readonly LayerFact[],
  over: 'weights' | 'layers' = 'weights',
): Assignment {
  const { matches, notes } = resolveNames(selectors, layers, over);
  const order = [...selectors.filter((s) => s !== '*'), ...selectors.filter((s) => s === '*')];
  const nodes = new Map<string, string>();
  const weights = new Map<string, string>();
  for (const selector of order)
    for (const { layer, weights: meant } of matches.get(selector) ?? []) {
      if (!nodes.has(layer.node)) nodes.set(layer.node, selector);
      for (const weight of meant) if (!weights.has(weight)) weights.set(weight, selector);
    }
  return { nodes, weights, notes };
}

// Functional calls (F.relu) stand directly in a module that has modules of its own: that module's name does not mean them.
function containers(layers: readonly LayerFact[]): Set<string> {
  const found = new Set<string>();
  for (const { module } of layers)
    for (let dot = module?.lastIndexOf('.') ?? -1; dot > 0; dot = module!.lastIndexOf('.', dot - 1))
      found.add(module!.slice(0, dot));
  return found;
}

function matchLayer(
  test: (name: string) => boolean,
  layer: LayerFact,
  inner: ReadonlySet<string>,
  layers: readonly LayerFact[],
): Match[] {
  const { node, module, weights } = layer;
  const named = module !== undefined && (weights.length > 0 || !inner.has(module));
  if (test(node) || (named && test(module))) return [{ layer, weights }];
  const ends = suffixes(layer, layers);
  const meant = weights.filter((name, i) => test(name) || (named && test(`${module}.${ends[i] ?? 'weight'}`)));
  return meant.length > 0 ? [{ layer, weights: meant }] : [];
}

// The same network calls its classifier fc in Distiller and torchvision, linear or classifier elsewhere: where a model has
// one fully connected layer only, each of these words means it.
const classifierWords = new Set(['fc', 'linear', 'classifier', 'head']);

function classifier(selector: string, candidates: readonly LayerFact[]): Match[] {
  const word = selector.replace(/^module\./, '').replace(/\.weight$/, '');
  const dense = candidates.filter(
    ({ opType, weights }) => weights.length > 0 && (opType === 'Gemm' || opType === 'MatMul'),
  );
  const [layer] = dense;
  if (!classifierWords.has(word) || layer === undefined || dense.length > 1) return [];
  return [{ layer, weights: layer.weights }];
}

function translated(selector: string, found: readonly Match[]): string[] {
  return found
    .filter(({ layer, weights }) => selector !== layer.node && !weights.includes(selector))
    .map(
      ({ layer, weights }) => `${selector} is ${weights.length > 0 ? `${weights.join(', ')} of ` : ''}${layer.node}`,
    );
}

/** Everything a selector can name, for suggestions: PyTorch's names first, as they are the ones people write. */
function selectableNames(layers: readonly LayerFact[], over: 'weights' | 'layers' = 'weights'): string[] {
  const candidates = over === 'weights' ? layers.filter((layer) => layer.weights.length > 0) : layers;
  const inner = containers(layers);
  const modules = candidates.flatMap(({ module, weights }) =>
    module !== undefined && (weights.length > 0 || !inner.has(module)) ? [module] : [],
  );
  const dotted = over === 'weights' ? modules.map((module) => `${module}.weight`) : [];
  return [...new Set([...modules, ...dotted, ...candidates.flatMap(({ node, weights }) => [...weights, node])])];
}

/** What to try instead of a selector that matches nothing: a sentence, or nothing where nothing is near. */
export function suggestSelector(selector: string, layers: readonly LayerFact[], over: 'weights' | 'layers'): string {
  const bare = selector.replace(/(^|\.)module\./g, '$1');
  const operators = [...new Set(layers.map(({ opType }) => `op:${opType}`))];
  const names = selector.startsWith('op:') ? operators : selectableNames(layers, over);
  if (parsePattern(selector).kind === 'name') {
    if (names.some((name) => name.startsWith(`${bare}.`))) return ` (did you mean "${bare}.*"?)`;
    const near = didYouMean(bare, names);
    if (near !== '') return near;
  }
  return names.length === 0
    ? ' (there are none)'
    : ` (there are: ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''})`;
}
