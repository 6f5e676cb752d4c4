import { bitsFor, narrowed, ruleBits } from '../../../src/analyze/integer/accumulators.ts';
import { energyOf, picojoules } from '../../../src/numerics/energy.ts';
import { openDevice, openMachine, runDevices } from '../../../src/analyze/integer/execute.ts';
import type { Device } from '../../../src/analyze/integer/machine.ts';
import { saturatePairs } from '../../../src/analyze/integer/pairs.ts';
import { checkQuantized } from '../../../src/analyze/integer/quantized.ts';
import type { Codes, ProductStep, Sums } from '../../../src/analyze/integer/steps.ts';
import { verifyInteger, type IntegerFindings } from '../../../src/analyze/integer/verify.ts';
import type { Batch } from '../../../src/data/types.ts';
import { edit } from '../../../src/graph/edit.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { sqnr } from '../../../src/metrics/sqnr.ts';
import { requantizations } from '../../../src/numerics/requantize/index.ts';
import { onnxruntimeFloat } from '../../../src/numerics/requantize/onnxruntime.ts';
import { openComputer } from '../../../src/runtime/compute.ts';
import { runModel } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';
import { feeds, network, params, qdq, weights } from './network.ts';

const computer = openComputer(500);
afterAll(() => computer.close());

const batch = (seed: number): Batch => ({
  ...{ ids: ['a', 'b', 'c', 'd'], feeds: feeds(seed), targets: [undefined, undefined, undefined, undefined] },
  ...{ count: 4, size: 4 },
});
async function* batches(): AsyncGenerator<Batch> {
  yield await Promise.resolve(batch(20));
  yield { ...batch(21), count: 3 };
}

const verified = (model: Model, more: Partial<Parameters<typeof verifyInteger>[1]> = {}): Promise<IntegerFindings> =>
  verifyInteger(model, {
    ...{ batches, samples: 7, metrics: [sqnr()], schemes: requantizations(), signal: new AbortController().signal },
    progress: () => undefined,
    ...more,
  });

describe('a QDQ graph', () => {
  it('is planned as integer steps, and what is none is named with its reason', async () => {
    const { plan } = await openMachine(network(), computer);
    expect(plan.steps.flatMap((step) => (step.kind === 'float' ? [] : [step.kind]))).toEqual(
      ['product', 'move', 'recode', 'product', 'table', 'pair', 'concat', 'pool', 'move', 'recode', 'product'], // prettier-ignore
    );
    expect(plan.float).toEqual([{ layer: 'softmax', op: 'Softmax', why: 'no integer form of Softmax is known' }]);
  });

  it('comes to what onnxruntime makes of it in float, but for single steps at halves', async () => {
    const model = network();
    const found = await verified(model);
    const own = found.runs.find(({ name }) => name === 'onnxruntime')!;
    // Sums in float32 and in integers differ in the last bits, and round to another code only near a half.
    expect(own.disabled?.steps).toBeLessThanOrEqual(1);
    expect(own.disabled!.differ / own.disabled!.values).toBeLessThan(0.005);
    // 7-bit weights cannot saturate: the kernels of every processor are exact.
    expect(own.all!.differ / own.all!.values).toBeLessThan(0.005);
    const outputs = await runModel(model, feeds(20), 'disabled');
    const machine = await openMachine(model, computer);
    const [got = {}] = await runDevices(machine, [openDevice(machine, { scheme: onnxruntimeFloat })], feeds(20));
    // One step of Softmax's scale times the weights of the last layer.
    for (const [i, y] of Array.from(got.y!.data as Float32Array).entries())
      expect(y).toBeCloseTo((outputs.y!.data as Float32Array)[i]!, 2);
  });

  it('gives a line for each scheme and for onnxruntime itself, cmsis with gemmlowp’s numbers', async () => {
    const { runs, samples } = await verified(network());
    expect(samples).toBe(7);
    expect(runs.map(({ name }) => name)).toEqual(
      ['onnxruntime off', 'onnxruntime all', ...requantizations().map(({ name }) => name), 'x64, no VNNI'], // prettier-ignore
    );
    const of = (name: string) => runs.find((run) => run.name === name);
    expect(of('onnxruntime off')?.disabled).toMatchObject({ differ: 0, steps: 0, first: undefined });
    expect(of('cmsis')?.disabled).toEqual(of('gemmlowp')?.disabled);
    expect(of('shift-8')?.disabled?.differ).toBeGreaterThan(of('gemmlowp')!.disabled!.differ);
    expect(of('gemmlowp')?.metrics[0]?.value).toBeGreaterThan(20);
  });

  it('takes other names than the values have', async () => {
    const renamed = edit(network(), (draft) => {
      for (const [i, node] of draft.nodes().entries()) draft.update(node, { name: `n${i}` });
    });
    expect((await verified(renamed)).layers.map(({ op }) => op)).toEqual(['Conv', 'Conv', 'Gemm']);
  });

  it('refuses a scheme whose factors the model does not fit, and runs the others', async () => {
    const model = edit(network(), (draft) => {
      draft.replace('w1_s', makeTensor('w1_s', 'float32', [], Float32Array.of(2)));
    });
    const { runs } = await verified(model);
    expect(runs.filter(({ refused }) => refused !== undefined).map(({ name }) => name)).toEqual(
      ['qnnpack-q31', 'qnnpack-precise', 'qnnpack-fp32'], // prettier-ignore
    );
    expect(runs.find(({ name }) => name === 'qnnpack-q31')?.refused).toMatch(/^conv1: QNNPACK takes factors/);
  });
});

