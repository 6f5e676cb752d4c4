import type { CodeArray } from './steps.ts';

/** How far codes are from others. */
export interface Difference {
  /** Codes compared, over all layers and samples. */
  readonly values: number;
  readonly differ: number;
  /** The largest difference, in steps of the code. */
  readonly steps: number;
  /** The first layer, in the model's order, where any differs. */
  readonly first:
    { readonly layer: string; readonly op: string; readonly differ: number; readonly values: number } | undefined;
}

interface Place {
  readonly layer: string;
  readonly op: string;
  /** In the model's order. */
  readonly index: number;
}

/** Differences being counted, by layer. */
interface Counting {
  readonly layers: Map<number, Place & { differ: number; values: number; steps: number }>;
  found(): Difference;
}

export function noDifferences(): Counting {
  const layers: Counting['layers'] = new Map();
  return {
    layers,
    found() {
      const all = [...layers.values()];
      const first = all.filter(({ differ }) => differ > 0).sort((a, b) => a.index - b.index)[0];
      const sum = (of: 'differ' | 'values'): number => all.reduce((total, one) => total + one[of], 0);
      return {
        ...{ values: sum('values'), differ: sum('differ') },
        steps: all.reduce((most, { steps }) => Math.max(most, steps), 0),
        first: first && { layer: first.layer, op: first.op, differ: first.differ, values: first.values },
      };
    },
  };
}

/** How many codes differ, and by how many steps at most. */
export interface Apart {
  readonly differ: number;
  readonly steps: number;
}

/** Adds what a layer's codes came to. */
export function addDifferences({ layers }: Counting, place: Place, { differ, steps }: Apart, values: number): void {
  const facts = layers.get(place.index) ?? { ...place, differ: 0, values: 0, steps: 0 };
  layers.set(place.index, facts);
  facts.differ += differ;
  facts.steps = Math.max(facts.steps, steps);
  facts.values += values;
}

/** Compares the first `length` codes with others: the rest are rows of padding. This sees every code of every run. */
export function apart(own: CodeArray, other: CodeArray, length: number): Apart {
  if (own === other) return { differ: 0, steps: 0 };
  const counts = { differ: 0, steps: 0 };
  // Four bytes at a time: most are the same.
  const words = own.BYTES_PER_ELEMENT === 1 && (own.byteOffset | other.byteOffset) % 4 === 0 ? length >> 2 : 0;
  const [a, b] = [own, other].map(({ buffer, byteOffset }) => new Int32Array(buffer, words > 0 ? byteOffset : 0, words)) as [Int32Array, Int32Array]; // prettier-ignore
  for (let i = 0; i < words; i++) if (a[i] !== b[i]) count(counts, own, other, 4 * i, 4 * i + 4);
  count(counts, own, other, 4 * words, length);
  return counts;
}

function count(
  counts: { differ: number; steps: number },
  own: CodeArray,
  other: CodeArray,
  from: number,
  to: number,
): void {
  let { differ, steps } = counts;
  // Without branches, which no processor foresees where a third of the codes differ.
  for (let i = from; i < to; i++) {
    const apart = (own[i]! - other[i]!) | 0;
    const size = (apart ^ (apart >> 31)) - (apart >> 31);
    differ += -size >>> 31;
    steps -= (steps - size) & ((steps - size) >> 31);
  }
  counts.differ = differ;
  counts.steps = steps;
}
