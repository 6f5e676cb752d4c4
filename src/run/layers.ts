import { coverage } from '../analyze/coverage.ts';
import { withDecodedWeights } from '../analyze/decoded.ts';
import { layerErrors, layerPairs, type ValuePair } from '../analyze/layer_error.ts';
import type { OwnError } from '../analyze/own_error.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import type { NodeProto, TensorProto } from '../graph/proto.ts';
import { initializers, isOp, layerName, producers } from '../graph/query.ts';
import { tensorData, typeOf } from '../graph/tensor.ts';
import { histogram, type HistogramState } from '../numerics/histogram.ts';
import type { HeldLayer } from '../passes/pass.ts';
import { given } from '../util/must.ts';
import { heldRange, layerFacts } from './layer_facts.ts';
import type { LayerReport } from './report.ts';
import { activationSpread } from './spread.ts';

/** Samples that the per-layer errors are measured on: SQNR in dB settles within a few tenths. */
const errorSamples = 64;

/**
 * What became of each layer: the types it holds and computes in, the kernel onnxruntime really runs for it, and how far its
 * output is from the float model's.
 */
export async function layerReports(
  model: Model,
  float: Model,
  batches: (samples: number) => AsyncIterable<Batch>,
  signal: AbortSignal,
  formats: ReadonlyMap<string, HeldLayer> = new Map(),
): Promise<LayerReport[]> {
  const covered = await coverage(model);
  const seen = outputSpreads(model);
  const errors =
    model === float
      ? []
      : await layerErrors(float, model, layerPairs(float, model), () => batches(errorSamples), {
          signal,
          observe: seen.observe,
        });
  const sqnr = new Map(errors.map((error) => [error.layer, error.sqnr]));
  // Packed codes are what they unpack to; a layer that unpacking renamed is read as the file has it.
  const decoded = await withDecodedWeights(model);
  const looks = [decoded, model].map((one) => ({ nodes: byName(one), stored: storedTypes(one) }));
  const known = covered.map(({ layer, op, kernel, why }) => {
    const found = looks.flatMap(({ nodes, stored }) => {
      const node = nodes.get(layer);
      return node ? [{ node, stored }] : [];
    });
    const kind = productOf(given(found[0], `layer ${layer}`).node);
    const held = (input: number): string => {
      const types = found.map(({ node, stored }) => stored(node, input));
      // Weights that are decoded at load are float32 there, and codes in the file.
      return types.find((type) => type !== 'float32') ?? 'float32';
    };
    const format = formats.get(layer);
    // What is no layer has none: the second operand of a sum is a value.
    const weights = format?.weights ? labelled(format.weights) : kind ? held(kind.weights[0] ?? 1) : '';
    // What a table is looked up with are indices, which no one quantizes.
    const activations = kind?.as === 'Gather' ? '' : (format?.activations ?? held(kind?.data ?? 0));
    // What the file holds in float and runs in integer was quantized by onnxruntime itself.
    const own =
      format !== undefined && kernel === 'float'
        ? 'its format is simulated in float'
        : kernel === 'integer' && weights === 'float32'
          ? `${why}: onnxruntime quantizes its weights at load`
          : why;
    return { layer, op, kernel, why: own, weights, activations, sqnr: sqnr.get(layer) };
  });
  const held = new Map(known.map(({ layer, weights }) => [layer, weights]));
  const facts = await layerFacts(model, float, batches, held, signal);
  const from = fedBy(float, new Set(known.map(({ layer }) => layer)));
  return known.map((one) => {
    const { floatType, ...more } = facts.get(one.layer) ?? { floatType: undefined };
    // What is in no list of codes is held as it is computed: in float16, where the model is of that.
    const activations = one.activations === 'float32' ? (floatType ?? 'float32') : one.activations;
    return { ...one, ...more, activations, input: from(one.layer), activationSpread: seen.spread(one.layer) };
  });
}

/** `nf4`, and the bits of a code where the name does not tell them. */
const labelled = ({ label, bits }: NonNullable<HeldLayer['weights']>): string => `${label}, ${bits} bits`;

