import type { AttributeValue } from '../../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor, typeOf } from '../../../src/graph/tensor.ts';
import type { Granularity } from '../../../src/numerics/format.ts';
import { storageOpset } from '../../../src/passes/quantize/folded.ts';
import { storeWeight, type StoreOptions } from '../../../src/passes/quantize/store_weight.ts';
import type { WeightCodes } from '../../../src/passes/quantize/weight_methods.ts';
import { smallestType } from '../../../src/passes/quantize/weights.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { noise, random, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

/** A layer by itself: operator, weight, input, attributes. */
interface Case {
  readonly op: string;
  readonly dims: readonly number[];
  readonly x: readonly number[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly bias?: number;
  readonly left?: boolean;
}
const K = 40;
const cases: Readonly<Record<string, Case>> = {
  matmul: { op: 'MatMul', dims: [K, 8], x: [3, K] },
  six: { op: 'MatMul', dims: [K, 6], x: [3, K] },
  gemm: { op: 'Gemm', dims: [K, 8], x: [3, K], bias: 8 },
  turned: { op: 'Gemm', dims: [8, K], x: [3, K], bias: 8, attributes: { transB: 1 } },
  left: { op: 'MatMul', dims: [8, K], x: [K, 3], left: true },
  batched: { op: 'MatMul', dims: [2, K, 8], x: [2, 3, K] },
  conv: { op: 'Conv', dims: [8, 5, 2, 4], x: [1, 5, 6, 6] },
  grouped: { op: 'Conv', dims: [8, 2, 2, 5], x: [1, 4, 6, 6], attributes: { group: 2 } },
  upwards: { op: 'ConvTranspose', dims: [5, 4, 2, 4], x: [1, 5, 6, 6] },
  table: { op: 'Gather', dims: [8, K], x: [4] },
  whole: { op: 'Gather', dims: [8, 32], x: [4] },
  columns: { op: 'Gather', dims: [8, 32], x: [4], attributes: { axis: 1 } },
  deep: { op: 'Gather', dims: [8, 2, 16], x: [4] },
  exact: { op: 'MatMul', dims: [32, 8], x: [3, 32] },
};

function modelOf({ op, dims, x, attributes = {}, bias, left = false }: Case, data?: Float32Array): Model {
  const w = data ? makeTensor('w', 'float32', dims, data) : weight('w', dims, 3);
  const gather = op === 'Gather';
  const inputs = gather || left ? ['w', 'x'] : ['x', 'w', ...(bias ? ['b'] : [])];
  return makeModel({
    opset: 25,
    ir: 12,
    inputs: [makeValue('x', gather ? 'int64' : 'float32', x)],
    outputs: [makeValue('y', 'float32')],
    initializers: [w, ...(bias ? [weight('b', [bias], 4)] : [])],
    nodes: [makeNode(op, inputs, ['y'], attributes, { name: 'layer' })],
  });
}
const feedsOf = ({ op, x }: Case): Feeds =>
  op === 'Gather'
    ? { x: { type: 'int64', dims: x, data: BigInt64Array.of(1n, 5n, 0n, 7n) } }
    : { x: floats(noise(9, x.reduce((a, b) => a * b, 1)), x) }; // prettier-ignore

interface Held {
  readonly bits: number;
  readonly block: number | null;
  readonly signed: boolean;
  readonly zeros?: boolean | undefined;
}

/** Random codes with scales that float16 holds exactly, and the matrix that they stand for: scale · (code − zero). */
function codesFor(
  given: Case,
  { bits, block, signed, zeros = false }: Held,
): { found: WeightCodes; float: Float32Array } {
  const [layer] = layers(modelOf(given)).layers;
  const { rows, columns } = layer!.weight.view();
  const next = random(bits + (block ?? 0));
  const size = block === null ? columns : Math.min(block, columns);
  const count = Math.ceil(columns / size);
  const low = signed ? -(2 ** (bits - 1)) : 0;
  const code = (): number => low + Math.floor(next() * 2 ** bits);
  const array = bits > 8 ? (signed ? Int16Array : Uint16Array) : signed ? Int8Array : Uint8Array;
  const codes = new array(rows * columns).map(code);
  const scale = Float32Array.from({ length: rows * count }, () => (16 + Math.floor(next() * 16)) * 2 ** (-5 - bits));
  const zeroPoint = Int32Array.from({ length: rows * count }, () => (signed || zeros ? 0 : code()));
  const real = Float32Array.from({ length: rows * count }, () => Math.floor(next() * 64) / 16);
  const granularity: Granularity = block === null ? { per: 'channel', axis: 0 } : { per: 'group', axis: 1, size };
  const format = { kind: 'int', bits, signed, symmetric: signed } as const;
  const matrix = Float32Array.from(codes, (c, i) => {
    const at = Math.floor(i / columns) * count + Math.floor((i % columns) / size);
    return (scale[at] as number) * (c - (zeros ? real : zeroPoint)[at]!);
  });
  const params = { format, granularity, scale, zeroPoint };
  return { found: { codes, params, ...(zeros ? { zeros: real } : {}) }, float: layer!.weight.fromRows(matrix) };
}

/** Stores codes of a layer in one way; what is said of it, and how far both levels are from the matrix that the codes stand for. */
async function stored(given: Case, held: Held, storage: StoreOptions['storage'], relu = false) {
  const { found, float } = codesFor(given, held);
  const model = modelOf(given);
  let text = '';
  const result = edit(model, (draft) => {
    const options = { storage, bits: held.bits, block: held.block, accuracy: 0, relu };
    text = storeWeight(draft, layers(model).layers[0]!, found, options, new Map());
  });
  const y = async (m: Model, level: 'disabled' | 'all') =>
    (await runModel(m, feedsOf(given), level)).y?.data as Float32Array;
  const exact = await y(modelOf(given, float), 'disabled');
  return { text, result, disabled: snr(exact, await y(result, 'disabled')), all: snr(exact, await y(result, 'all')) };
}

// [bits, block, signed, zero points that are no integers].
const ways = (
  [
    [2, 16, true],
    [2, null, false],
    [3, 16, true],
    [3, null, false],
    [4, 16, false],
    [4, 32, true],
    [4, null, true],
    [4, 16, false, true],
    [8, 16, false],
    [8, null, true],
    [16, 16, false],
    [16, null, true],
  ] as const
).map(([bits, block, signed, zeros = false]): Held => ({ bits, block, signed, zeros }));

describe.each(['standard', 'packed', 'folded'] as const)('weights stored %s', (storage) => {
  it.each(Object.keys(cases))('are the numbers that their codes stand for: %s', async (name) => {
    for (const held of ways) {
      const given = cases[name]!;
      const { text, result, disabled, all } = await stored(given, held, storage);
      const at = `${name} ${JSON.stringify(held)}: ${text}`;
      // Float32 sums of 40 products.
      expect(`${at} ${disabled > 110}`).toBe(`${at} true`);
      // MatMulNBits rounds activations to 8 bits unless it is told otherwise, which only packed storage does.
      expect(`${at} ${all > (text.startsWith('MatMulNBits at load time') ? 30 : 110)}`).toBe(`${at} true`);
      const matrix = ['matmul', 'six', 'gemm', 'turned', 'exact'].includes(name);
      const { bits, block, zeros } = held;
      const decodes = bits === 16 || (bits === 2 && name === 'six') || zeros === true;
      const packs = [2, 4, 8].includes(bits) && block !== null && zeros !== true;
      const fits = matrix || name === 'whole';
      const wanted =
        storage === 'packed' && packs && fits
          ? matrix ? /^MatMulNBits$/ : /^GatherBlockQuantized$/ // prettier-ignore
          : matrix && storage !== 'folded' && !decodes
            ? /^MatMulNBits at load time/
            : /^float weights at load time/;
      expect([at, wanted.test(text)]).toEqual([at, true]);
      // Zero points and blocks cut off in the middle take steps that others need not.
      if (text.startsWith('float')) {
        const ops = result.graph.node.map((node) => node.op_type);
        const { columns } = layers(modelOf(given)).layers[0]!.weight.view();
        const steps = ['Sub', 'Slice'].map((op) => ops.includes(op));
        expect([at, ...steps]).toEqual([at, !held.signed, block !== null && columns > block && columns % block !== 0]);
        if (name === 'conv') expect([at, ops.includes('Transpose')]).toEqual([at, false]);
      }
      // A reason is given where it is not as asked, and only there.
      const asked = storage === 'packed' ? packs && fits : storage === 'folded' || !matrix || !decodes;
      expect([at, text.includes('(')]).toEqual([at, !asked]);
      // A model names every domain that it uses (onnx.proto); onnxruntime would not insist.
      const domains = result.proto.opset_import.map(({ domain }) => domain);
      expect([at, domains.includes('com.microsoft')]).toEqual([at, storage === 'packed' && packs && fits]);
    }
  });
});

it.each<[string, Held, StoreOptions['storage'], RegExp]>([
  ['matmul', { bits: 3, block: 16, signed: true }, 'packed', /2, 4 and 8 bits, not 3/],
  ['matmul', { bits: 4, block: null, signed: true }, 'packed', /blocks of 16/],
  ['matmul', { bits: 4, block: 48, signed: true }, 'packed', /blocks of 16/],
  ['matmul', { bits: 4, block: 64, signed: true }, 'packed', /40 columns are fewer than a block of 64/],
  ['table', { bits: 4, block: 16, signed: true }, 'packed', /40 columns are not whole blocks of 16/],
  ['columns', { bits: 4, block: 16, signed: true }, 'packed', /rows of a table/],
  ['conv', { bits: 4, block: 16, signed: true }, 'packed', /no packed Conv/],
  ['left', { bits: 4, block: 16, signed: true }, 'packed', /no packed MatMul/],
  ['matmul', { bits: 4, block: 16, signed: false, zeros: true }, 'packed', /no integers/],
  ['matmul', { bits: 4, block: 16, signed: false, zeros: true }, 'standard', /no integers/],
  ['matmul', { bits: 16, block: null, signed: true }, 'standard', /16 bits/],
  ['six', { bits: 2, block: null, signed: true }, 'standard', /6 outputs, no multiple of 4/],
])('of %s %j, %s, it is said why not', async (name, held, storage, why) => {
  expect((await stored(cases[name]!, held, storage)).text).toMatch(why);
});

it('before a Relu is decoded at load, where it is not packed', async () => {
  const held = { bits: 4, block: 16, signed: true };
  expect((await stored(cases.gemm!, held, 'standard', true)).text).toMatch(/^float .*before a Relu/);
  expect((await stored(cases.gemm!, held, 'packed', true)).text).toBe('MatMulNBits');
  expect((await stored(cases.gemm!, held, 'folded', true)).text).toBe('float weights at load time');
});

it.each(['standard', 'packed', 'folded'] as const)('%s: what layers see alike is stored once', (storage) => {
  const twice = (second: readonly string[], attributes = {}): Model =>
    makeModel({
      opset: 21,
      inputs: [makeValue('x', 'float32', [8, 32])],
      outputs: [makeValue('y', 'float32'), makeValue('z', 'float32')],
      initializers: [weight('w', [32, 32], 1)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y']), makeNode(second[0]!, ['x', 'w'], ['z'], attributes)],
    });
  const tensors = (model: Model): number => {
    const { found } = codesFor({ op: 'MatMul', dims: [32, 32], x: [8, 32] }, { bits: 4, block: 16, signed: false });
    const result = edit(model, (draft) => {
      const kept = new Map<string, readonly string[]>();
      for (const layer of layers(model).layers)
        storeWeight(draft, layer, found, { storage, bits: 4, block: 16, accuracy: 0, relu: false }, kept);
    });
    return result.graph.initializer.length;
  };
  const once = tensors(twice(['MatMul']));
  expect(tensors(twice(['Gemm']))).toBe(once);
  expect(tensors(twice(['Gemm'], { transB: 1 }))).toBe(2 * once);
});

// Normal numbers of float16 are 2⁻¹⁴ to 65504.
it.each<[string, number, boolean]>([
  ['within', 1, true],
  ['at the lower end of', 2 ** -14, true],
  ['below', 2 ** -15, false],
  ['of zero, as', 0, true],
  ['at the upper end of', 65504, true],
  ['beyond', 2 ** 16, false],
])('scales %s what float16 holds are stored in its type, or in float32: exact either way', async (_, scale, half) => {
  const given = cases.conv!;
  const { found } = codesFor(given, { bits: 8, block: null, signed: true });
  const params = { ...found.params, scale: found.params.scale.map((_s, i) => (i === 3 ? scale : 0.5)) };
  const model = modelOf(given);
  const result = edit(model, (draft) => {
    const options = { storage: 'folded', bits: 8, block: null, accuracy: 0, relu: false } as const;
    storeWeight(draft, layers(model).layers[0]!, { ...found, params }, options, new Map());
  });
  expect(result.graph.initializer.map(typeOf)).toContain(half ? 'float16' : 'float32');
  expect(result.graph.initializer.map(typeOf)).not.toContain(half ? 'float32' : 'float16');
  const matrix = Float32Array.from(found.codes, (c, i) => c * (params.scale[Math.floor(i / K)] as number));
  const float = modelOf(given, layers(model).layers[0]!.weight.fromRows(matrix));
  const [wanted, got] = [await runModel(float, feedsOf(given)), await runModel(result, feedsOf(given))];
  expect(snr(wanted.y!.data as Float32Array, got.y!.data as Float32Array)).toBeGreaterThan(110);
});

it.each<[number, boolean, number]>([
  [2, true, 25],
  [2, false, 25],
  [4, true, 21],
  [3, false, 21],
  [8, true, 13],
  [8, false, 13],
  [16, true, 21],
  [16, false, 21],
])('codes of %d bits, signed %s, need operator set %d', (bits, signed, version) => {
  expect(storageOpset(smallestType(bits, signed))).toBe(version);
});
