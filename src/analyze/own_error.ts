import type { Batch, Feeds, Tensor } from '../data/types.ts';
import { makeValue } from '../graph/build.ts';
import { edit, type Draft } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { isMove } from '../graph/ops.ts';
import type { NodeProto, TensorProto } from '../graph/proto.ts';
import { initializers, isOp, layerName, modelInputs, producers, reads, subgraphs } from '../graph/query.ts';
import { dimsOf, tensorData, typeOf } from '../graph/tensor.ts';
import { decibels, errorSums } from '../numerics/error.ts';
import { isFloat, numbersOf } from '../metrics/select.ts';
import { piecesOf, realRows } from '../runtime/capture.ts';
import { expose } from '../runtime/expose.ts';
import { planFor } from '../runtime/plan.ts';
import { withSession } from '../runtime/session.ts';
import { given } from '../util/must.ts';
import { comparedBytes, type LayerErrorOptions } from './layer_error.ts';

/**
 * The error that a layer makes itself, apart from what it inherits. Its output in the quantized model is compared with the float
 * layer's on the very inputs that reach it there, so that earlier layers' errors are in both; all in dB against the energy of
 * the float model's output.
 */
export interface OwnError {
  readonly layer: string;
  /** The value that the layer reads, by the float model's name. */
  readonly value: string;
  /** What it reads in the quantized model, restored from codes; undefined where that is not rounded. */
  readonly rounded: string | undefined;
  /** By its inputs' and its weights' rounding together. */
  readonly own: number;
  /** By the rounding and clipping of its inputs alone, at the output; ∞ where they are not quantized. */
  readonly input: number;
  /** By what is left of its own error: its weights and sums; ∞ for an operator without weights. */
  readonly weights: number;
  /** By the inputs that earlier layers have changed, through the float layer. */
  readonly inherited: number;
}

/** A node that both models have, and where its inputs are found in the quantized one. */
interface Site {
  readonly layer: string;
  readonly node: NodeProto;
  /** Of each activation that it reads: the float value where it comes from, the nodes that only move it, and what stands for it. */
  readonly inputs: readonly Source[];
  readonly output: string;
  /** The output's name in the quantized model. */
  readonly quantized: string;
}

interface Move {
  readonly node: NodeProto;
  /** Of its outputs, the one that is read. */
  readonly output: string;
}

interface Source {
  readonly index: number;
  readonly value: string;
  readonly moves: readonly Move[];
  /** In the quantized model: the value before it is rounded, and after, if it is. */
  readonly before: string;
  readonly after: string | undefined;
}

/**
 * Measures every node whose inputs or weights are quantized. Runs both models over the same batches; the float one carries each such node
 * twice more, fed with what the quantized model computed, on the same weights. Values are taken in groups of at most `memoryLimit` bytes.
 */
export async function ownErrors(
  float: Model,
  quantized: Model,
  batches: () => AsyncIterable<Batch>,
  options: LayerErrorOptions = {},
): Promise<OwnError[]> {
  const found = sitesOf(float, quantized);
  if (found.length === 0) return [];
  // A site's output three times, and about as much for its inputs.
  const limit = (options.memoryLimit ?? 2 * comparedBytes) / 6;
  const outputs = found.map(({ output }) => output);
  const plan = await planFor(float, batches, outputs, limit);
  const types = new Map(modelInputs(float).map(({ name, type }) => [name, type]));
  const isReal = (value: string): boolean => (plan.shapes.get(value)?.type ?? types.get(value)) === 'float32';
  // Indices and masks are the same in both models: a site reads them where it stands.
  const sites = found.flatMap((site): Site[] => {
    const inputs = site.inputs.filter(({ value }) => isReal(value));
    return inputs.length > 0 && isReal(site.output) ? [{ ...site, inputs }] : [];
  });
  const results = new Map<Site, Sums>();
  for (const pass of plan.passes) {
    const group = sites.filter(({ output }) => pass.includes(output));
    const { model, names } = withFragments(float, group);
    const wanted = [...new Set(group.flatMap((site) => [site.quantized, ...captured(site)]))];
    const fed = new Set(quantized.graph.input.map(({ name }) => name));
    const computed = wanted.filter((name) => !fed.has(name));
    await withSession(expose(quantized, computed), options, (candidate) =>
      withSession(model, options, async (reference) => {
        for await (const piece of piecesOf(batches(), plan, options.signal)) {
          const got: Feeds = { ...piece.feeds, ...(await candidate.run(piece.feeds)) };
          const extra = Object.fromEntries(
            group.flatMap((site) =>
              given(names.get(site), site.layer).feeds.map(({ name, from }) => [name, given(got[from], from)]),
            ),
          );
          const made = await reference.run({ ...piece.feeds, ...extra });
          for (const site of group) {
            const { exact, rounded } = given(names.get(site), site.layer);
            const rows = (tensor: Tensor | undefined): Tensor => realRows(given(tensor, site.layer), piece);
            const [y, same, off, now] = [made[site.output], made[exact], made[rounded], got[site.quantized]].map(
              rows,
            ) as [Tensor, Tensor, Tensor, Tensor];
            add(results, site, y, same, off, now);
          }
        }
      }),
    );
  }
  return sites.flatMap((site) => {
    const sums = results.get(site);
    if (!sums) return [];
    const dB = (noise: number): number => decibels(sums.signal, noise);
    return [
      {
        layer: site.layer,
        value: site.inputs[0]?.value ?? '',
        rounded: site.inputs[0]?.after,
        own: dB(sums.own),
        input: dB(sums.input),
        weights: dB(sums.weights),
        inherited: dB(sums.inherited),
      },
    ];
  });
}

