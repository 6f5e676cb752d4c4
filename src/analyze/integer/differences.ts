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

/** Counts where a layer's codes differ from others, in the first `share` of them: the rest are rows of padding. */
export function addDifferences(
  { layers }: Counting,
  place: Place,
  own: Int32Array,
  other: Int32Array,
  share: number,
): void {
  const facts = layers.get(place.index) ?? { ...place, differ: 0, values: 0, steps: 0 };
  layers.set(place.index, facts);
  const length = Math.round(own.length * share);
  // Without branches, which no processor foresees where a third of the codes differ: this loop sees every code of every run.
  let [differ, steps] = [0, 0];
  for (let i = 0; i < length; i++) {
    const apart = (own[i]! - other[i]!) | 0;
    const size = (apart ^ (apart >> 31)) - (apart >> 31);
    differ += -size >>> 31;
    steps -= (steps - size) & ((steps - size) >> 31);
  }
  facts.differ += differ;
  facts.steps = Math.max(facts.steps, steps);
  facts.values += length;
}
