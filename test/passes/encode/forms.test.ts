import fc from '../../helpers/fc.ts';
import { makeModel, makeValue } from '../../../src/graph/build.ts';
import { encodeModel } from '../../../src/graph/model.ts';
import { elementCount } from '../../../src/graph/tensor.ts';
import { candidatesFor } from '../../../src/passes/encode/candidates.ts';
import { formNames, type Encoding, type FormName } from '../../../src/passes/encode/form.ts';
import { groupsOf, joined, writeGroup, type Group } from '../../../src/passes/encode/group.ts';
import { makeSource, symbolsOf, valuesOf, type Source, type Storable } from '../../../src/passes/encode/source.ts';
import { record, typicalNames, type Part } from '../../../src/passes/encode/store.ts';
import { runModel } from '../../helpers/context.ts';
import { random } from '../../helpers/models.ts';

const every = new Set(formNames);

/** What onnxruntime decodes of some encodings of a group, all in one model: for each encoding, each tensor's bytes. */
async function decoded(group: Group, encodings: readonly Encoding[]): Promise<Buffer[][]> {
  if (encodings.length === 0) return [];
  let next = 0;
  const names = { fresh: () => `v${next++}`, known: new Map<string, string>() };
  const parts = encodings.flatMap((encoding, e) => {
    const targets = group.map((_, i) => `${e}_${i}`);
    const { own, shared } = record((store) => writeGroup(store, encoding, group, targets), names);
    return [...shared.values(), own];
  });
  const outputs = encodings.flatMap((_, e) => group.map(({ type, dims }, i) => makeValue(`${e}_${i}`, type, dims)));
  const model = makeModel({
    inputs: [],
    outputs,
    nodes: parts.flatMap((part) => part.nodes),
    initializers: parts.flatMap((part) => part.tensors.map((make) => make())),
    opset: 25,
    ir: 12,
  });
  const made = await runModel(model, {});
  return encodings.map((_, e) => group.map((_, i) => bytesOf(made[`${e}_${i}`]?.data as ArrayBufferView)));
}

const bytesOf = (data: ArrayBufferView): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const bytesIn = (source: Source): Buffer => bytesOf(valuesOf(source.type, source.symbols()));

/** A tensor of random shape, odd sizes among them, whose values are few or many, often zero, and zero in whole channels. */
const sources = (types: readonly Storable[]): fc.Arbitrary<Source> =>
  fc
    .record({
      type: fc.constantFrom(...types),
      dims: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      bits: fc.integer({ min: 1, max: 8 }),
      signed: fc.boolean(),
      zeros: fc.constantFrom(0, 0.5, 0.9, 1),
      emptyChannel: fc.boolean(),
      seed: fc.integer(),
    })
    .map(({ type, dims, bits, signed, zeros, emptyChannel, seed }) => {
      const next = random(seed);
      const channel = elementCount(dims.slice(1));
      // The values of floats are bit patterns: -0, NaN and infinities are among them.
      const palette = Array.from({ length: 2 ** bits }, (_, i) => (type === 'float32' ? next() * 2 ** 32 : i));
      const values = Array.from({ length: elementCount(dims) }, (_, i) => {
        const empty = emptyChannel && Math.floor(i / channel) === 0;
        const value = palette[Math.floor(next() * palette.length)] as number;
        return empty || next() < zeros ? 0 : signed && !type.startsWith('u') ? value - 2 ** (bits - 1) : value;
      });
      const symbols = symbolsOf(valuesOf(type, values));
      return makeSource(type, dims, () => symbols);
    });

