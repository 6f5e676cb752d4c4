import type { Channels } from './types.ts';

/**
 * Of the atoms that one would like to cut, weakest first, those that can go together: no axis is left without an index. Where
 * all of one would go, its strongest stays.
 */
export function leaveOne(channels: Channels, wanted: Iterable<number>): Set<number> {
  const rank = new Map([...wanted].map((atom, i) => [atom, i]));
  const going = new Set(rank.keys());
  // A network repeats the same labels along value after value: each is looked at once.
  const labelled = [...channels.axes.values()].flatMap((axes) => axes.filter((axis) => axis !== undefined));
  for (const axis of new Map(labelled.map((axis) => [axis.join(), axis])).values()) {
    if (!axis.every((atom) => going.has(atom))) continue;
    going.delete(axis.reduce((best, atom) => ((rank.get(atom) ?? 0) > (rank.get(best) ?? 0) ? atom : best)));
  }
  return going;
}
