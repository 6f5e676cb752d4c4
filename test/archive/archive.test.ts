import { packModel, type PackSource } from '../../src/archive/pack.ts';
import { cleanLocation } from '../../src/archive/outside.ts';
import { decoder, numbers } from '../../src/archive/bits.ts';
import { encoder } from '../../src/archive/encoder.ts';
import { codeHead } from '../../src/archive/head.ts';
import { readStream } from '../../src/archive/streams.ts';
import { magic, openArchive, readArchive } from '../../src/archive/reader.ts';
import { crc32 } from '../../src/archive/crc.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { dtypes, type DType } from '../../src/graph/dtype.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';
import { AttributeCodec, GraphCodec, NodeCodec, TensorCodec, int64, type TensorProto } from '../../src/graph/proto.ts';
import { QtoolError } from '../../src/util/error.ts';
import { noise, random, smallConvNet, weight } from '../helpers/models.ts';

const none = (): Promise<PackSource> => Promise.reject(new Error('no external data'));
const packed = async (model: Uint8Array) => (await packModel(model, { open: none })).archive;

/** Packs, unpacks, compares; gives the archive. */
async function same(model: Model | Uint8Array): Promise<Uint8Array> {
  const bytes = model instanceof Uint8Array ? model : encodeModel(model);
  const archive = await packed(bytes);
  expect(Buffer.compare(readArchive(archive).model(), bytes)).toBe(0);
  return archive;
}

const holding = (...initializers: TensorProto[]): Model =>
  makeModel({
    inputs: [makeValue('x', 'float32', [1])],
    outputs: [makeValue('y', 'float32', [1])],
    nodes: [makeNode('Identity', ['x'], ['y'])],
    initializers,
  });
const raw = (name: string, type: number, dims: number[], raw_data: Uint8Array): TensorProto =>
  TensorCodec.create({ name, data_type: type, dims: dims.map(int64), raw_data });

/** Weights of which most are zero and the others of few values, more of them in some columns. */
function shared(seed: number, rows: number, columns: number): Float32Array {
  const next = random(seed);
  const values = noise(seed + 1, 15);
  return Float32Array.from({ length: rows * columns }, (_, i) =>
    next() < ((i % columns) % 4 === 0 ? 0.4 : 0.03) ? values[Math.floor(15 * next())]! : 0,
  );
}
const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
const sharedModel = (): Model =>
  holding(raw('w', 1, [30, 80], bytesOf(shared(1, 30, 80))), weight('plain', [8, 20], 2));

