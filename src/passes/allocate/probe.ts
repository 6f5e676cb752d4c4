import type { Feeds, Tensor } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { modelInputs } from '../../graph/query.ts';
import { comparable } from '../../graph/selections.ts';
import { elementCount } from '../../graph/tensor.ts';
import { errorSums } from '../../numerics/error.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';

/** Measures how far the outputs of a changed model are from the float model's. */
export interface Probe {
  /** Noise-to-signal ratio at the outputs, Σ(y − ŷ)² / Σy² over all samples; the mean of it over several float outputs. */
  noise(candidate: Model): Promise<number>;
  /** That, and the part of the error that lies along the signal: Σ(y − ŷ)·y / Σy², above 0 where the output shrinks. */
  error(candidate: Model): Promise<{ readonly noise: number; readonly along: number }>;
  /** Samples that it really holds. */
  readonly samples: number;
}

/** Bytes of inputs and float outputs that a probe keeps: it runs dozens of candidates on the same samples. */
const room = 128 * 2 ** 20;

/** Noise-to-signal ratio of a candidate whose outputs are no numbers: 300 dB deep, and a number, as sums of damages have to be. */
const nothingLeft = 1e30;

interface Held {
  readonly feeds: Feeds;
  readonly outputs: Feeds;
}

/**
 * Runs the float model once over calibration samples and keeps what went in and out, for as many of them as fit 128 MiB: so a
 * candidate costs one session and one run over them, and no image is decoded twice.
 * @throws QtoolError `data` where there is no sample or the float model's outputs are no numbers, `graph` where no output is of floats.
 */
export async function openProbe(ctx: PassContext, float: Model, samples: number): Promise<Probe> {
  const inputs = modelInputs(float);
  const names = comparable(float, float).compared;
  const held: Held[] = [];
  let bytes = 0;
  let count = 0;
  for await (const values of ctx.capture(float, [...inputs.map((input) => input.name), ...names], samples)) {
    const feeds = Object.fromEntries(inputs.map(({ name, dims }) => [name, filled(values[name] as Tensor, dims?.[0])]));
    const outputs = Object.fromEntries(
      names.map((name) => [name, values[name] as Tensor] as const).filter(([, tensor]) => tensor.type === 'float32'),
    );
    if (Object.keys(outputs).length === 0)
      throw new QtoolError('graph', 'no output of the model is of floats, so that its error cannot be measured');
    const size = [...Object.values(feeds), ...Object.values(outputs)].reduce(
      (sum, { data }) => sum + (ArrayBuffer.isView(data) ? data.byteLength : 0),
      0,
    );
    if (held.length > 0 && bytes + size > room) break;
    held.push({ feeds, outputs });
    bytes += size;
    count += Object.values(outputs)[0]?.dims[0] ?? 1;
  }
  for (const [name, { data }] of held.flatMap(({ outputs }) => Object.entries(outputs)))
    if (!Number.isFinite(errorSums(data as Float32Array, data as Float32Array).signal))
      throw new QtoolError('data', `the output "${name}" of the float model holds NaN on calibration samples: no error can be measured beside it`, { hint: 'are the data and its preprocessing right?' }); // prettier-ignore
  if (held.length === 0) throw new QtoolError('data', 'there is no calibration sample to measure the output error on');
  const error: Probe['error'] = async (candidate) => {
    const sums = new Map<string, { signal: number; noise: number; dot: number }>();
    const { model, named } = comparable(candidate, float);
    for (const { feeds, outputs } of held) {
      ctx.signal.throwIfAborted();
      const computed = await ctx.compute(model, feeds);
      const got = new Map(Object.entries(computed).map(([name, tensor]) => [named.get(name) ?? name, tensor]));
      for (const [name, wanted] of Object.entries(outputs)) {
        const [x, y] = [wanted.data as Float32Array, must(got, name, 'the output').data as Float32Array];
        // Rows that only fill a fixed batch up stand last.
        const { signal, noise, dot } = errorSums(x, y.subarray(0, elementCount(wanted.dims)));
        const sum = sums.get(name) ?? { signal: 0, noise: 0, dot: 0 };
        sums.set(name, { signal: sum.signal + signal, noise: sum.noise + noise, dot: sum.dot + dot });
      }
    }
    const outputs = [...sums.values()];
    const mean = (of: (sum: (typeof outputs)[number]) => number): number =>
      outputs.reduce((total, sum) => total + of(sum) / Math.max(sum.signal, Number.MIN_VALUE), 0) / outputs.length;
    const noise = mean((sum) => sum.noise);
    return Number.isNaN(noise)
      ? { noise: nothingLeft, along: 0 }
      : { noise, along: mean((sum) => sum.signal - sum.dot) };
  };
  return { samples: count, error, noise: async (candidate) => (await error(candidate)).noise };
}

/** The tensor with its last row repeated until it has the rows that the model insists on. */
function filled(tensor: Tensor, rows: number | string | undefined): Tensor {
  const had = tensor.dims[0] ?? 1;
  if (typeof rows !== 'number' || had >= rows || !ArrayBuffer.isView(tensor.data)) return tensor;
  const own = tensor.data as Float32Array;
  const width = own.length / had;
  const data = new (own.constructor as Float32ArrayConstructor)(rows * width);
  for (let row = 0; row < rows; row++) {
    const from = Math.min(row, had - 1) * width;
    data.set(own.subarray(from, from + width), row * width);
  }
  return { type: tensor.type, dims: [rows, ...tensor.dims.slice(1)], data };
}
