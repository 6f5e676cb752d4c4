import type { Channels } from './types.ts';

/**
 * Of the atoms that one would like to cut, weakest first, those that can go together: no axis is left without an index. Where
 * all of one would go, its strongest stays.
 */
export function leaveOne(channels: Channels, wanted: Iterable<number>): Set<number> {
  const rank = new Map([...wanted].map((atom, i) => [atom, i]));
  const going = new Set(rank.keys());
  for (const axis of distinctAxes(channels)) {
    if (!axis.every((atom) => going.has(atom))) continue;
    going.delete(axis.reduce((best, atom) => ((rank.get(atom) ?? 0) > (rank.get(best) ?? 0) ? atom : best)));
  }
  return going;
}

/** Every labelled axis once; a network repeats the same labels along value after value. */
function distinctAxes(channels: Channels): Int32Array[] {
  const seen = new Map<string, Int32Array>();
  for (const axes of channels.axes.values()) for (const axis of axes) if (axis) seen.set(axis.join(), axis);
  return [...seen.values()];
}