describe('an archive gives back', () => {
  it('a model byte for byte', async () => {
    expect((await same(smallConvNet())).length).toBeGreaterThan(1000);
  });

  it.each(Object.keys(dtypes).filter((type) => type !== 'string') as DType[])(
    '%s, of random and of few values',
    async (type) => {
      const { code, bits } = dtypes[type];
      const next = random(code);
      const count = 600;
      const length = Math.ceil((count * bits) / 8);
      const any = Uint8Array.from({ length }, () => 256 * next());
      const width = Math.max(1, bits / 8);
      const few = Uint8Array.from({ length }, (_, i) => any[(Math.floor((next() < 0.7 ? 0 : 4) * next()) * width + (i % width)) % length]!); // prettier-ignore
      const archive = await same(holding(raw('any', code, [20, 30], any), raw('few', code, [20, 30], few), raw('zeros', code, [20, 30], new Uint8Array(length)))); // prettier-ignore
      const { tensor, names } = readArchive(archive);
      expect(names).toEqual(['any', 'few', 'zeros']);
      expect(tensor('few')).toEqual({ name: 'few', type: code, dims: [20, 30], data: few });
    },
  );

  it('floats with every odd value: NaN with its bits, both zeros, denormal, infinite', async () => {
    const words = new Uint32Array(800).fill(0x3f800000);
    words.set([0x7fc00001, 0xffc12345, 0x80000000, 0x00000001, 0x80000007, 0x7f800000, 0xff800000, 0]);
    const more = Uint32Array.from({ length: 800 }, (_, i) => (i % 3 === 0 ? 0x3f000000 + i * 7919 : 0));
    for (const data of [words, more, more.map((word, i) => (i === 4 ? 1 : word))]) {
      const { tensor } = readArchive(await same(holding(raw('w', 1, [800], new Uint8Array(data.buffer)))));
      expect(tensor('w').data).toEqual(new Uint8Array(data.buffer));
    }
  });

  it('empty, scalar and tiny tensors', async () => {
    const archive = await same(holding(raw('none', 1, [0, 4], new Uint8Array(0)), raw('one', 7, [], new Uint8Array(8).fill(3)), raw('w', 1, [200], new Uint8Array(800)))); // prettier-ignore
    const { tensor } = readArchive(archive);
    expect([tensor('none').data.length, tensor('one').dims, [...tensor('one').data]]).toEqual([0, [], [3, 3, 3, 3, 3, 3, 3, 3]]); // prettier-ignore
  });

  it('tensors in fields of their own, in attributes, in bodies, and fields that are not known', async () => {
    const floats = TensorCodec.create({ name: 'f', data_type: 1, dims: [int64(300)], float_data: [...noise(1, 300)] });
    const ints = TensorCodec.create({ name: 'i', data_type: 6, dims: [int64(300)], int32_data: Array.from({ length: 300 }, (_, i) => i - 150) }); // prettier-ignore
    const body = GraphCodec.create({ name: 'body', initializer: [weight('inner', [40, 10], 3)], node: [], input: [], output: [] }); // prettier-ignore
    const node = NodeCodec.amend(makeNode('If', ['x'], ['y'], {}, { name: 'if' }), {
      attribute: [
        AttributeCodec.create({ name: 'then_branch', type: 5, g: body }),
        AttributeCodec.create({ name: 'value', type: 4, t: weight('held', [300], 4) }),
      ],
    });
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [1])],
      outputs: [makeValue('y', 'float32', [1])],
      nodes: [node],
      initializers: [floats, ints],
    });
    const bytes = encodeModel(model);
    // Field 3000, bytes: no version of ONNX has it.
    const unknown = Uint8Array.of(...bytes, 0xc2, 0xbb, 0x01, 3, 9, 9, 9);
    const archive = await same(unknown);
    const { names, tensor } = readArchive(archive);
    expect([...names].sort()).toEqual(['f', 'held', 'i', 'inner']);
    expect(tensor('f').data).toEqual(bytesOf(noise(1, 300)));
    expect(() => tensor('i')).toThrow(/no such tensor of raw data/);
    // Stored by themselves, all four.
    expect(openArchive(archive).files[0]?.parts.filter(({ owner }) => owner).length).toBe(4);
  });

  it('what cannot be taken apart', async () => {
    const bytes = encodeModel(sharedModel());
    // A group, which protobuf gave up: the walk knows none.
    for (const odd of [Uint8Array.of(...bytes, 0x0b, 0x0c), bytes.subarray(0, 3000), new Uint8Array(0)])
      expect(openArchive(await same(odd)).files).toMatchObject([{ parts: [{ length: odd.length }] }]);
  });

  it('a model that hardly has bytes in an archive', async () => {
    const archive = await same(holding(raw('zeros', 1, [1 << 20], new Uint8Array(1 << 22))));
    expect(archive.length).toBe(Math.ceil(readArchive(archive).model().length / 4096));
  });
});

