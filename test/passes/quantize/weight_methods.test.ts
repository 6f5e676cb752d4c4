import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import { opset } from '../../../src/graph/query.ts';
import { dimsOf, elementCount, makeTensor, tensorData } from '../../../src/graph/tensor.ts';
import type { NumberFormat } from '../../../src/numerics/format.ts';
import { dequantize } from '../../../src/numerics/quantize.ts';
import {
  weightCodes as weightCodesSteps,
  type MethodOptions,
  type WeightMethod,
} from '../../../src/passes/quantize/weight_methods.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { whole } from '../../helpers/whole.ts';

const weightCodes = whole(weightCodesSteps);

const [rows, columns] = [6, 32];
const data = noise(4, rows * columns);
const weightOf = (values: Float32Array, outputs: number) => {
  const model = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', [2, columns])],
    outputs: [makeValue('y', 'float32')],
    initializers: [makeTensor('w', 'float32', [outputs, columns], values)],
    nodes: [makeNode('Gemm', ['x', 'w'], ['y'], { transB: 1 })],
  });
  return layers(model).layers[0]!.weight;
};
const format = { kind: 'int', bits: 3, signed: true, symmetric: true } as const;
const plain = { format, block: 16, damping: 0.01, order: 'natural', zero_points: 'integer', lp_norm: 0.7, moments: undefined } as const; // prettier-ignore
const found = (method: WeightMethod, more: Partial<MethodOptions> = {}, values = data) =>
  weightCodes(weightOf(values, values.length / columns), { ...plain, method, ...more });
const restored = (method: WeightMethod, more: Partial<MethodOptions> = {}): Float32Array => {
  const { codes, params } = found(method, more);
  return dequantize(codes, [rows, columns], params);
};
const squared = (back: Float32Array): number => data.reduce((sum, w, i) => sum + (w - back[i]!) ** 2, 0);

/** Second moments that are those of numbers with nothing in common, in which no error makes up for another. */
const apart = (groups: number) => {
  const gram = new Float64Array(groups * columns * columns);
  for (let g = 0; g < groups; g++)
    for (let c = 0; c < columns; c++) gram[g * columns * columns + c * (columns + 1)] = 1 + g;
  return { groups, gram };
};
/** Those of numbers that go together. */
const together = (groups: number) => {
  const x = noise(5, groups * 8 * columns).map((v, i) => v + 2 * Math.sin(Math.floor(i / columns)));
  const gram = new Float64Array(groups * columns * columns);
  for (let g = 0; g < groups; g++)
    for (let s = 0; s < 8; s++)
      for (let a = 0; a < columns; a++)
        for (let b = 0; b < columns; b++)
          gram[(g * columns + a) * columns + b]! += x[(g * 8 + s) * columns + a]! * x[(g * 8 + s) * columns + b]!;
  return { groups, gram };
};
/** Error of the outputs, Σ δ·H·δ over the rows, which fall into groups in order. */
const ofOutputs = (back: Float32Array, { groups, gram }: ReturnType<typeof together>): number => {
  let sum = 0;
  for (let r = 0; r < rows; r++)
    for (let a = 0; a < columns; a++)
      for (let b = 0; b < columns; b++) {
        const g = Math.floor((r * groups) / rows);
        const [da, db] = [a, b].map((c) => data[r * columns + c]! - back[r * columns + c]!) as [number, number];
        sum += da * gram[(g * columns + a) * columns + b]! * db;
      }
  return sum;
};

