/**
 * Any report as JSON text with a newline at its end. What JSON has no word for is written readably instead of being lost:
 * numbers that are not finite as the strings `Infinity`, `-Infinity`, `NaN`; bigints as numbers where exact, else strings;
 * maps as objects, typed arrays as arrays, regular expressions as their text.
 */
export function jsonText(value: unknown, indent = 2): string {
  return `${JSON.stringify(value, plainValue, indent)}\n`;
}

function plainValue(_key: string, value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>);
  if (value instanceof Set) return [...(value as Set<unknown>)];
  if (value instanceof RegExp) return value.toString();
  if (ArrayBuffer.isView(value) && !(value instanceof DataView))
    return Array.from(value as unknown as ArrayLike<unknown>);
  return value;
}