describe('external data', () => {
  const external = (name: string, entries: Record<string, string>): TensorProto =>
    TensorCodec.create({
      name,
      data_type: 1,
      dims: [int64(20), int64(30)],
      data_location: 1,
      external_data: Object.entries(entries).map(([key, value]) => ({ key, value })),
    });
  const data = new Uint8Array(9000);
  data.set(bytesOf(shared(5, 20, 30)), 4096);
  data.set(Uint8Array.of(1, 2, 3), 8990);
  const place = { location: 'w.bin', offset: '4096', length: '2400' };
  const model = encodeModel(holding(external('a', place), external('tied', place), external('first', { location: 'w.bin', length: '2400' }), external('overlaps', { ...place, offset: '4000' }), external('far', { ...place, offset: '99999' }))); // prettier-ignore
  const source: PackSource = { size: data.length, read: (from, length) => Promise.resolve(data.subarray(from, from + length)) }; // prettier-ignore

  it('is given back with what lies between, ties and places that are none', async () => {
    const { archive, tensors } = await packModel(model, { open: () => Promise.resolve(source) });
    const { model: own, external: files, tensor } = readArchive(archive);
    expect(Buffer.compare(own(), model)).toBe(0);
    expect(files()).toEqual([{ path: 'w.bin', data }]);
    expect(tensors.map((one) => one.tensor?.name)).toEqual(['first', 'overlaps']);
    expect(tensor('first').data).toEqual(data.subarray(0, 2400));
    expect(() => tensor('far')).toThrow(QtoolError);
  });

  it('of one file under several names is refused: the archive could never be unpacked', async () => {
    const names = ['w.bin', './w.bin'];
    const twice = encodeModel(
      holding(...names.map((location, i) => external(`t${i}`, { ...place, location, length: '2400' }))),
    );
    const open = () => Promise.resolve(source);
    await expect(packModel(twice, { open })).rejects.toThrow('"w.bin" and "./w.bin" are one file of external data');
    // One such name alone is fine.
    const once = encodeModel(holding(external('t', { ...place, location: './w.bin', length: '2400' })));
    const { model: own, external: files } = readArchive((await packModel(once, { open })).archive);
    expect(Buffer.compare(own(), once)).toBe(0);
    expect(files()).toEqual([{ path: './w.bin', data }]);
  });

  it.each([
    ['d.bin', 'd.bin'],
    ['./d.bin', 'd.bin'],
    ['.\\a\\d.bin', 'a/d.bin'],
    ['a//b/../d.bin', 'a/d.bin'],
    ['../d.bin', '../d.bin'],
    ['a/../../d.bin', '../d.bin'],
    ['/etc/../d.bin', '/d.bin'],
    ['/../d.bin', '/../d.bin'],
    ['', ''],
  ])('at %p is at %p', (location, clean) => {
    expect(cleanLocation(location)).toBe(clean);
  });
});

it('an archive whose text says one thing again and again has bytes for the work of reading it', async () => {
  const names = Array.from({ length: 4000 }, () => 'the same name, which a match foretells');
  const model = holding(...names.map((name) => raw(name, 1, [1], new Uint8Array(4))));
  expect((await same(model)).length).toBeGreaterThan(encodeModel(model).length / 130);
});

