import type { AxisSizes } from '../data/layout.ts';

/** A word as a POSIX shell reads it back. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`;
}

/**
 * A command line from a command's name, its arguments and commander's options by key: `dataRoot: 'x'` is `--data-root x`, `true` a
 * flag, `false` a `--no-` one. What is true by default (`defaults`) is left out.
 */
export function commandLine(
  words: readonly string[],
  options: Readonly<Record<string, unknown>>,
  defaults: readonly string[] = [],
): string {
  const flags = Object.entries(options).flatMap(([key, value]) => {
    const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (value === undefined || (value === true && defaults.includes(key))) return [];
    if (value === true) return [`--${flag}`];
    if (value === false) return [`--no-${flag}`];
    // Numbers for channels; of a size, height and width.
    if (Array.isArray(value)) return [`--${flag}`, value.join(key === 'resize' ? 'x' : ',')];
    if (key === 'dims') return [`--${flag}`, Object.entries(value as AxisSizes).map(([name, size]) => `${name}=${[size].flat().join('x')}`).join(',')]; // prettier-ignore
    return typeof value === 'string' || typeof value === 'number' ? [`--${flag}`, String(value)] : [];
  });
  return ['qtool', ...words, ...flags].map(quoted).join(' ');
}