interface Sums {
  signal: number;
  inherited: number;
  input: number;
  weights: number;
  own: number;
}

/** `y` in float, `same` the float layer on the quantized model's values, `off` on these rounded, `now` as the quantized model has it. */
function add(results: Map<Site, Sums>, site: Site, y: Tensor, same: Tensor, off: Tensor, now: Tensor): void {
  const all = [y, same, off, now];
  if (!all.every((tensor) => isFloat(tensor) && tensor.dims.join() === y.dims.join())) return;
  const [a, b, c, d] = all.map(numbersOf) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const sums = results.get(site) ?? { signal: 0, inherited: 0, input: 0, weights: 0, own: 0 };
  const inherited = errorSums(a, b);
  sums.signal += inherited.signal;
  sums.inherited += inherited.noise;
  sums.input += errorSums(b, c).noise;
  sums.weights += errorSums(c, d).noise;
  sums.own += errorSums(b, d).noise;
  results.set(site, sums);
}

const captured = ({ inputs }: Site): string[] =>
  inputs.flatMap(({ before, after }) => (after === undefined ? [before] : [before, after]));

/** Nodes of the float model that the quantized one has too, with another weight or other inputs. */
function sitesOf(float: Model, quantized: Model): Site[] {
  const [constants, made] = [initializers(float.graph), producers(float.graph)];
  const now = producers(quantized.graph);
  const stored = initializers(quantized.graph);
  const roots = constantRoots(float);
  // Other values under the same name, or made from codes or float16 by a node.
  const other = (name: string): boolean => {
    const [mine, theirs] = [constants.get(name), stored.get(name)];
    if (theirs === undefined) return now.has(name);
    return mine !== theirs && mine !== undefined && !sameTensor(mine, theirs);
  };
  const twins = new Map(quantized.graph.node.map((node) => [layerName(node), node]));
  const fed = new Set(quantized.graph.input.map(({ name }) => name));
  const has = (value: string): boolean => now.has(value) || fed.has(value);
  return float.graph.node.flatMap((node): Site[] => {
    const twin = twins.get(layerName(node));
    const output = node.output[0] ?? '';
    if (!twin || isMove(node) || subgraphs(node).length > 0 || isOp(node, 'Relu', 'Clip')) return [];
    const quantizedOutput = beforeRounding(now, output);
    if (!has(quantizedOutput)) return [];
    const inputs = node.input.flatMap((name, index): Source[] => {
      if (name === '' || roots.has(name)) return [];
      const moves: Move[] = [];
      let value = name;
      for (let from = made.get(value); from && isMove(from); from = made.get(value)) {
        const [moved = ''] = from.input;
        // A table is no activation: what is gathered from it is.
        if (roots.has(moved)) break;
        moves.unshift({ node: from, output: value });
        value = moved;
      }
      const before = beforeRounding(now, value);
      const read = twin.input[index] ?? '';
      // Rounded: what restores it is read in the value's place.
      const after = read !== name && restores(now, read) ? read : undefined;
      return [{ index, value, moves, before, after }];
    });
    if (inputs.length === 0 || !inputs.every(({ before }) => has(before))) return [];
    // What the first model rounds too is none of the second's own errors: there is no float layer to compare with.
    if (inputs.some(({ value }) => restores(made, value))) return [];
    const weights = node.input.some((name, i) => {
      const from = roots.get(name);
      return from !== undefined && (twin.input[i] !== name || [...from].some(other));
    });
    const changed = twin.op_type !== node.op_type || weights || inputs.some(({ after }) => after !== undefined);
    return changed ? [{ layer: layerName(node), node, inputs, output, quantized: quantizedOutput }] : [];
  });
}