describe('devices side by side', () => {
  it('give what each gives alone, and share what is the same', async () => {
    const machine = await openMachine(network(127), computer);
    const saturating: Device = {
      scheme: onnxruntimeFloat,
      accumulated: (step, sums, data) => saturatePairs(step, sums, data, new Map()).held,
    };
    const narrow: Device = { scheme: onnxruntimeFloat, accumulated: (_, sums) => narrowed(sums, 10, true) };
    const all = [...requantizations().map((scheme): Device => ({ scheme })), saturating, narrow];
    const devices = all.map((device) => openDevice(machine, device));
    const run = async (some: typeof devices, seed: number) => {
      const seen: [string, number[]][][] = some.map(() => []);
      const same: boolean[][] = [];
      const outputs = await runDevices(machine, some, feeds(seed), (value, codes) => {
        codes.forEach(({ data }, i) => seen[i]!.push([value, [...data]]));
        same.push(codes.map((one) => one === codes[0]));
      });
      return { seen, outputs, same };
    };
    // The second batch is another: what arrays hold from the first must not show.
    for (const seed of [20, 21]) {
      const together = await run(devices, seed);
      for (const [i, device] of devices.entries()) {
        const alone = await run([device], seed);
        expect(together.seen[i]).toEqual(alone.seen[0]);
        expect(together.outputs[i]).toEqual(alone.outputs[0]);
      }
      const names = requantizations().map(({ name }) => name);
      const place = (name: string): number => names.indexOf(name);
      expect(together.seen[place('cmsis')]).toEqual(together.seen[place('gemmlowp')]);
      expect(together.seen[all.length - 1]).not.toEqual(together.seen[place('onnxruntime')]);
      expect(together.same.flat()).toContain(false);
    }
  });
});

