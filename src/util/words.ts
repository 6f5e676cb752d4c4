/** The words of a text: long lists of names read better so than one a line. */
export const words = (text: string): string[] => text.split(' ');

/** One value under each of the words. */
export const each = <T>(value: T, text: string): Record<string, T> =>
  Object.fromEntries(words(text).map((word) => [word, value]));
