import { readFileSync } from 'node:fs';
import { trainingOpset } from '../../src/autodiff/training_graph.ts';
import type { Feeds } from '../../src/data/types.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { floats, runModel } from '../helpers/context.ts';
import { bools, float32, gradientsOf, int64 } from './differences.ts';

/** As scripts/goldens/gradients.py writes them. */
interface Stored {
  readonly dims: readonly number[];
  /** An operand that is differentiated by, in 64ths, and the gradient by it. */
  readonly '64ths'?: readonly number[];
  readonly gradient?: readonly number[];
  readonly int64?: readonly number[];
  readonly int32?: readonly number[];
  readonly float32?: readonly number[];
  readonly bool?: readonly number[];
}
interface Golden {
  readonly name: string;
  readonly op: string;
  readonly domain?: string;
  readonly opset?: number;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  readonly operands: readonly (Stored | null)[];
  readonly outputs: readonly {
    readonly dims: readonly number[];
    readonly is: readonly number[];
    readonly target: readonly number[];
  }[];
  /** Of a BatchNormalization in training mode: mean and variance as they are kept. */
  readonly running?: readonly (readonly number[])[];
}

const file = new URL('goldens/gradients.json', import.meta.url);
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as { readonly cases: readonly Golden[] };

// Forward and backward run in float32, whose rounding is 6e-8 of a number: sums of some tens of products come to 1e-6 of the largest.
const tolerance = 5e-6;

const parts = (of64: readonly number[]): Float32Array => Float32Array.from(of64, (value) => value / 64);

function modelOf(golden: Golden): Model {
  const { op, domain, operands, outputs } = golden;
  const initializers = operands.flatMap((one, i) => {
    if (!one) return [];
    const { dims } = one;
    const name = `x${i}`;
    if (one['64ths']) return [makeTensor(name, 'float32', dims, parts(one['64ths']))];
    const tensor = one.int32 ? makeTensor('', 'int32', dims, Int32Array.from(one.int32)) : one.int64 ? int64(one.int64, dims) : one.bool ? bools(one.bool.map(Boolean), dims) : float32(one.float32!, dims); // prettier-ignore
    return [{ ...tensor, name }];
  });
  const names = operands.map((one, i) => (one ? `x${i}` : ''));
  const results = outputs.map((_, i) => `y${i}`);
  return makeModel({
    opset: golden.opset ?? trainingOpset,
    inputs: [],
    outputs: results.map((name) => makeValue(name, 'float32')),
    initializers,
    nodes: [makeNode(op, names, results, golden.attributes, { name: 'node', ...(domain !== undefined && { domain }) })],
    ...(domain !== undefined && { domains: { [domain]: 1 } }),
  });
}

/** The largest difference as a share of the largest number. */
function differs(got: ArrayLike<number>, expected: readonly number[]): number {
  const largest = Math.max(1e-3, ...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - got[i]!))) / largest;
}

describe('gradient rules against PyTorch in float64', () => {
  // As they are written for WebGPU they are standard operators too, which the CPU runs.
  const written = (['cpu', 'webgpu'] as const).flatMap((target) =>
    cases.map((one) => [one.name, target, one] as const),
  );
  it.each(written)('%s, written for %s', async (_, target, golden) => {
    const model = modelOf(golden);
    const training = golden.running !== undefined;
    const targets: Feeds = Object.fromEntries(golden.outputs.map(({ dims, target }, i) => [`target_y${i}`, floats(parts(target), dims)])); // prettier-ignore
    const wanted = golden.operands.flatMap((one, i) => (one?.gradient ? [`x${i}`] : []));
    const found = await gradientsOf(model, wanted, { batchNorm: training ? 'train' : 'frozen', target }, targets); // prettier-ignore
    for (const level of ['disabled', 'all'] as const) {
      const forward = await runModel(model, {}, level);
      for (const [i, { is }] of golden.outputs.entries())
        if (!training) expect(differs(forward[`y${i}`]!.data as Float32Array, is)).toBeLessThan(tolerance);
      const numbers = (name: string): Float32Array => found[level].get(name)!.data as Float32Array;
      for (const name of wanted)
        expect(differs(numbers(name), golden.operands[Number(name.slice(1))]!.gradient!)).toBeLessThan(tolerance);
      golden.running?.forEach((kept, i) => expect(differs(numbers(`x${i + 3}`), kept)).toBeLessThan(tolerance));
    }
  });
});