describe('a damaged archive', () => {
  let archive: Uint8Array;
  let model: Uint8Array;
  beforeAll(async () => {
    model = encodeModel(sharedModel());
    archive = await packed(model);
  });
  /** The model, or the error in one line. */
  const outcome = (bytes: Uint8Array): string => {
    try {
      return Buffer.compare(readArchive(bytes).model(), model) === 0 ? 'the model' : 'ANOTHER MODEL';
    } catch (error) {
      if (error instanceof QtoolError) return error.message;
      throw error;
    }
  };

  it('is refused with one byte wrong, whichever', () => {
    for (let i = 0; i < archive.length; i++) {
      const wrong = archive.slice();
      wrong[i]! ^= 1 + (i % 255);
      expect([i, outcome(wrong)]).toEqual([i, expect.stringMatching(/^(the archive is damaged: |this is no archive)/)]);
    }
  });

  it('is refused wherever it ends', () => {
    for (let length = 0; length < archive.length; length++)
      expect([length, outcome(archive.subarray(0, length))]).toEqual([length, expect.stringMatching(length === 0 ? /no archive/ : /damaged/)]); // prettier-ignore
    expect(outcome(archive.subarray(0, 100))).toBe(`the archive is damaged: 100 of ${archive.length} bytes are there`);
    expect(outcome(Uint8Array.of(...archive, 0))).toMatch(/damaged/);
  });

  /** With the checksum of what it holds: five times seven bits. */
  const signed = (bytes: Uint8Array): Uint8Array => {
    const check = crc32(bytes.subarray(10));
    for (let k = 0; k < 5; k++) bytes[5 + k] = (Math.floor(check / 128 ** k) & 127) | (k < 4 ? 128 : 0);
    return bytes;
  };

  it('that lies is found out too, and asks for no memory without end', () => {
    expect(outcome(signed(archive.slice()))).toBe('the model');
    const next = random(7);
    const seen = new Set<string>();
    for (let i = 10; i < archive.length; i++) {
      const wrong = archive.slice();
      wrong[i] = 256 * next();
      seen.add(outcome(signed(wrong)));
    }
    expect(seen).not.toContain('ANOTHER MODEL');
    expect([...seen].every((text) => text === 'the model' || text.startsWith('the archive is damaged: '))).toBe(true);
  });

  it('that asks for more work than its head has bytes for is refused before that is done', () => {
    const bits = encoder();
    const write = numbers(bits);
    // A right checksum around a head that claims a text of a megabyte, which an archive of its size may unpack to but not read for.
    for (const [about, value] of [['least', 256], ['own', 1e6], ['between', 0]] as const) write(about, value); // prettier-ignore
    const head = bits.finish();
    let asked = 0;
    const reading = decoder(head);
    const counting = { bit: (chance: number, value: number) => (asked++, reading.bit(chance, value)) };
    const refused = () => codeHead(counting, new Uint8Array(0), 4e6);
    expect(refused).toThrow('the archive is damaged');
    // Three numbers of up to 2 · 20 bits and six for their widths; the text would take a million.
    expect(asked).toBeLessThan(150);
    const length = 1024;
    const whole = new Uint8Array(length);
    whole.set([...magic, 0, 0, 0, 0, 0, (length & 127) | 128, length >> 7, head.length, ...head]);
    expect(outcome(signed(whole))).toMatch(/^the archive is damaged: it contradicts itself/);
  });

  it('in which gaps have gaps of their own is refused', () => {
    // coder 3, zero, width, entries, without end.
    let read = 0;
    const next = () => [3, 0, 1, 4][read++ % 4]!;
    expect(() => readStream(next, 4, 4)).toThrow('the archive is damaged');
    expect(read).toBeLessThan(9);
  });

  it('names the tensor', () => {
    const wrong = archive.slice();
    wrong[wrong.length - 40]! ^= 255;
    const { tensor } = readArchive(signed(wrong));
    expect(() => tensor('plain')).toThrow('the archive is damaged: its checksum is wrong');
    expect(() => tensor('plain')).toThrow(expect.objectContaining({ at: 'plain' }) as Error);
    // And only that one.
    expect(tensor('w').data.length).toBe(9600);
  });

  it.each([
    ['text', new TextEncoder().encode('version: 1\n')],
    ['a zip', Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0)],
    ['a later version', Uint8Array.of(0x51, 0x50, 0x4b, 0x1a, 2, 0, 0)],
  ])('%s is no archive', (_, bytes) => {
    expect(outcome(bytes)).toBe('this is no archive of version 1');
  });
});

describe('sizes', () => {
  it('of pruned and shared weights are those of their places and values', async () => {
    const weights = shared(9, 300, 400);
    const { archive, tensors } = await packModel(encodeModel(holding(raw('w', 1, [300, 400], bytesOf(weights)))), { open: none }); // prettier-ignore
    const [{ facts }] = tensors as [(typeof tensors)[0]];
    const kept = weights.filter((value) => value !== 0).length;
    expect(facts).toMatchObject({ elements: 120_000, kept, values: 15, form: 'codebook: matrix' });
    expect(facts.weightBits[0]).toBe(4);
    // H(0.4)/4 + 3 H(0.03)/4 bits a place, log2 15 a value, at most 2 % more.
    const entropy = 120_000 * (0.97095 / 4 + (3 * 0.19439) / 4) + kept * Math.log2(15);
    expect(8 * archive.length).toBeLessThan(1.02 * entropy + 8 * 300);
    expect((facts.weightBits[1] + facts.indexBits[1]) * kept).toBeCloseTo(8 * (tensors[0]!.bytes - 4), 6);
  });
});
