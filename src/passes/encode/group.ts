import { entropyBits } from '../../numerics/coded.ts';
import type { Encoding } from './form.ts';
import { reshaped } from './decoders.ts';
import { bitsFor } from './planes.ts';
import { makeSource, type Source, type Symbols } from './source.ts';
import type { Store } from './store.ts';

/**
 * Tensors that are stored as one, end to end, and cut apart again: names and headers are paid once, and onnxruntime has one
 * decoder to fold instead of one a layer.
 */
export type Group = readonly Source[];

type Counts = ReadonlyMap<number, number>;
const nothing: Counts = new Map();

/** The tensors of a group as one vector; the tensor itself where it is alone. */
export function joined(group: Group): Source {
  const [first] = group as [Source];
  if (group.length === 1) return first;
  const total = group.reduce((sum, source) => sum + source.count, 0);
  const symbols = (): Symbols => {
    const parts = group.map((source) => source.symbols());
    const all = new ((parts[0] as Symbols).constructor as new (length: number) => Symbols)(total);
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  };
  const known = group.reduce<Counts | undefined>((sum, source) => sum && added(sum, source.histogram()), nothing);
  return makeSource(first.type, [total], symbols, known);
}

/** Writes what decodes a group into the values `names`, each in its source's shape. */
export function writeGroup(store: Store, encoding: Encoding, group: Group, names: readonly string[]): void {
  const vector = encoding.write(store);
  const filling = encoding.length - group.reduce((sum, source) => sum + source.count, 0);
  const sizes = [...group.map((source) => source.count), ...(filling > 0 ? [filling] : [])];
  const pieces = sizes.length === 1 ? [vector] : store.split(vector, sizes);
  for (const [i, { dims }] of group.entries()) reshaped(store, pieces[i] as string, dims, names[i]);
}

/**
 * Which tensors are better stored as one: those of a type whose values are spread alike. Sorted by width and entropy, runs of
 * neighbours are joined so that the estimated bytes are fewest (dynamic programming over the cuts).
 * @returns indices of the sources; each is in one group.
 */
export function groupsOf(sources: readonly Source[]): number[][] {
  const types = new Map<string, number[]>();
  for (const [i, source] of sources.entries()) {
    // Clustered floats have values of their own in every layer.
    const key = source.type === 'float32' || source.histogram() === undefined ? `${i}` : source.type;
    types.set(key, [...(types.get(key) ?? []), i]);
  }
  return [...types.values()].flatMap((members) => (members.length === 1 ? [members] : cut(sources, members)));
}

/** Elements of a group at most, so that the memory its decoder takes stays bounded. */
const mostElements = 2 ** 22;

/** Bytes that the nodes, names and tables of one more decoder take, about. */
const decoderBytes = 250;

function cut(sources: readonly Source[], members: readonly number[]): number[][] {
  const sorted = members
    .map((index) => {
      const source = sources[index] as Source;
      const counts = source.histogram() ?? nothing;
      return {
        source,
        index,
        counts,
        width: widthOf(source),
        entropy: entropyBits(counts.values(), source.count) / source.count,
      };
    })
    .sort((a, b) => a.width - b.width || a.entropy - b.entropy);
  // fewest[k] = bytes of the first k, the last group of which begins at from[k].
  const fewest = [0];
  const from = [0];
  for (let end = 1; end <= sorted.length; end++) {
    let counts = nothing;
    let elements = 0;
    fewest[end] = Infinity;
    for (let start = end - 1; start >= 0; start--) {
      const member = sorted[start] as (typeof sorted)[number];
      counts = added(counts, member.counts) ?? nothing;
      elements += member.source.count;
      if (elements > mostElements && start < end - 1) break;
      const bytes = fewest[start]! + decoderBytes + 4 * counts.size + entropyBits(counts.values(), elements) / 8;
      if (bytes < fewest[end]!) [fewest[end], from[end]] = [bytes, start];
    }
  }
  const groups: number[][] = [];
  for (let end = sorted.length; end > 0; end = from[end]!)
    groups.push(sorted.slice(from[end], end).map(({ index }) => index));
  return groups.reverse();
}

function widthOf(source: Source): number {
  const { least, most } = source.range();
  return bitsFor(Math.max(most, -least));
}

function added(a: Counts, b: Counts | undefined): Counts | undefined {
  if (b === undefined) return undefined;
  const sum = new Map(a);
  for (const [symbol, n] of b) sum.set(symbol, (sum.get(symbol) ?? 0) + n);
  return sum;
}