/** Values that depend on no input of the model, each with the stored tensors that it is computed from. */
function constantRoots({ graph }: Model): Map<string, ReadonlySet<string>> {
  const roots = new Map(graph.initializer.map(({ name }) => [name, new Set([name])]));
  for (const node of graph.node) {
    const from = [...reads(node)].map((name) => roots.get(name));
    if (from.includes(undefined)) continue;
    const all = new Set(from.flatMap((names) => [...(names ?? [])]));
    for (const name of node.output) if (name !== '') roots.set(name, all);
  }
  return roots;
}

/** Texts are no weights: those are taken for equal. */
const sameTensor = (a: TensorProto, b: TensorProto): boolean =>
  typeOf(a) === 'string' ||
  (dimsOf(a).join() === dimsOf(b).join() && typeOf(a) === typeOf(b) && Buffer.compare(bytesOf(a), bytesOf(b)) === 0);

const bytesOf = (tensor: TensorProto): Uint8Array => {
  const data = tensorData(tensor);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
};

const restores = (made: ReadonlyMap<string, NodeProto>, name: string): boolean => {
  const node = made.get(name);
  const codes = node && isOp(node, 'DequantizeLinear') ? made.get(node.input[0] ?? '') : undefined;
  return codes !== undefined && isOp(codes, 'QuantizeLinear');
};

/** A graph output gives its name to what restores it: the value before it was rounded. */
function beforeRounding(made: ReadonlyMap<string, NodeProto>, name: string): string {
  if (!restores(made, name)) return name;
  const restorer = given(made.get(name), name);
  return given(made.get(restorer.input[0] ?? ''), name).input[0] ?? '';
}

interface Fragment {
  readonly exact: string;
  readonly rounded: string;
  readonly feeds: readonly { readonly name: string; readonly from: string }[];
}

/** The float model with each site's node twice more: on the quantized model's values before they are rounded, and after. */
function withFragments(
  float: Model,
  sites: readonly Site[],
): { readonly model: Model; readonly names: ReadonlyMap<Site, Fragment> } {
  const names = new Map<Site, Fragment>();
  const model = edit(float, (draft) => {
    const fed = new Map<string, string>();
    const feed = (from: string): string => {
      const name = fed.get(from) ?? draft.freshName(`${from}_given`);
      if (!fed.has(from)) draft.addInput(makeValue(name, 'float32'));
      fed.set(from, name);
      return name;
    };
    for (const site of sites) {
      const copy = (input: (source: Source) => string): string => {
        const own = site.node.input.map((name, i) => {
          const source = site.inputs.find(({ index }) => index === i);
          return source ? input(source) : name;
        });
        return copied(draft, site.node, own, site.output);
      };
      const before = ({ before, moves }: Source): string =>
        moves.reduce((value, move) => moved(draft, move, value), feed(before));
      const exact = copy(before);
      const rounded = site.inputs.some(({ after }) => after !== undefined)
        ? copy((source) => (source.after === undefined ? before(source) : feed(source.after)))
        : exact;
      const froms = captured(site);
      names.set(site, { exact, rounded, feeds: froms.map((from) => ({ from, name: feed(from) })) });
    }
    const outputs = sites.flatMap((site) => {
      const { exact, rounded } = given(names.get(site), site.layer);
      return [site.output, exact, rounded];
    });
    draft.setOutputs([...new Set(outputs)].map((name) => makeValue(name, 'float32')));
  });
  return { model, names };
}

const moved = (draft: Draft, { node, output }: Move, from: string): string =>
  copied(draft, node, [from, ...node.input.slice(1)], output);

/** The node once more, on other inputs; gives the name of that of its outputs. */
function copied(draft: Draft, node: NodeProto, input: readonly string[], wanted: string): string {
  const output = node.output.map((name) => (name === '' ? '' : draft.freshName(`${name}_again`)));
  draft.addNode({ ...node, name: draft.freshName(`${layerName(node)}_again`), input: [...input], output });
  return given(output[node.output.indexOf(wanted)], wanted);
}