describe('weightCodes', () => {
  it('rounds to nearest with the extremes of each block', () => {
    const { codes, params } = found('rtn');
    expect(params.granularity).toEqual({ per: 'group', axis: 1, size: 16 });
    expect(params.scale).toHaveLength(rows * 2);
    const back = dequantize(codes, [rows, columns], params);
    data.forEach((w, i) => {
      const block = Math.floor(i / 16);
      const most = Math.max(...data.subarray(16 * block, 16 * block + 16).map(Math.abs));
      // Of 3 bits, 2·most is spread over 7 steps; half a step, and one at the end that has no code.
      expect(Math.abs(w - back[i]!)).toBeLessThanOrEqual(most / 3.5);
    });
    expect(found('rtn', { block: null }).params).toMatchObject({ granularity: { per: 'channel', axis: 0 } });
    expect(found('rtn', { block: 64 }).params.granularity).toEqual({ per: 'group', axis: 1, size: columns });
  });

  it('searches scales of less error', () => {
    expect(squared(restored('mse'))).toBeLessThan(squared(restored('rtn')));
    // GPTQ of which nothing is known searches too.
    expect(found('gptq')).toEqual(found('mse'));
  });

  it("keeps HQQ's zero points as they come out where they are asked for", () => {
    const uint = { kind: 'int', bits: 3, signed: false, symmetric: false } as const;
    const [whole, real] = [found('hqq', { format: uint }), found('hqq', { format: uint, zero_points: 'float' })];
    expect(whole.zeros).toBeUndefined();
    expect(whole.params.zeroPoint.some((z) => z !== 0)).toBe(true);
    expect([...real.zeros!].some((z) => !Number.isInteger(z))).toBe(true);
    expect(real.zeros).toHaveLength(rows * 2);
  });

  it('of GPTQ are those of searched rounding where no error can make up for another', () => {
    expect(squared(restored('gptq', { moments: apart(1) }))).toBeLessThanOrEqual(squared(restored('rtn')));
    const [one, two] = [restored('gptq', { moments: apart(1) }), restored('gptq', { moments: apart(2) })];
    expect(two).toEqual(one);
  });

  it.each([null, 16])(
    'of GPTQ have less error of the outputs, each group by its own moments, blocks of %s',
    (block) => {
      for (const groups of [1, 2, 3]) {
        const moments = together(groups);
        const error = ofOutputs(restored('gptq', { block, moments }), moments);
        expect(error).toBeLessThan(ofOutputs(restored('mse', { block }), moments));
        // Rows of a group are a layer of their own.
        const all = found('gptq', { block, moments });
        const [each, scales] = [rows / groups, all.params.scale.length / groups];
        for (let g = 0; g < groups; g++) {
          const part = data.slice(g * each * columns, (g + 1) * each * columns);
          const gram = moments.gram.slice(g * columns ** 2, (g + 1) * columns ** 2);
          const own = found('gptq', { block, moments: { groups: 1, gram } }, part);
          expect(all.codes.slice(g * each * columns, (g + 1) * each * columns)).toEqual(own.codes);
          expect(all.params.scale.slice(g * scales, (g + 1) * scales)).toEqual(own.params.scale);
          expect(all.params.zeroPoint.slice(g * scales, (g + 1) * scales)).toEqual(own.params.zeroPoint);
        }
      }
    },
  );
});

