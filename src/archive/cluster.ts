import { frequencies, frequencyBits } from './coders/rans.ts';

/**
 * Joins contexts whose values are spread alike, as long as the table saved is worth more than what coding loses: the two that lose least first.
 * @param histograms [context][symbol]
 * @returns which table each context uses, and the tables' frequencies
 */
export function cluster(histograms: readonly Uint32Array[]): {
  readonly uses: Uint8Array;
  readonly tables: Uint16Array[];
} {
  interface Group {
    readonly counts: Uint32Array;
    readonly contexts: readonly number[];
    readonly bits: number;
  }
  const group = (counts: Uint32Array, contexts: readonly number[]): Group => ({
    ...{ counts, contexts },
    bits: entropyBits(counts) + tableBits(counts),
  });
  let groups = histograms.flatMap((counts, context) => (counts.some((n) => n > 0) ? [group(counts, [context])] : []));
  const joined = new Map<Group, Map<Group, Group>>();
  const join = (a: Group, b: Group): Group => {
    const known = joined.get(a)?.get(b);
    if (known) return known;
    const made = group(
      a.counts.map((n, symbol) => n + b.counts[symbol]!),
      [...a.contexts, ...b.contexts],
    );
    joined.set(a, (joined.get(a) ?? new Map<Group, Group>()).set(b, made));
    return made;
  };
  while (groups.length > 1) {
    let best: readonly [Group, Group, Group] | undefined;
    let most = 0;
    for (const [i, a] of groups.entries())
      for (const b of groups.slice(i + 1)) {
        const both = join(a, b);
        const saved = a.bits + b.bits - both.bits;
        if (saved > most) [most, best] = [saved, [a, b, both]];
      }
    if (!best) break;
    const [a, b, both] = best;
    groups = [...groups.filter((one) => one !== a && one !== b), both];
  }
  const uses = new Uint8Array(histograms.length);
  for (const [table, { contexts }] of groups.entries()) for (const context of contexts) uses[context] = table;
  return { uses, tables: groups.map(({ counts }) => frequencies(counts, frequencyBits)) };
}

/** What coding symbols by their own frequencies takes. */
export function entropyBits(counts: ArrayLike<number>): number {
  let sum = 0;
  let bits = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    const count = counts[symbol]!;
    sum += count;
    if (count > 0) bits -= count * Math.log2(count);
  }
  return sum > 0 ? bits + sum * Math.log2(sum) : 0;
}

/** About what storing the frequencies takes: their bits, and how far the number of those is from that of the one before. */
function tableBits(counts: Uint32Array): number {
  const each = 2 ** frequencyBits / counts.reduce((a, b) => a + b, 0);
  let bits = 0;
  let before = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    const width = counts[symbol] === 0 ? 0 : 31 - Math.clz32(counts[symbol]! * each + 1);
    bits += width + 0.7 + 1.5 * Math.abs(width - before);
    before = width;
  }
  return bits;
}