describe('encode: forms', () => {
  it('float32 numbers that float16 holds to the bit are stored so, others not', async () => {
    // −0, the smallest subnormal, the largest number, 1/3 rounded: exact; NaN's payload and 1/3 itself are not.
    const held = [-0, 2 ** -24, 65504, 0.333251953125];
    const of = (values: readonly number[]): Source =>
      makeSource('float32', [values.length], () => symbolsOf(Float32Array.from(values)));
    const [cast] = candidatesFor(of(held), new Set<FormName>(['cast']), 13);
    expect(cast?.detail).toBe('FLOAT16');
    expect(await decoded([of(held)], [cast!])).toEqual([[bytesOf(Float32Array.from(held))]]);
    for (const other of [1 / 3, 65520, 2 ** -25])
      expect(candidatesFor(of([other]), new Set<FormName>(['cast']), 13)).toEqual([]);
  });

  it('decodes every form and nesting to the same bits, whatever the shape', async () => {
    const seen = new Set<string>();
    const tensors = sources(['int8', 'uint8', 'int16', 'uint16', 'int32', 'float32']);
    await fc.assert(
      fc.asyncProperty(tensors, async (source) => {
        const encodings = candidatesFor(source, every, 25);
        for (const { form } of encodings) seen.add(form);
        const expected = bytesIn(source);
        for (const [i, [bytes]] of (await decoded([source], encodings)).entries())
          expect([encodings[i]?.detail, bytes?.equals(expected)]).toEqual([encodings[i]?.detail, true]);
      }),
      { numRuns: 120 },
    );
    // Or the property would hold of nothing.
    expect([...seen].sort()).toEqual([...formNames].sort());
  });

  it('decodes tensors that are stored as one, each in its own shape', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(sources(['int8']), { minLength: 2, maxLength: 5 }), async (group) => {
        const encodings = candidatesFor(joined(group), every, 25);
        for (const made of await decoded(group, encodings))
          expect(made.map((bytes, i) => bytes.equals(bytesIn(group[i] as Source)))).toEqual(group.map(() => true));
      }),
      { numRuns: 25 },
    );
  });

  const codes = (values: (i: number) => number, count = 4000): Source => {
    const symbols = Int8Array.from({ length: count }, (_, i) => values(i));
    return makeSource('int8', [count], () => symbols);
  };
  const packed = (source: Source, forms: readonly FormName[], opset = 13): { detail: string; bytes: number } => {
    const [first] = candidatesFor(source, new Set(forms), opset).map((encoding) => {
      const { own } = record((store) => encoding.write(store), { fresh: () => 'v', known: new Map() });
      const bytes = own.tensors.reduce((sum, make) => sum + make().raw_data.length, 0);
      return { detail: encoding.detail, bytes };
    });
    if (first === undefined) throw new Error('no form');
    return first;
  };

  // Bytes by hand: 4000 weights of b bits are 500 · b.
  it.each([
    ['3 bits take 3 bits', (i: number) => (i % 8) - 4, ['bits'], 1500],
    ['5 bits take 5 bits', (i: number) => (i % 32) - 16, ['bits'], 2500],
    ['INT4 takes 4 bits', (i: number) => (i % 16) - 8, ['cast'], 2000],
    ['ternary weights take 8 bits for 5', (i: number) => (i % 3) - 1, ['codebook', 'radix'], 800],
    ['four far values take 2 bits', (i: number) => [-100, 7, 0, 90][i % 4] as number, ['codebook', 'bits'], 1000],
    ['a mask takes 1 bit, what it leaves 8', (i: number) => (i % 4 === 0 ? 1 + (i % 100) : 0), ['sparse'], 500 + 1000],
  ] as const)('%s', (_, values, forms, bytes) => {
    expect(packed(codes(values), [...forms], 21).bytes).toBe(bytes);
  });

  it('codes the mask of frequent zeros, whatever fills its last bytes up', async () => {
    const next = random(5);
    const sparse = codes(() => (next() < 0.8 ? 0 : 1 + Math.floor(next() * 4)), 8000);
    const smallest = (forms: readonly FormName[]): number =>
      Math.min(
        ...candidatesFor(sparse, new Set(forms), 13).map(
          (encoding) => record((store) => encoding.write(store), typicalNames()).own.bytes,
        ),
      );
    // H(0.2) = 0.72 bits an element; a plain mask takes 1. Nodes and the table of bytes take some of the 280 bytes between.
    expect(smallest(['sparse', 'bits', 'codebook', 'rice'])).toBeLessThan(smallest(['sparse', 'bits']));
    // The most frequent byte of these masks is 0x11: what fills up must not ask for values that are not there.
    for (const count of [777, 4001, 5400]) {
      const regular = codes((i) => (i % 4 === 0 ? 1 + (i % 9) : 0), count);
      const encodings = candidatesFor(regular, every, 13);
      expect(encodings.some(({ detail }) => detail.includes('coded bitmask'))).toBe(true);
      for (const [bytes] of await decoded([regular], encodings)) expect(bytes?.equals(bytesIn(regular))).toBe(true);
    }
  });

  it('comes within 10 % of the entropy of 4-bit codes spread like a bell', () => {
    const next = random(3);
    const bell = codes(() => Math.round((next() + next() + next() + next() - 2) * 5), 40000);
    let entropy = 0;
    for (const n of bell.histogram()?.values() ?? []) entropy -= n * Math.log2(n / bell.count);
    const sizes = candidatesFor(bell, new Set(['codebook', 'rice'] as const), 13).map((encoding) => {
      const { own } = record((store) => encoding.write(store), { fresh: () => 'v', known: new Map() });
      return own.tensors.reduce((sum, make) => sum + make().raw_data.length, 0);
    });
    expect(Math.min(...sizes)).toBeLessThan((1.1 * entropy) / 8);
    // No code can be shorter than the entropy.
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(entropy / 8);
  });

  it('refuses what a form cannot hold', () => {
    const wide = codes((i) => (i % 256) - 128);
    expect(candidatesFor(wide, new Set(['bits', 'cast'] as const), 25)).toEqual([]);
    expect(
      candidatesFor(
        codes((i) => i % 2),
        new Set(['cast'] as const),
        13,
      ),
    ).toEqual([]);
    expect(
      candidatesFor(
        codes((i) => 1 + (i % 2)),
        new Set(['sparse'] as const),
        13,
      ),
    ).toEqual([]);
  });

  it('predicts the bytes that a decoder takes in the file', () => {
    const source = codes((i) => (i % 8) - 4, 999);
    const sizeOf = (parts: readonly Part[]): number =>
      encodeModel(
        makeModel({
          inputs: [],
          outputs: [],
          nodes: parts.flatMap((part) => part.nodes),
          initializers: parts.flatMap((part) => part.tensors.map((make) => make())),
        }),
      ).length;
    for (const encoding of candidatesFor(source, every, 25)) {
      const { own, shared } = record((store) => encoding.write(store), typicalNames());
      const parts = [own, ...shared.values()];
      const added = sizeOf(parts) - sizeOf([]);
      // The graph's own length is written in one more byte where it grows beyond 127, and one beyond 16,383.
      expect(added - parts.reduce((sum, { bytes }) => sum + bytes, 0)).toBeGreaterThanOrEqual(0);
      expect(added - parts.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(2);
    }
  });

  it('joins layers whose codes are spread alike, and keeps others apart', () => {
    const next = random(9);
    const narrow = [1, 2, 3].map(() => codes(() => Math.round(next()) - 1, 20000));
    const broad = [1, 2].map(() => codes(() => Math.round(next() * 200) - 100, 20000));
    const groups = groupsOf([broad[0], narrow[0], narrow[1], broad[1], narrow[2]] as Source[]);
    expect(groups.map((group) => [...group].sort())).toEqual([
      [1, 2, 4],
      [0, 3],
    ]);
  });
});
