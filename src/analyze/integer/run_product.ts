import { elementCount } from '../../graph/tensor.ts';
import { given } from '../../util/must.ts';
import { centred, finish, partsOf, uncentred } from './arrays.ts';
import { productGraph } from './graphs.ts';
import { codesOf, graphFor, Refused, type Bench, type Machine } from './machine.ts';
import { digitsFor, largestOf, type Codes, type ProductStep } from './steps.ts';

/** Runs a product: exact sums, then what the device makes of them. */
export async function runProduct({ machine, device, ready, values }: Bench, step: ProductStep): Promise<void> {
  const data = codesOf(values, step.data);
  const sums = await accumulate(machine, step, data, step.other && codesOf(values, step.other));
  await device.accumulated?.(step, sums, data);
  const inner = innerOf(step, sums.dims);
  if (step.out !== undefined) {
    ready.product(step)(sums.data, inner, sums.data);
    finish(sums.data, step.out);
    values.codes.set(step.out.value, sums);
    return;
  }
  const real = new Float32Array(sums.data.length);
  const scales = step.scales.map((scale) => Math.fround(step.data.code.scale * scale));
  for (let i = 0; i < real.length; i++)
    real[i] = Math.fround(sums.data[i]!) * scales[scales.length === 1 ? 0 : Math.floor(i / inner) % scales.length]!;
  values.tensors.set(given(step.float, 'a value'), { type: 'float32', dims: sums.dims, data: real });
}

/** How many numbers of one output channel follow each other. */
export function innerOf(step: ProductStep, dims: readonly number[]): number {
  return step.as === 'Conv' ? elementCount(dims.slice(2)) : 1;
}

/** The int32 accumulators of a product, bias added; what overflows int32 wraps. */
async function accumulate(machine: Machine, step: ProductStep, data: Codes, other: Codes | undefined): Promise<Codes> {
  const terms = data.dims.at(-1) ?? 0;
  const digits = step.digits ?? digitsFor(terms * largestOf(given(step.other, 'a factor').code), step.data.code);
  if (digits === undefined) throw new Refused(step.layer, `its sums of ${terms} products are too long to be exact`);
  const parts = partsOf(centred(data, step.data.code), digits);
  const factor = other && centred(other, given(step.other, 'a factor').code);
  const graph = graphFor(machine, step, `product ${parts.length}`, () => productGraph(step, parts, factor));
  const feeds = Object.fromEntries(parts.map((part, i) => [`x${i}`, part]));
  const results = await machine.computer.compute(graph, factor ? { ...feeds, w: factor } : feeds);
  const first = given(results.y0, 'a product');
  const sums = uncentred(first, 0);
  for (let part = 1; part < parts.length; part++) {
    const own = given(results[`y${part}`], 'a product').data as Float32Array;
    const unit = 2 ** (digits.bits * part);
    for (let i = 0; i < own.length; i++) sums.data[i] = sums.data[i]! + own[i]! * unit;
  }
  if (step.bias !== undefined) addBias(sums.data, step.bias, innerOf(step, first.dims));
  return sums;
}

function addBias(sums: Int32Array, bias: Int32Array, inner: number): void {
  for (let start = 0, channel = 0; start < sums.length; start += inner) {
    const own = bias[channel]!;
    for (let i = start; i < start + inner; i++) sums[i] = sums[i]! + own;
    channel = channel + 1 === bias.length ? 0 : channel + 1;
  }
}
