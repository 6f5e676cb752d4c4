import { comparable } from '../graph/selections.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { consumers, describeValue, isOp, layerName, producers } from '../graph/query.ts';
import { decibels, errorSums } from '../numerics/error.ts';
import { isFloat, numbersOf } from '../metrics/select.ts';
import { piecesOf, realRows } from '../runtime/capture.ts';
import { exposable, expose } from '../runtime/expose.ts';
import { planFor } from '../runtime/plan.ts';
import { withSession, type SessionOptions } from '../runtime/session.ts';
import { given } from '../util/must.ts';
import { constantValues, layerOf } from './layers.ts';

/** Bytes that one run of one of two compared models returns. */
export const comparedBytes = 64 * 2 ** 20;

/** A value of the float model and the one that stands for it in the quantized model. */
export interface ValuePair {
  readonly layer: string;
  readonly float: string;
  readonly quantized: string;
}

/** How far a layer's output is from float, everything before it quantized as well. */
export interface LayerError extends ValuePair {
  /** Signal-to-quantization-noise ratio, dB: 10·log10(Σx² / Σ(x−y)²) over all samples. */
  readonly sqnr: number;
  /** Largest absolute difference, in the output's unit. */
  readonly worst: number;
}

export interface LayerErrorOptions extends SessionOptions {
  /** Bytes that one run of either model may return; default 64 MiB, which onnxruntime and JavaScript both hold, of two models. */
  readonly memoryLimit?: number;
  readonly signal?: AbortSignal;
  readonly progress?: (samples: number, pass: number) => void;
  /** Sees the float model's values of every pair as they come; they are written over afterwards. */
  readonly observe?: (pair: ValuePair, values: Float32Array | Float64Array) => void;
}

/**
 * The outputs of all layers that both models have, by name: from a layer of the quantized model through the Relu or Clip that
 * its kernel absorbs, and through QuantizeLinear and DequantizeLinear if they follow; so the pair differs by all that
 * quantization does to this output. Layers whose output value the float model does not have are left out.
 */
export function layerPairs(float: Model, quantized: Model): ValuePair[] {
  const inFloat = producers(float.graph);
  const readers = consumers(quantized.graph);
  const constants = constantValues(quantized.graph);
  const follow = (value: string, ...ops: string[]): string | undefined =>
    (readers.get(value) ?? []).find((node) => isOp(node, ...ops))?.output[0];
  return quantized.graph.node.flatMap((node) => {
    if (layerOf(node, constants) === undefined) return [];
    let value = node.output[0] ?? '';
    // Integer products of dynamic quantization, and rows of a quantized table, are scaled to float by what follows.
    for (let steps = 0; steps < 6 && !inFloat.has(value); steps++)
      value = follow(value, 'Cast', 'Mul', 'Add', 'DequantizeLinear') ?? value;
    if (readers.get(value)?.length === 1) value = follow(value, 'Relu', 'Clip') ?? value;
    const codes = follow(value, 'QuantizeLinear');
    const restored = codes === undefined ? undefined : follow(codes, 'DequantizeLinear');
    // A quantized graph output has given its name to the dequantized value: then that is the value of both models.
    // One that is quantized in both is compared as it is restored in both.
    const name = [restored, value].find((candidate) => candidate !== undefined && inFloat.has(candidate));
    if (name === undefined) return [];
    const stand = restored ?? value;
    return [{ layer: layerName(node), float: name, quantized: stand }];
  });
}

/**
 * Runs both models over the same batches and compares the paired values as they come. Bounded as `collect` is: values in
 * groups of at most `memoryLimit` bytes, each in a pass of its own; nothing but sums is kept. Pairs of different shape are left
 * out: channels that were cut have nothing to be compared with; so are integers, which are codes of unknown scale.
 *
 * @throws QtoolError `graph` for a value that one of the models does not compute.
 */
export async function layerErrors(
  float: Model,
  quantized: Model,
  pairs: readonly ValuePair[],
  batches: () => AsyncIterable<Batch>,
  options: LayerErrorOptions = {},
): Promise<LayerError[]> {
  if (pairs.length === 0) return [];
  const all = (which: 'float' | 'quantized'): string[] => pairs.map((pair) => pair[which]);
  exposable(quantized, all('quantized'));
  const plan = await planFor(float, batches, exposable(float, all('float')), options.memoryLimit ?? comparedBytes);
  const sums = pairs.map(() => ({ signal: 0, noise: 0, worst: 0 }));
  const apart = new Set<ValuePair>();
  let samples = 0;
  for (const [pass, group] of plan.passes.entries()) {
    const members = [...pairs.entries()].filter(([, pair]) => group.includes(pair.float));
    const names = (which: 'float' | 'quantized'): string[] => members.map(([, pair]) => pair[which]);
    await withSession(expose(float, names('float')), options, (reference) =>
      withSession(expose(quantized, names('quantized')), options, async (candidate) => {
        for await (const piece of piecesOf(batches(), plan, options.signal)) {
          const [wanted, got] = [await reference.run(piece.feeds), await candidate.run(piece.feeds)];
          for (const [i, pair] of members) {
            const x = given(wanted[pair.float], pair.float);
            const y = given(got[pair.quantized], pair.quantized);
            if (x.dims.join() !== y.dims.join() || !isFloat(x) || !isFloat(y)) {
              apart.add(pair);
              continue;
            }
            const values = numbersOf(realRows(x, piece));
            options.observe?.(pair, values);
            const { signal, noise, worst } = errorSums(values, numbersOf(realRows(y, piece)));
            const sum = sums[i]!;
            sum.signal += signal;
            sum.noise += noise;
            sum.worst = Math.max(sum.worst, worst);
          }
          samples += piece.count;
          options.progress?.(samples, pass);
        }
      }),
    );
  }
  return pairs.flatMap((pair, i) => {
    if (apart.has(pair)) return [];
    const { signal, noise, worst } = sums[i] ?? { signal: 0, noise: 0, worst: 0 };
    return [{ ...pair, sqnr: decibels(signal, noise), worst }];
  });
}

/** Error of a model's float outputs, each as a share of its energy in the float model, summed. 0 where there are none. */
export async function outputError(
  float: Model,
  quantized: Model,
  batches: () => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<number> {
  const { compared, named } = comparable(quantized, float);
  const own = new Map([...named].map(([theirs, name]) => [name, theirs]));
  const others = float.graph.output.filter((output) => !isFloat(describeValue(output)));
  const pairs = compared
    .filter((name) => !others.some((output) => output.name === name))
    .map((name) => ({ layer: name, float: name, quantized: own.get(name) ?? name }));
  const errors = pairs.length === 0 ? [] : await layerErrors(float, quantized, pairs, batches, { signal });
  return errors.reduce((sum, { sqnr }) => sum + 10 ** (-sqnr / 10), 0);
}