describe('accumulators', () => {
  it('need as many bits as their ends do', () => {
    expect([[0, 0], [-1, 0], [0, 1], [-128, 127], [-129, 0], [0, 128], [0, 2 ** 31 - 1]].map(([low, high]) => bitsFor(low!, high!))).toEqual([1, 1, 2, 8, 9, 9, 32]); // prettier-ignore
    expect(ruleBits(64 * 9, 8)).toBeCloseTo(25.17, 2);
  });

  it('are looked at: finished sums, partial sums of any order, the bound of the weights', async () => {
    const model = network();
    const { layers } = await verified(model);
    const seen = new Map<string, { low: number; high: number; below: number; above: number }>();
    const machine = await openMachine(model, computer);
    const device = openDevice(machine, {
      scheme: onnxruntimeFloat,
      accumulated(step, { dims, data: sums }, data) {
        if (step.layer !== 'conv2') return undefined;
        const facts = seen.get(step.layer) ?? { low: 0, high: 0, below: 0, above: 0 };
        seen.set(step.layer, facts);
        // A 1×1 convolution by hand: [N, 8, 4, 4] and [8, 8].
        const [samples = 0, channels = 0, height = 0, width = 0] = dims;
        const places = height * width;
        for (let n = 0; n < samples; n++)
          for (let c = 0; c < channels; c++)
            for (let p = 0; p < places; p++) {
              let [up, down] = [0, 0];
              for (let k = 0; k < 8; k++) {
                const product = data.data[(n * 8 + k) * places + p]! * step.weights!.data[c * 8 + k]!;
                if (product > 0) up += product;
                else down += product;
              }
              expect(sums[(n * channels + c) * places + p]).toBe(up + down);
              facts.low = Math.min(facts.low, up + down);
              facts.high = Math.max(facts.high, up + down);
              facts.below = Math.min(facts.below, down);
              facts.above = Math.max(facts.above, up);
            }
        return undefined;
      },
    });
    for (const seed of [20, 21]) await runDevices(machine, [device], feeds(seed));
    const { low, high, below, above } = seen.get('conv2')!;
    const conv = layers.find(({ layer }) => layer === 'conv2')!;
    expect(conv).toMatchObject({ terms: 8, seen: bitsFor(low, high), partial: bitsFor(below, above) });
    expect(conv.worst).toBeGreaterThanOrEqual(conv.partial!);
    expect(conv.rule).toBe(19);
  });

  it('of a given width wrap or saturate, and those outside are counted', async () => {
    const data = Int32Array.of(127, 128, -128, -129, 300, -70000);
    const [wrapped, cut] = [true, false].map((wraps) => narrowed({ dims: [6], data }, 8, wraps)) as [Sums, Sums];
    expect([...wrapped.data]).toEqual([...Int8Array.from(data)]);
    expect([...cut.data]).toEqual([127, 127, -128, -128, 127, -128]);
    const { runs, layers, accumulator } = await verified(network(), { accumulator: 10 });
    expect(accumulator).toBe(10);
    expect(runs.slice(-2).map(({ name }) => name)).toEqual(['10 bits, wrap', '10 bits, saturate']);
    expect(layers[0]!.outside).toBeGreaterThan(0);
    // Wide enough for all: nothing changes.
    const wide = await verified(network(), { accumulator: 24 });
    const exact = wide.runs.find(({ name }) => name === 'onnxruntime')!;
    expect(wide.layers.every(({ outside }) => outside === 0)).toBe(true);
    for (const run of wide.runs.slice(-2)) expect(run.disabled).toEqual(exact.disabled);
  });
});

describe('sums of two products', () => {
  /** VPMADDUBSW by hand over a convolution's terms in the order row, column, channel. */
  function byHand(step: ProductStep, { dims, data }: Codes, out: readonly number[]) {
    const [, depth = 0, height = 0, width = 0] = dims;
    const [samples = 0, channels = 0, rows = 0, columns = 0] = out;
    const w = step.weights!.data;
    const raw = (n: number, c: number, y: number, x: number): number =>
      y < 0 || x < 0 || y >= height || x >= width ? step.data.code.zeroPoint : data[((n * depth + c) * height + y) * width + x]!; // prettier-ignore
    let saturated = 0;
    const cut = new Map<number, number>();
    for (let n = 0; n < samples; n++)
      for (let m = 0; m < channels; m++)
        for (let y = 0; y < rows; y++)
          for (let x = 0; x < columns; x++) {
            const products: number[] = [];
            for (let i = 0; i < 3; i++)
              for (let j = 0; j < 3; j++)
                for (let c = 0; c < depth; c++) products.push(raw(n, c, y + i - 1, x + j - 1) * w[((m * depth + c) * 3 + i) * 3 + j]!); // prettier-ignore
            for (let k = 0; k < products.length; k += 2) {
              const sum = products[k]! + (products[k + 1] ?? 0);
              const held = Math.max(-32768, Math.min(32767, sum));
              if (held === sum) continue;
              saturated++;
              const at = ((n * channels + m) * rows + y) * columns + x;
              cut.set(at, (cut.get(at) ?? 0) + sum - held);
            }
          }
    return { saturated, cut };
  }

  it('saturate where int16 ends, are counted and taken off', async () => {
    const model = network(127);
    let looked = false;
    const machine = await openMachine(model, computer);
    const device = openDevice(machine, {
      scheme: onnxruntimeFloat,
      accumulated(step, sums, data) {
        if (step.layer !== 'conv1') return undefined;
        looked = true;
        const { saturated, cut } = byHand(step, data, sums.dims);
        const before = sums.data.slice();
        const { held, ...count } = saturatePairs(step, sums, data, new Map());
        expect(saturated).toBeGreaterThan(10);
        expect(count).toEqual({ saturated, pairs: before.length * 14 });
        expect(held.data).toEqual(before.map((value, i) => value - (cut.get(i) ?? 0)));
        // Other devices have the sums too.
        expect(sums.data).toEqual(before);
        return held;
      },
    });
    await runDevices(machine, [device], { x: { ...feeds(1).x!, data: noise(9, 768, 8) } });
    expect(looked).toBe(true);
  });

  it('cannot saturate with 7 bits', async () => {
    const [seven, eight] = [await verified(network(63)), await verified(network(127))];
    expect(seven.layers.map(({ saturated }) => saturated)).toEqual([0, 0, 0]);
    expect(seven.layers.every(({ pairs }) => pairs > 0)).toBe(true);
    expect(eight.layers[0]!.pairs).toBe(seven.layers[0]!.pairs);
  });
});

