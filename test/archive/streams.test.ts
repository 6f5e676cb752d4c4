import fc from '../helpers/fc.ts';
import { adaptiveBit, counters, decoder, numbers } from '../../src/archive/bits.ts';
import { chooseStream, countSymbols, type Coded } from '../../src/archive/choose.ts';
import { cluster, entropyBits } from '../../src/archive/cluster.ts';
import { decodeGaps, encodeGaps } from '../../src/archive/coders/gaps.ts';
import { codeLengths, decodeHuffman, encodeHuffman } from '../../src/archive/coders/huffman.ts';
import { decodeMatrix, valueContexts } from '../../src/archive/coders/matrix.ts';
import { decodeRans, encodeRans, frequencies, scaleOf } from '../../src/archive/coders/rans.ts';
import type { Symbols } from '../../src/archive/coders/symbols.ts';
import { codeText } from '../../src/archive/coders/text.ts';
import { crc32 } from '../../src/archive/crc.ts';
import { encoder, meter } from '../../src/archive/encoder.ts';
import { codeMatrix, encodeMatrix } from '../../src/archive/matrix_encoder.ts';
import { readStream } from '../../src/archive/streams.ts';
import { random } from '../helpers/models.ts';

/** Streams of every kind: none, one symbol alone, all alike, all distinct, flat, steep, few among many. */
const streams = fc
  .record({
    alphabet: fc.constantFrom(1, 2, 3, 16, 37, 256, 300, 4096),
    count: fc.constantFrom(0, 1, 2, 5, 31, 400, 1500),
    steepness: fc.constantFrom(0, 1, 3, 30),
    seed: fc.nat(),
  })
  .map(({ alphabet, count, steepness, seed }) => {
    const next = random(seed);
    const symbols = alphabet > 256 ? new Uint16Array(count) : new Uint8Array(count);
    for (let i = 0; i < count; i++) symbols[i] = steepness === 0 ? i % alphabet : alphabet * next() ** steepness;
    return { alphabet, symbols };
  });
const empty = (symbols: Symbols): Symbols => symbols.slice().fill(0);

describe('bits', () => {
  it('come back, whatever their chances', () => {
    const events = fc.array(fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.boolean()), { maxLength: 600 });
    fc.assert(
      fc.property(events, (list) => {
        const bits = encoder();
        for (const [chance, value] of list) bits.bit(chance, Number(value));
        const back = decoder(bits.finish());
        for (const [chance, value] of list) expect(back.bit(chance, 1 - Number(value))).toBe(Number(value));
      }),
    );
  });

  it('take what they should: one in a hundred 0.081 bits', () => {
    const next = random(1);
    const bits = encoder();
    const table = counters(1);
    for (let i = 0; i < 100_000; i++) adaptiveBit(bits, table, 0, next() < 0.01 ? 1 : 0);
    // Entropy 0.0808 bits each; the fading counter costs some per cent.
    const size = (8 * bits.finish().length) / 100_000;
    expect(size).toBeGreaterThan(0.075);
    expect(size).toBeLessThan(0.088);
  });

  it('carry into bytes that were held back', () => {
    // Likely zeros keep the range near its top: the carry of a one goes through a row of 255s.
    for (let length = 1; length < 60; length++) {
      const list = Array.from({ length: 400 }, (_, i) => [65535, i % length === length - 1 ? 1 : 0] as const);
      const bits = encoder();
      for (const [chance, value] of list) bits.bit(chance, value);
      const back = decoder(bits.finish());
      expect(list.map(([chance]) => back.bit(chance, 0))).toEqual(list.map(([, value]) => value));
    }
  });
});

describe('numbers', () => {
  it('come back up to 2^52', () => {
    const list = fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.oneof(fc.nat(20), fc.maxSafeNat().map((n) => Math.floor(n / 2))))); // prettier-ignore
    fc.assert(
      fc.property(list, (all) => {
        const bits = encoder();
        const write = numbers(bits);
        for (const [about, value] of all) write(about, value);
        const read = numbers(decoder(bits.finish()));
        expect(all.map(([about]) => read(about, 0))).toEqual(all.map(([, value]) => value));
      }),
    );
  });
});

describe('crc32', () => {
  it('is that of zip and PNG', () => {
    // The check value of the catalogue of CRC algorithms, and sums of zlib for lengths beside a multiple of four.
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
    expect([0, 1, 2, 3, 5].map((n) => crc32(new Uint8Array(n)))).toEqual([0, 0xd202ef8d, 0x41d912ff, 0xff41d912, 0xc622f71d]); // prettier-ignore
  });
});