/** Layers with the error that each makes itself and what it inherits, where these were measured. */
export function withOwnErrors(layers: readonly LayerReport[], errors: readonly OwnError[]): LayerReport[] {
  const known = new Map(errors.map((error) => [error.layer, error]));
  return layers.map((layer) => {
    const error = known.get(layer.layer);
    return error ? { ...layer, own: error.own, inherited: error.inherited } : layer;
  });
}

/** Histograms of what the layers of the float model give, taken as the values come by. */
function outputSpreads(model: Model): {
  readonly observe: (pair: ValuePair, values: Float32Array | Float64Array) => void;
  readonly spread: (layer: string) => LayerReport['activationSpread'];
} {
  const fold = histogram({ num_bins: 512 });
  const states = new Map<string, { readonly value: string; readonly state: HistogramState }>();
  const ranges = heldRange(model);
  return {
    observe({ layer, quantized }, values) {
      if (!(values instanceof Float32Array) || !values.every(Number.isFinite)) return;
      const { state } = states.get(layer) ?? { state: fold.start() };
      states.set(layer, { value: quantized, state: fold.add(state, { dims: [values.length], data: values }) });
    },
    spread(layer) {
      const seen = states.get(layer);
      return seen && activationSpread(fold.finish(seen.state), ranges(seen.value));
    },
  };
}

/** The layer whose output a layer of the float model reads, if by way of nodes that are none of `layers`. */
function fedBy(float: Model, layers: ReadonlySet<string>): (layer: string) => string | undefined {
  const made = producers(float.graph);
  const nodes = byName(float);
  return (layer) => {
    const node = nodes.get(layer);
    let maker = node && made.get(node.input[productOf(node)?.data ?? 0] ?? '');
    while (maker && !layers.has(layerName(maker))) maker = made.get(maker.input[0] ?? '');
    return maker && layerName(maker);
  };
}

/** Nodes by name. One without a name is called by its output, which may be another's name: the layer of the two is meant. */
function byName({ graph }: Model): ReadonlyMap<string, NodeProto> {
  const layers = graph.node.filter((node) => productOf(node) !== undefined);
  return new Map([...graph.node, ...layers].map((node) => [layerName(node), node]));
}

/** The type that an input of a node is held in: behind DequantizeLinear that of the codes, else what the initializer says. */
function storedTypes(model: Model): (node: NodeProto, input: number) => string {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  const typeOfTensor = (name: string): string | undefined => {
    const tensor = tensors.get(name);
    return tensor && typeOf(tensor);
  };
  const codesOf = (name: string): string | undefined => {
    const tensor = tensors.get(name);
    return tensor && `${typeOf(tensor)}${narrower(tensor)}`;
  };
  return (node, input) => {
    let name = node.input[input] ?? '';
    if (name === '') return '';
    for (
      let from = made.get(name);
      from && isOp(from, 'DequantizeLinear', 'Reshape', 'Transpose', 'Slice', 'Mul', 'Sub', 'Cast');
      from = made.get(name)
    ) {
      const inner = from.input[0] ?? '';
      const computed = made.has(inner);
      // Codes that are computed, by QuantizeLinear or by unpacking, are of the zero point's type.
      if (isOp(from, 'DequantizeLinear') && computed) return typeOfTensor(from.input[2] ?? '') ?? 'uint8';
      name = inner;
    }
    const maker = made.get(name);
    if (maker && isOp(maker, 'QuantizeLinear', 'DynamicQuantizeLinear'))
      return typeOfTensor(maker.input[2] ?? '') ?? 'uint8';
    return codesOf(name) ?? 'float32';
  };
}

/** `, 4 bits` where codes use fewer bits than the type that holds them; nothing for other types, and where all are zero. */
function narrower(tensor: TensorProto): string {
  const type = typeOf(tensor);
  if (type !== 'int8' && type !== 'uint8') return '';
  let most = 0;
  // A code of n bits in two's complement is at least −2^(n−1) and less than 2^(n−1).
  for (const code of tensorData(tensor) as Int8Array | Uint8Array) most = Math.max(most, code < 0 ? -1 - code : code);
  const bits = Math.ceil(Math.log2(most + 1)) + (type === 'int8' ? 1 : 0);
  return most === 0 || bits >= 8 ? '' : `, ${bits} bits`;
}