describe('weights_only: widths', () => {
  const net: Model = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', 32])],
    outputs: [makeValue('y', 'float32', ['N', 8])],
    initializers: [weight('w1', [32, 32], 1), weight('w2', [32, 8], 2)],
    nodes: [
      makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
      makeNode('Tanh', ['h'], ['t']),
      makeNode('MatMul', ['t', 'w2'], ['y'], {}, { name: 'two' }),
    ],
  });
  const int = (bits: number): NumberFormat => ({ kind: 'int', bits, signed: true, symmetric: true });
  const quantized = async (
    options: object,
    plan: [string, { weights?: NumberFormat }][] = [],
    more: object = {},
    sample = 1,
  ) => {
    // prettier-ignore
    const feeds = [{ x: floats(noise(1, 32 * sample), [sample, 32]) }];
    const context = testContext({ calibration: feeds, reference: net, plan: new Map(plan), ...more });
    return weightsOnlyQuantizer.apply(net, weightsOnlyQuantizer.options.parse(options), context);
  };
  const widths = (changed: readonly { layer: string; text: string }[]): string =>
    changed.map(({ layer, text }) => `${layer} ${/int(\d+)/.exec(text)?.[1]}`).join(', ');

  // Operator sets by ONNX: int4 from 21 on, int2 from 25 on, blocks of DequantizeLinear from 21 on.
  it.each<[object, [string, { weights?: NumberFormat }][], string, number]>([
    [{}, [], 'one 8, two 8', 13],
    [{ block_size: 16 }, [], 'one 8, two 8', 21],
    [{ bits_weights: 4 }, [], 'one 4, two 4', 21],
    [{}, [['one', { weights: int(3) }]], 'one 3, two 8', 21],
    [{}, [['one', { weights: int(2) }], ['two', {}]], 'one 2, two 8', 25], // prettier-ignore
    [{}, [['two', { weights: { kind: 'float', bits: 32 } }]], 'one 8', 13],
    [{ overrides: { one: { bits_weights: 2 } } }, [['one', { weights: int(3) }]], 'one 2, two 8', 25],
    [{ overrides: { one: { bits_weights: null } } }, [], 'two 8', 13],
    [{ overrides: { one: {} } }, [], 'one 8, two 8', 13],
  ])('of %j and the plan %j: %s', async (options, plan, wanted, version) => {
    const { changed, model, skipped } = await quantized(options, plan);
    expect(widths(changed)).toBe(wanted);
    expect(opset(model)).toBe(version);
    expect(skipped.map(({ text }) => text)).toEqual(Array(2 - changed.length).fill('left in float by the schedule'));
  });

  it('refuse a coded step, and say how to ask for another', async () => {
    const coded = quantized({}, [['one', { weights: { kind: 'coded', bits: 3, step: 0.1 } }]]);
    await expect(coded).rejects.toMatchObject({ code: 'schedule', at: 'one', hint: expect.stringMatching(/WeightOnlyQuantizer/) as unknown }); // prettier-ignore
  });

  it.each([
    [8, false],
    [9, true],
  ])('say of %d rows at once whether they are many: %s', async (sample, many) => {
    const { notes } = await quantized({ bits_weights: 4 }, [], {}, sample);
    expect(notes?.filter((note) => note.includes(`${sample} rows a sample`))).toHaveLength(many ? 2 : 0);
  });

  it('say how many weights share a scale', async () => {
    expect((await quantized({})).changed[0]?.text).toContain('one scale a channel');
    expect((await quantized({ block_size: 32 })).changed[0]?.text).toContain('one scale for 32');
  });

  it('of GPTQ are found once for all trials that give a layer the same', async () => {
    // Of more than twice as many inputs as a column has: fewer are tried on part of them first.
    const cache = new Map<string, unknown>();
    const calls: string[][] = [];
    const own = testContext({ calibration: [{ x: floats(noise(1, 32 * 96), [96, 32]) }] });
    const seen = (list: readonly string[]): void => void calls.push([...list]);
    const more = {
      cache,
      capture: (m: Model, values: readonly string[], samples?: number) => (
        seen(values),
        own.capture(m, values, samples)
      ),
      collect: ((m, wanted, ...rest) => (
        seen([...wanted.keys()]),
        own.collect(m, wanted, ...rest)
      )) as typeof own.collect,
    };
    const options = { bits_weights: 4, method: 'gptq' };
    const first = await quantized(options, [], more, 96);
    const looked = calls.length;
    expect(looked).toBeGreaterThan(0);
    const second = await quantized(options, [], more, 96);
    expect(calls).toHaveLength(looked);
    expect(second.changed).toEqual(first.changed);
    expect(first.changed.map(({ text }) => text)).toEqual(Array(2).fill(expect.stringMatching(/\(gptq\)/)));
    // Another width of one layer looks at that alone.
    await quantized({ ...options, overrides: { two: { bits_weights: 3 } } }, [], more, 96);
    expect(calls.slice(looked).flat()).not.toContain('x');
    expect(calls.slice(looked).flat()).toContain('t');
  });

  it('stop where the run is interrupted, and tell how far they are', async () => {
    await expect(quantized({}, [], { signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped');
    const told: [number, string | undefined][] = [];
    await quantized({}, [], { progress: (done: number, doing?: string) => told.push([done, doing]) });
    expect(told).toEqual([
      [0, expect.stringContaining('w1')],
      [0.5, expect.stringContaining('w2')],
    ]);
  });

  it('as a strength are weakened bit by bit, up to 8', () => {
    const strength = weightsOnlyQuantizer.strength!;
    const options = weightsOnlyQuantizer.options.parse({ bits_weights: 6 });
    expect(strength.levels?.(options).map((t) => strength.at(options, t))).toEqual([6, 7, 8].map((bits_weights) => ({ ...options, bits_weights }))); // prettier-ignore
    expect(strength.describe(options)).toBe('weights 6 bit');
  });

  /** x [1, 32] → MatMul → y, with other weights and nodes. */
  const single = (values: Float32Array, more: readonly ReturnType<typeof makeNode>[] = []): Model =>
    makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', [1, 32])],
      outputs: ['y', ...more.flatMap(({ output }) => output)].map((name) => makeValue(name, 'float32')),
      initializers: [makeTensor('w', 'float32', [32, 1], values)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'one' }), ...more],
    });
  const on = async (model: Model, options: object, more: object = {}) => {
    const context = testContext({ calibration: [{ x: floats(noise(1, 32), [1, 32]) }], reference: model, ...more });
    return weightsOnlyQuantizer.apply(model, weightsOnlyQuantizer.options.parse(options), context);
  };

  // −1 … 0.5: symmetric codes of 8 bits leave −128 out, as integer kernels want it; narrower ones use all there are: −63.5 is rounded to even.
  it.each<[number, boolean, number, number]>([
    [8, true, -127, 64],
    [7, true, -64, 32],
    [4, false, 0, 15],
    [8, false, 0, 255],
  ])('in %d bits, symmetric %s, are codes from %d to %d', async (bits_weights, weights_symmetric, low, high) => {
    const values = Float32Array.from({ length: 32 }, (_, i) => -1 + (1.5 * i) / 31);
    const { model } = await on(single(values), { bits_weights, weights_symmetric });
    const codes = model.graph.initializer.find((tensor) => elementCount(dimsOf(tensor)) === 32)!;
    const numbers = [...(tensorData(codes) as Int8Array)];
    expect([Math.min(...numbers), Math.max(...numbers)]).toEqual([low, high]);
  });

  it('leave weights that are not finite, and say why', async () => {
    const { skipped, changed } = await on(single(new Float32Array(32).fill(NaN)), {});
    expect(skipped).toEqual([{ layer: 'one', text: expect.stringMatching(/holds NaN/) as unknown }]);
    expect(changed).toEqual([]);
  });

  it('are found once for layers that share a weight', async () => {
    const told: string[] = [];
    const shared = single(noise(1, 32), [makeNode('MatMul', ['x', 'w'], ['z'], {}, { name: 'two' })]);
    const { changed, model } = await on(
      shared,
      {},
      { progress: (_: number, doing?: string) => told.push(doing ?? '') },
    );
    expect(changed.map(({ layer }) => layer)).toEqual(['one', 'two']);
    expect(told.filter((text) => text.startsWith('rounding'))).toHaveLength(1);
    // Codes, scale and zero point.
    expect(model.graph.initializer).toHaveLength(3);
  });
});
