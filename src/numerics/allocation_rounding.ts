/** A layer whose width is to be one of a few: noise and cost of each, widths rising. */
export interface DiscreteItem {
  readonly widths: readonly number[];
  /** Noise-to-signal ratio at the output for each width. */
  readonly noise: readonly number[];
  /** Cost of each width, rising. */
  readonly cost: readonly number[];
}

/**
 * Takes real widths (a closed form's) to allowed ones. Each goes down to the nearest allowed width; then, while the constraint
 * lets it, the step up that removes most noise for its cost is taken. For a noise limit the steps end when it is reached; then
 * those that turn out not to be needed are taken back, the dearest first.
 * @returns the index of the width of each layer. A limit that even the most bits do not reach gives the most bits.
 */
export function roundWidths(
  items: readonly DiscreteItem[],
  ideal: readonly number[],
  constraint: { readonly budget: number } | { readonly noise: number },
): number[] {
  const chosen = items.map(({ widths }, i) => {
    const below = widths.filter((w) => w <= ideal[i]! + 1e-9).length;
    return Math.max(0, below - 1);
  });
  const at = (list: 'noise' | 'cost', i: number, index: number): number => items[i]![list][index] ?? 0;
  const total = (list: 'noise' | 'cost'): number => chosen.reduce((sum, index, i) => sum + at(list, i, index), 0);
  const change = (list: 'noise' | 'cost', i: number, by: 1 | -1): number => {
    const index = chosen[i]!;
    return at(list, i, index + by) - at(list, i, index);
  };
  const movable = (by: 1 | -1): number[] =>
    [...items.keys()].filter((i) => items[i]!.widths[chosen[i]! + by] !== undefined);
  /** Noise removed (up) or added (down) for a unit of cost. */
  const rate = (i: number, by: 1 | -1): number =>
    Math.abs(change('noise', i, by)) / Math.max(Math.abs(change('cost', i, by)), Number.MIN_VALUE);
  const best = (list: readonly number[], score: (i: number) => number): number | undefined =>
    list.reduce<number | undefined>((b, i) => (b === undefined || score(i) > score(b) ? i : b), undefined);
  const move = (i: number, by: 1 | -1): void => {
    chosen[i]! += by;
  };
  if ('budget' in constraint) {
    const limit = constraint.budget * (1 + 1e-12);
    // Rounding down keeps what the real solution kept, unless a rule had forced widths up.
    for (let over = total('cost') > limit; over; over = total('cost') > limit) {
      const i = best(movable(-1), (k) => -rate(k, -1));
      if (i === undefined) break;
      move(i, -1);
    }
    for (;;) {
      const left = limit - total('cost');
      const fitting = movable(1).filter((k) => change('cost', k, 1) <= left && change('noise', k, 1) < 0);
      const i = best(fitting, (k) => rate(k, 1));
      if (i === undefined) return chosen;
      move(i, 1);
    }
  }
  while (total('noise') > constraint.noise) {
    const i = best(movable(1), (k) => rate(k, 1));
    if (i === undefined) return chosen;
    move(i, 1);
  }
  for (;;) {
    const spare = constraint.noise - total('noise');
    const list = movable(-1).filter((k) => change('noise', k, -1) <= spare);
    const i = best(list, (k) => -change('cost', k, -1));
    if (i === undefined) return chosen;
    move(i, -1);
  }
}
