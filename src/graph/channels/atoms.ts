/**
 * Union-find over atoms. An atom is the smallest thing that can be cut: one channel, wherever in the graph it appears. Joining
 * two atoms says that they can only go together, freezing one says that it must stay.
 */
export interface Atoms {
  /** New atoms, one an index of an axis. */
  fresh(count: number): Int32Array;
  find(atom: number): number;
  join(a: number, b: number, why: string): void;
  freeze(atom: number, why: string): void;
  /** Why an atom must stay; undefined where it may go. */
  reason(atom: number): string | undefined;
}

/** The label of an index that must stay, for a reason already noted. */
export const fixed = -1;

export function makeAtoms(): Atoms {
  const parent: number[] = [];
  const reasons = new Map<number, string>();
  const find = (atom: number): number => {
    let root = atom;
    while (parent[root] !== root) root = parent[root]!;
    for (let at = atom; at !== root;) {
      const next = parent[at]!;
      parent[at] = root;
      at = next;
    }
    return root;
  };
  const freeze = (atom: number, why: string): void => {
    if (atom === fixed) return;
    const root = find(atom);
    if (!reasons.has(root)) reasons.set(root, why);
  };
  return {
    fresh(count) {
      const first = parent.length;
      for (let i = 0; i < count; i++) parent.push(first + i);
      return Int32Array.from({ length: count }, (_, i) => first + i);
    },
    find,
    join(a, b, why) {
      if (a === fixed) return freeze(b, why);
      if (b === fixed) return freeze(a, why);
      const [x, y] = [find(a), find(b)];
      if (x === y) return;
      const reason = reasons.get(x) ?? reasons.get(y);
      parent[y] = x;
      reasons.delete(y);
      if (reason !== undefined) reasons.set(x, reason);
    },
    freeze,
    reason: (atom) => reasons.get(find(atom)),
  };
}