it('energy is what Horowitz’s table says', () => {
  const { integer, float } = energyOf([
    { macs: 1e6, outputs: 1e3, inputs: 2e3, weights: 4e3, weightBytes: 1, codeBytes: 1 },
  ]);
  expect(picojoules.multiply.float32 / picojoules.multiply.int8).toBeCloseTo(18.5, 10);
  expect(picojoules.add.float32 / picojoules.add.int8).toBeCloseTo(30, 10);
  expect(float.arithmetic).toBeCloseTo(4.6, 10);
  expect(integer.arithmetic).toBeCloseTo(0.3 + 0.0032, 10);
  expect([float.weights, integer.weights]).toEqual([2.56, 0.64]);
  expect([float.activations, integer.activations]).toEqual([0.015, 0.00375]);
  expect(integer.total).toBeCloseTo(integer.arithmetic + integer.weights + integer.activations, 12);
});

describe('what is no int8 model', () => {
  const x = makeValue('x', 'float32', [2, 4]);
  const plain = makeModel({
    inputs: [x],
    outputs: [makeValue('y', 'float32')],
    nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'mm' })],
    initializers: [makeTensor('w', 'float32', [4, 3], noise(1, 12))],
  });
  it('is refused in one line that says how to quantize it', async () => {
    const refusal = (model: Model): unknown => {
      try {
        return checkQuantized(model);
      } catch (error) {
        return error;
      }
    };
    expect(refusal(plain)).toMatchObject({
      code: 'model',
      message: 'the model is a float model: there are no integers to verify',
      hint: expect.stringContaining('--schedule int8') as string,
    });
    const dynamic = makeModel({
      inputs: [x],
      outputs: [makeValue('y', 'int32')],
      nodes: [
        makeNode('DynamicQuantizeLinear', ['x'], ['a', 's', 'z']),
        makeNode('MatMulInteger', ['a', 'w', 'z'], ['y']),
      ],
      initializers: [
        makeTensor(
          'w',
          'int8',
          [4, 3],
          Int8Array.from({ length: 12 }, (_, i) => i - 6),
        ),
      ],
    });
    expect(() => checkQuantized(dynamic)).toThrow(/is quantized dynamically \(DynamicQuantizeLinear\): the scales/);
    const stored = weights('w', [4, 3], 1, 63);
    const half = makeModel({
      inputs: [x],
      outputs: [makeValue('y', 'float32')],
      nodes: [...stored.nodes, makeNode('MatMul', ['x', 'w_d'], ['y'])],
      initializers: stored.initializers,
    });
    expect(() => checkQuantized(half)).toThrow('only the weights of the model are quantized');
    const around = makeModel({
      inputs: [x],
      outputs: [makeValue('y', 'float32')],
      nodes: [...qdq('x', 'x'), makeNode('MatMul', ['x_d', 'w'], ['y'], {}, { name: 'mm' })],
      initializers: [...params('x', 0.1, 3), makeTensor('w', 'float32', [4, 3], noise(1, 12))],
    });
    expect(refusal(around)).toBeUndefined();
    await expect(verified(around)).rejects.toThrow('no layer can run in integers: mm: its weights are float');
  });
});
