/** A rectangle of a treemap: the item's index, and where it lies. */
export interface Tile {
  readonly index: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Divides a rectangle between values, areas in proportion to them, as near to squares as rows allow (Bruls, Huizing, van Wijk,
 * "Squarified Treemaps", 2000). Values that are not above zero get no tile; the others come largest first.
 */
export function treemap(values: readonly number[], width: number, height: number): Tile[] {
  const order = values.map((value, index) => ({ value, index })).filter(({ value }) => value > 0);
  order.sort((a, b) => b.value - a.value || a.index - b.index);
  const total = order.reduce((sum, { value }) => sum + value, 0);
  const areas = order.map(({ value, index }) => ({ index, area: (value / total) * width * height }));
  const tiles: Tile[] = [];
  let free = { x: 0, y: 0, width, height };
  for (let start = 0; start < areas.length;) {
    const side = Math.min(free.width, free.height);
    let end = start + 1;
    let sum = areas[start]?.area ?? 0;
    // A row takes the next area as long as that makes its worst tile no longer.
    while (end < areas.length) {
      const [largest, last, next] = [areas[start]?.area ?? 0, areas[end - 1]?.area ?? 0, areas[end]?.area ?? 0];
      if (worst(largest, next, sum + next, side) > worst(largest, last, sum, side)) break;
      sum += next;
      end += 1;
    }
    const across = free.width >= free.height;
    const thickness = side === 0 ? 0 : sum / side;
    let offset = 0;
    for (const { index, area } of areas.slice(start, end)) {
      const length = thickness === 0 ? 0 : area / thickness;
      tiles.push(
        across
          ? { index, x: free.x, y: free.y + offset, width: thickness, height: length }
          : { index, x: free.x + offset, y: free.y, width: length, height: thickness },
      );
      offset += length;
    }
    free = across
      ? { ...free, x: free.x + thickness, width: Math.max(0, free.width - thickness) }
      : { ...free, y: free.y + thickness, height: Math.max(0, free.height - thickness) };
    start = end;
  }
  return tiles;
}

/** The longest side by the shortest, of the worst tile of a row: its largest or its smallest. */
function worst(largest: number, smallest: number, sum: number, side: number): number {
  const [s, w] = [sum * sum, side * side];
  return Math.max((w * largest) / s, s / (w * smallest));
}
