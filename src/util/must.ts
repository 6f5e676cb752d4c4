/**
 * The entry of a map that has to be there: where it is not, qtool itself is wrong, and the message says what was looked for.
 * Use it instead of `map.get(key) as X`.
 */
export function must<K, V>(map: { get(key: K): V | undefined }, key: K, what: string): V {
  const value = map.get(key);
  // Loops call this: the words are only put together where they are needed.
  return value === undefined ? given(value, `${what} "${String(key)}"`) : value;
}

/** A value that has to be there: undefined is a bug of qtool's, which says what is missing and keeps its stack. */
export function given<V>(value: V | undefined, what: string): V {
  if (value !== undefined) return value;
  throw new Error(`qtool lost track of ${what}`);
}