describe('Huffman', () => {
  it('has the lengths of a textbook example', () => {
    // Cormen et al., Introduction to Algorithms, figure 16.3: a 45, b 13, c 12, d 16, e 9, f 5.
    expect([...codeLengths([45, 13, 12, 16, 9, 5])]).toEqual([1, 3, 3, 3, 4, 4]);
  });

  it('has canonical codes, the highest bit first', () => {
    // Lengths 2, 1, 3, 3 of RFC 1951, 3.2.2: codes 10, 0, 110, 111.
    expect([...encodeHuffman(Uint8Array.of(0, 1, 2, 3), Uint8Array.of(2, 1, 3, 3))]).toEqual([0b10011011, 0b10000000]);
  });

  it('has no code over 15 bits, and none is lost', () => {
    const fibonacci = [1, 1];
    while (fibonacci.length < 30) fibonacci.push(fibonacci.at(-1)! + fibonacci.at(-2)!);
    const lengths = codeLengths(fibonacci);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(15);
    expect(lengths.reduce((sum, length) => sum + 2 ** -length, 0)).toBe(1);
  });

  it('comes back', () => {
    fc.assert(
      fc.property(streams, ({ alphabet, symbols }) => {
        if (symbols.length === 0) return;
        const lengths = codeLengths(countSymbols(symbols, alphabet));
        const out = empty(symbols);
        decodeHuffman(encodeHuffman(symbols, lengths), lengths, out);
        expect(out).toEqual(symbols);
      }),
    );
  });

  it.each([[[1, 2]], [[1, 1, 1]], [[16, 16]]])('refuses lengths %j, which are no code', (lengths) => {
    expect(() => decodeHuffman(new Uint8Array(9), lengths, new Uint8Array(3))).toThrow(/damaged/);
  });
});

describe('rANS', () => {
  it('has frequencies that sum up and leave none out', () => {
    fc.assert(
      fc.property(streams, ({ alphabet, symbols }) => {
        if (symbols.length === 0) return;
        const counts = countSymbols(symbols, alphabet);
        const table = frequencies(counts, scaleOf(alphabet));
        expect(table.reduce((a, b) => a + b, 0)).toBe(2 ** scaleOf(alphabet));
        expect(counts.every((n, i) => n > 0 === table[i]! > 0)).toBe(true);
      }),
    );
  });

  it('comes back, within three per cent and twelve bytes of the entropy', () => {
    fc.assert(
      fc.property(streams, ({ alphabet, symbols }) => {
        if (symbols.length === 0) return;
        const counts = countSymbols(symbols, alphabet);
        const table = frequencies(counts, scaleOf(alphabet));
        const bytes = encodeRans(symbols, table, scaleOf(alphabet));
        // Frequencies of 1/4096 are too large for symbols rarer than that.
        expect(bytes.length).toBeLessThanOrEqual((1.03 * entropyBits(counts)) / 8 + 12);
        const out = empty(symbols);
        decodeRans(bytes, table, scaleOf(alphabet), out);
        expect(out).toEqual(symbols);
      }),
    );
  });

  it.each([[[4095]], [[4096, 1]], [[]]])('refuses frequencies %j, which do not sum up', (table) => {
    expect(() => decodeRans(new Uint8Array(9), table, 12, new Uint8Array(3))).toThrow(/damaged/);
  });
});

describe('gaps', () => {
  it('are those of the paper: a filler where a gap is too long', () => {
    // Deep Compression, figure 2: positions 1, 4, 15 with gaps of 3 bits; an entry counts the zeros before it.
    const weights = new Uint8Array(16);
    [weights[1], weights[4], weights[15]] = [34, 9, 17];
    const { gaps, values } = encodeGaps(weights, 0, 3);
    expect([[...gaps], [...values]]).toEqual([[1, 2, 7, 2], [34, 9, 0, 17]]); // prettier-ignore
  });

  it('come back for every width', () => {
    fc.assert(
      fc.property(streams, fc.integer({ min: 1, max: 8 }), fc.nat(2), ({ symbols }, width, zero) => {
        const { gaps, values } = encodeGaps(symbols, zero, width);
        const out = empty(symbols).fill(zero);
        decodeGaps(gaps, values, out);
        expect(out).toEqual(symbols);
      }),
    );
  });

  it('that lead out of the tensor are refused', () => {
    expect(() => decodeGaps(Uint8Array.of(1, 1), Uint8Array.of(3, 4), new Uint8Array(3))).toThrow(/damaged/);
  });
});

