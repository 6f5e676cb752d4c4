import type { Feeds, Tensor } from '../../data/types.ts';
import { elementCount } from '../../graph/tensor.ts';
import { given } from '../../util/must.ts';
import { bytesOf, settled } from './arrays.ts';
import { byteFeeds, productGraph } from './graphs.ts';
import { codesAt, graphFor, summed, type Bench, type Machine } from './machine.ts';
import type { Codes, ProductStep, Sums } from './steps.ts';

/** Runs a product on devices that read the same: exact sums once, then what each makes of them. */
export async function runProduct(machine: Machine, benches: readonly Bench[], step: ProductStep): Promise<void> {
  const { values } = given(benches[0], 'a device');
  const data = codesAt(values, step.data);
  const sums = await accumulate(machine, step, data, step.other && codesAt(values, step.other));
  const done: { readonly bench: Bench; readonly held: Sums; readonly made: Tensor }[] = [];
  for (const bench of benches) {
    const held = (await bench.device.accumulated?.(step, sums, data)) ?? sums;
    const twin = done.find((one) => one.held === held && one.bench.device.scheme === bench.device.scheme);
    const made = twin?.made ?? rescaled(machine, bench, step, held);
    done.push({ bench, held, made });
    bench.values.set(step.out?.value ?? given(step.float, 'a value'), made);
  }
  machine.pool.give(sums.data);
}

function rescaled({ pool }: Machine, { ready }: Bench, step: ProductStep, { dims, data }: Sums): Tensor {
  const inner = innerOf(step, dims);
  if (step.out !== undefined) {
    const rescale = ready.product(step);
    const size = [data.length, inner * step.scales.length] as const;
    const make = (start: number, end: number, into: Int32Array): void =>
      rescale(data.subarray(start, end), inner, into);
    return { type: step.out.code.type, dims, data: settled(pool, step.out, size, make) };
  }
  const real = new Float32Array(data.length);
  const scales = step.scales.map((scale) => Math.fround(step.data.code.scale * scale));
  for (let i = 0; i < real.length; i++)
    real[i] = Math.fround(data[i]!) * scales[scales.length === 1 ? 0 : Math.floor(i / inner) % scales.length]!;
  return { type: 'float32', dims, data: real };
}

/** How many numbers of one output channel follow each other. */
export function innerOf(step: ProductStep, dims: readonly number[]): number {
  return step.as === 'Conv' ? elementCount(dims.slice(2)) : 1;
}

/** The int32 accumulators of a product, bias added; what overflows int32 wraps. */
function accumulate(machine: Machine, step: ProductStep, data: Codes, other: Codes | undefined): Promise<Sums> {
  const x = { dims: data.dims, bytes: bytesOf(data, step.data.code) };
  const w = other && { dims: other.dims, bytes: bytesOf(other, given(step.other, 'a factor').code) };
  const graph = graphFor(machine, step, 'product', () => {
    const { dims, data } = step.weights ?? { dims: [], data: new Int32Array(0) };
    return productGraph(step, x, w ?? { dims, values: data }, step.bias);
  });
  const feeds: Feeds = { ...byteFeeds('x', x.dims, x.bytes), ...(w && byteFeeds('w', w.dims, w.bytes)) };
  return summed(machine, graph, feeds);
}
