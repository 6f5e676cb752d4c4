/** Control characters, and those that turn the direction of text: names in a model are free bytes. */
const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

/** Text that a terminal shows as it stands, with control characters as `\x1b` and `\u202e`; `lines` leaves line ends. */
export function printable(text: string, lines = false): string {
  return text.replace(unprintable, (char) => {
    if (lines && char === '\n') return char;
    const code = char.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}

/** Plain data with all its texts printable, keys too. */
export function printableAll<T>(value: T): T {
  if (typeof value === 'string') return printable(value) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => printableAll(item)) as T;
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [printable(key), printableAll(item)])) as T;
}