describe('a matrix', () => {
  it('comes back, whatever its rows', () => {
    fc.assert(
      fc.property(
        streams,
        fc.constantFrom(1, 2, 7, 50),
        fc.boolean(),
        fc.nat(255),
        ({ alphabet, symbols }, period, flagged, any) => {
          if (alphabet > 256) return;
          const layout = { alphabet, zero: any % alphabet, flagged, period };
          const histograms = Array.from({ length: valueContexts }, () => new Uint32Array(alphabet));
          const given = symbols as Uint8Array;
          codeMatrix({ flag: () => undefined, value: (context, symbol) => void histograms[context]![symbol]!++ }, given, layout); // prettier-ignore
          const { tables, uses } = cluster(histograms);
          const bytes = encodeMatrix(given, layout, tables, uses);
          const out = new Uint8Array(given.length);
          decodeMatrix(bytes, out, layout, tables, uses);
          expect(out).toEqual(given);
        },
      ),
    );
  });

  it('of dense and empty columns is smaller than its entropy', () => {
    const next = random(3);
    const period = 100;
    const symbols = Uint8Array.from({ length: 20_000 }, (_, i) => (next() < ((i % period) % 3 === 0 ? 0.6 : 0.01) ? 1 + Math.floor(4 * next()) : 0)); // prettier-ignore
    const { coder, bytes, numbers: head } = chooseStream(symbols, 5, [period]);
    expect([coder, head[4]]).toEqual(['matrix', period]);
    // Bits by column: a third at H(0.6) = 0.97 and 0.2 · 2 of values each, the rest at H(0.01) = 0.08.
    expect((8 * bytes.length) / symbols.length).toBeLessThan(0.86);
    expect(entropyBits(countSymbols(symbols, 5)) / symbols.length).toBeGreaterThan(1.1);
  });
});

describe('the form of a stream', () => {
  const reading = (coded: Coded, alphabet: number, count: number) => {
    let told = 0;
    const stream = readStream(() => coded.numbers[told++]!, alphabet, count);
    expect([told, stream.size]).toEqual([coded.numbers.length, coded.bytes.length]);
    return stream.unpack(coded.bytes);
  };

  it('that is chosen gives the symbols back', () => {
    const chosen = new Set<string>();
    fc.assert(
      fc.property(streams, ({ alphabet, symbols }) => {
        const coded = chooseStream(symbols, alphabet, [1, 20]);
        chosen.add(coded.coder);
        expect(reading(coded, alphabet, symbols.length)).toEqual(symbols);
      }),
      { numRuns: 200 },
    );
    expect([...chosen].sort()).toEqual(expect.arrayContaining(['huffman', 'matrix', 'raw']));
  });

  it('is no matrix where that saves less than it has to', () => {
    const next = random(5);
    // The sizes of rows differ: the values' contexts save a little.
    const symbols = Uint8Array.from({ length: 8000 }, (_, i) => 8 + (i % 40 < 20 ? 7 : 2) * (next() - next()));
    const free = chooseStream(symbols, 16, [40]);
    const bound = chooseStream(symbols, 16, [40], 2000);
    expect([free.coder, bound.coder === 'matrix']).toEqual(['matrix', false]);
    expect(bound.bytes.length - free.bytes.length).toBeLessThan(2000);
    expect(reading(bound, 16, symbols.length)).toEqual(symbols);
  });

  it.each<[Coded['coder'], number, () => Symbols]>([
    ['raw', 256, () => Uint8Array.from({ length: 2000 }, (_, i) => (i * 167) % 256)],
    ['gaps', 300, () => Uint16Array.from({ length: 6000 }, (_, i) => (i % 40 === 0 ? i % 300 : 0))],
    ['rans', 300, () => Uint16Array.from({ length: 6000 }, (_, i) => (i % 7 === 0 ? 1 + (i % 13) : i % 2))],
    ['huffman', 4, () => Uint8Array.of(0, 1, 2, 3)],
  ])('is %s where that is smallest', (coder, alphabet, make) => {
    const symbols = make();
    const coded = chooseStream(symbols, alphabet, []);
    expect(coded.coder).toBe(coder);
    expect(reading(coded, alphabet, symbols.length)).toEqual(symbols);
  });
});

describe('text', () => {
  const coded = (text: Uint8Array): Uint8Array => {
    const bits = encoder();
    codeText(bits, text.slice());
    return bits.finish();
  };

  it('comes back', () => {
    const piece = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constantFrom('/layers.1/attn/MatMul_output_0', '\0\0\0\0', 'Conv').map((text) => new TextEncoder().encode(text))); // prettier-ignore
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = Uint8Array.from(pieces.flatMap((one) => [...one]));
        const out = new Uint8Array(text.length);
        codeText(decoder(coded(text)), out);
        expect(out).toEqual(text);
      }),
      { numRuns: 30 },
    );
  });

  it('of layers that are like each other takes little', () => {
    const text = new TextEncoder().encode(Array.from({ length: 200 }, (_, i) => `/layers.${i}/attn/MatMul_output_0 /layers.${i}/mlp/Gelu_output_0 `).join('')); // prettier-ignore
    expect(coded(text).length).toBeLessThan(text.length / 20);
  });
});

describe('a meter', () => {
  it('counts what an encoder writes', () => {
    const [bits, count] = [encoder(), meter()];
    for (const one of [bits, count]) {
      const write = numbers(one);
      for (let i = 0; i < 2000; i++) write('a', (i * i) % 97);
    }
    expect(Math.abs(bits.finish().length - count.bits() / 8)).toBeLessThan(20);
  });
});