describe('where our conventions differ from PyTorch', () => {
  const slopes = async (op: string, at: readonly number[], more: Partial<Golden> = {}): Promise<number[]> => {
    const numbers = at.map((value) => value * 64);
    const golden: Golden = { name: op, op, attributes: {}, operands: [{ dims: [at.length], '64ths': numbers }], outputs: [{ dims: [at.length], is: [], target: [] }], ...more }; // prettier-ignore
    const ones = { target_y0: floats(new Float32Array(at.length).fill(1), [at.length]) };
    const { all } = await gradientsOf(modelOf(golden), ['x0'], {}, ones);
    return [...(all.get('x0')!.data as Float32Array)];
  };

  it('Clip passes nothing on its bounds, where clamp passes all', async () => {
    const at = [-0.75, -0.5, 0, 0.5, 0.75];
    const operands = [{ dims: [5], '64ths': at.map((v) => v * 64) }, { dims: [], float32: [-0.5] }, { dims: [], float32: [0.5] }]; // prettier-ignore
    expect(await slopes('Clip', at, { operands })).toEqual([0, 0, 1, 0, 0]);
  });

  it('Relu and Abs have 0 at 0, as in PyTorch', async () => {
    expect(await slopes('Relu', [-1, 0, 1])).toEqual([0, 0, 1]);
    expect(await slopes('Abs', [-1, 0, 1])).toEqual([-1, 0, 1]);
  });
});

describe('a use of an operator without a gradient', () => {
  const operand = (...dims: number[]): Stored => ({ dims, '64ths': Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => (i % 90) - 45) }); // prettier-ignore
  const gru = (attributes: Golden['attributes']): Partial<Golden> => ({ op: 'GRU', operands: [operand(2, 1, 2), operand(1, 6, 2), operand(1, 6, 2)], attributes: { hidden_size: 2, ...attributes }, outputs: [{ dims: [2, 1, 1, 2], is: [], target: [] }] }); // prettier-ignore
  it.each<[string, Partial<Golden>, RegExp]>([
    ['GRU that resets first', gru({}), /resets before its product/],
    ['GRU backwards', gru({ linear_before_reset: 1, direction: 'reverse' }), /goes backwards/],
    ['LSTM', { op: 'LSTM', operands: [operand(2, 1, 2), operand(1, 8, 2), operand(1, 8, 2)], attributes: { hidden_size: 2 } }, /recurrent.*2 parameters|recurrent.*3 parameters/], // prettier-ignore
    ['Einsum of a diagonal', { op: 'Einsum', operands: [operand(3, 3)], attributes: { equation: 'ii->i' } }, /reads a diagonal/], // prettier-ignore
    ['Einsum with dots', { op: 'Einsum', operands: [operand(3, 2), operand(2, 3)], attributes: { equation: '...i,ij->...j' } }, /"..." in its equation/], // prettier-ignore
    ['Resize with scales to be trained', { op: 'Resize', operands: [operand(1, 1, 2, 2), null, { dims: [4], '64ths': [64, 64, 128, 128] }] }, /scales that would have to be trained/], // prettier-ignore
    ['Resize by cubes', { op: 'Resize', attributes: { mode: 'cubic' }, operands: [operand(1, 1, 2, 2), null, { dims: [4], float32: [1, 1, 2, 2] }] }, /mode "cubic"/], // prettier-ignore
  ])('%s', async (name, more, why) => {
    const golden: Golden = { name, op: '', attributes: {}, operands: [], outputs: [{ dims: [], is: [], target: [] }], ...more }; // prettier-ignore
    const wanted = golden.operands.flatMap((one, i) => (one?.['64ths'] ? [`x${i}`] : []));
    await expect(gradientsOf(modelOf(golden), wanted)).rejects.toThrow(why);
  });
});
