import { adaptiveBit, counters, numbers as coderOf } from './bits.ts';
import { cluster, entropyBits } from './cluster.ts';
import { encodeGaps } from './coders/gaps.ts';
import { codeLengths, encodeHuffman } from './coders/huffman.ts';
import { flagContexts, valueContexts, type Layout } from './coders/matrix.ts';
import { encodeRans, frequencies, scaleOf } from './coders/rans.ts';
import type { Symbols } from './coders/symbols.ts';
import { meter } from './encoder.ts';
import { codeMatrix, encodeMatrix } from './matrix_encoder.ts';
import { readStream, type Next } from './streams.ts';

/** A stream as an archive holds it. */
export interface Coded {
  readonly coder: 'raw' | 'huffman' | 'rans' | 'gaps' | 'matrix';
  /** What `readStream` reads. */
  readonly numbers: readonly number[];
  readonly bytes: Uint8Array;
  /** Bits that say where the symbols are which are not the commonest; 0 where that is not told apart. */
  readonly indexBits: number;
}

/** Of larger streams the lengths of a row are tried on a part. */
const sampled = 2 ** 17;

/**
 * The smallest form of a stream, of all that can hold it.
 * @param periods lengths of a row of the matrix that may be
 * @param least bytes that a matrix has to save: it takes several times as long to decode as the others do
 */
export function chooseStream(symbols: Symbols, alphabet: number, periods: readonly number[], least = 0): Coded {
  const counts = countSymbols(symbols, alphabet);
  const all = [huffman(symbols, counts), rans(symbols, counts)];
  if (alphabet === 256 && symbols instanceof Uint8Array) all.unshift({ coder: 'raw', numbers: [0], bytes: symbols, indexBits: 0 }); // prettier-ignore
  const bits = entropyBits(counts);
  const zero = commonest(counts);
  const share = counts[zero]! / Math.max(1, symbols.length);
  if (share > 0.5 && bits > 0) all.push(gaps(symbols, alphabet, zero));
  // What is as good as noise has no structure to find.
  if (alphabet <= 256 && symbols.length >= 32 && bits > 0 && bits < 7.9 * symbols.length)
    all.push(matrix(symbols as Uint8Array, { alphabet, zero, flagged: share > 0.1 }, periods));
  return smallest(all, alphabet, symbols.length, least);
}

export function countSymbols(symbols: Symbols, alphabet: number): Uint32Array {
  const counts = new Uint32Array(alphabet);
  for (let i = 0; i < symbols.length; i++) counts[symbols[i]!]!++;
  return counts;
}

const commonest = (counts: Uint32Array): number => counts.reduce((best, n, i) => (n > counts[best]! ? i : best), 0);

function smallest(all: readonly Coded[], alphabet: number, count: number, least = 0): Coded {
  const size = ({ coder, numbers, bytes }: Coded): number =>
    8 * bytes.length +
    (coder === 'matrix' ? 8 * least : 0) +
    headBits(numbers, (next) => readStream(next, alphabet, count));
  return all.map((one) => ({ one, size: size(one) })).reduce((a, b) => (b.size < a.size ? b : a)).one;
}

/** What a description takes, as the first of an archive. @param read what reads it */
export function headBits(numbers: readonly number[], read: (next: Next) => unknown): number {
  const bits = meter();
  const code = coderOf(bits);
  let told = 0;
  read((about) => code(about, numbers[told++]!));
  return bits.bits();
}

function huffman(symbols: Symbols, counts: Uint32Array): Coded {
  const lengths = codeLengths(counts);
  const bytes = encodeHuffman(symbols, lengths);
  return { coder: 'huffman', numbers: [1, bytes.length, ...lengths], bytes, indexBits: 0 };
}

function rans(symbols: Symbols, counts: Uint32Array): Coded {
  const scale = scaleOf(counts.length);
  const table = frequencies(counts, scale);
  const bytes = encodeRans(symbols, table, scale);
  return { coder: 'rans', numbers: [2, bytes.length, ...table], bytes, indexBits: 0 };
}

/** Relative positions: of all widths of a gap the one whose two streams have least entropy. */
function gaps(symbols: Symbols, alphabet: number, zero: number): Coded {
  const tried = [2, 3, 4, 5, 6, 7, 8].map((width) => {
    const made = encodeGaps(symbols, zero, width);
    const counts = [countSymbols(made.gaps, 2 ** width), countSymbols(made.values, alphabet)] as const;
    return { width, ...made, counts, bits: entropyBits(counts[0]) + entropyBits(counts[1]) };
  });
  const { width, gaps, values, counts } = tried.reduce((a, b) => (b.bits < a.bits ? b : a));
  const first = smallest([huffman(gaps, counts[0]), rans(gaps, counts[0])], 2 ** width, gaps.length);
  const second = smallest([huffman(values, counts[1]), rans(values, counts[1])], alphabet, gaps.length);
  return {
    coder: 'gaps',
    numbers: [3, zero, width, gaps.length, ...first.numbers, ...second.numbers],
    bytes: joined([first.bytes, second.bytes]),
    indexBits: 8 * first.bytes.length,
  };
}

/** Bytes one after the other. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Rows of the length with which a part is smallest. */
function matrix(symbols: Uint8Array, kind: Omit<Layout, 'period'>, periods: readonly number[]): Coded {
  const part = symbols.subarray(0, sampled);
  const fitting = [...new Set([1, ...periods])].filter((period) => period >= 1 && period <= part.length);
  if (fitting.length === 1) return matrixOf(symbols, { ...kind, period: 1 });
  const tried = fitting.map((period) => ({ period, made: matrixOf(part, { ...kind, period }) }));
  const best = tried.reduce((a, b) => (b.made.bytes.length < a.made.bytes.length ? b : a));
  return part.length === symbols.length ? best.made : matrixOf(symbols, { ...kind, period: best.period });
}

function matrixOf(symbols: Uint8Array, layout: Layout): Coded {
  const { alphabet, zero, flagged, period } = layout;
  const histograms = Array.from({ length: valueContexts }, () => new Uint32Array(alphabet));
  const flags = counters(flagContexts);
  const index = meter();
  const look = {
    flag: (context: number, bit: number) => void adaptiveBit(index, flags, context, bit),
    value: (context: number, symbol: number) => void histograms[context]![symbol]!++,
  };
  codeMatrix(look, symbols, layout);
  const { uses, tables } = cluster(histograms);
  const bytes = encodeMatrix(symbols, layout, tables, uses);
  const used = tables.length > 1 ? [...uses] : [];
  const head = [4, bytes.length, zero, flagged ? 1 : 0, period, tables.length];
  return { coder: 'matrix', numbers: [...head, ...tables.flatMap((table) => [...table]), ...used], bytes, indexBits: index.bits() }; // prettier-ignore
}
