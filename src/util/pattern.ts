import { QtoolError } from './error.ts';
import { regexpTest } from './regexp.ts';

/** What a selector of a schedule says: one name, a glob, or a regular expression between slashes. */
export interface Pattern {
  readonly text: string;
  readonly kind: 'name' | 'glob' | 'regex';
  readonly matches: (name: string) => boolean;
}

/**
 * Reads a selector.
 *
 *     fc                    that name
 *     layer*.conv?          glob: `*` any characters (dots and slashes too), `?` one, `[0-3]` `[!ab]` one of these,
 *                           `{a,b}` either; `\` takes the next character as it is
 *     /conv[12]$/           regular expression (JavaScript's, without back references), found anywhere in the name; `/…/i` ignores case
 *
 * The text itself always matches, so that names with brackets or stars in them can be written as they are. Errors: QtoolError
 * for an empty text and a malformed regular expression.
 */
export function parsePattern(text: string): Pattern {
  if (text === '') throw new QtoolError('schedule', 'the pattern is empty', { hint: "write '*' for every layer" });
  const regex = /^\/(.+)\/(i?)$/su.exec(text);
  if (regex !== null) {
    const found = compile(regex[1]!, regex[2]!, text);
    return { text, kind: 'regex', matches: (name) => name === text || found(name) };
  }
  if (!/[*?[{\\]/.test(text)) return { text, kind: 'name', matches: (name) => name === text };
  const whole = compile(`^(?:${globSource(text)})$`, 's', text);
  return { text, kind: 'glob', matches: (name) => name === text || whole(name) };
}

function compile(source: string, flags: string, text: string): (name: string) => boolean {
  try {
    return regexpTest(source, flags);
  } catch (cause) {
    const why = (cause as Error).message.replace(/^Invalid regular expression: /, '').replace(/^\/.*\/\w*: /s, '');
    throw new QtoolError('schedule', `"${text}" is no regular expression: ${why}`, {
      hint: 'put a backslash before characters that are meant as they are',
      cause,
    });
  }
}

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

function globSource(text: string): string {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    const close = c === '[' ? text.indexOf(']', i + 2) : c === '{' ? text.indexOf('}', i + 1) : -1;
    if (c === '*') out += '.*';
    else if (c === '?') out += '.';
    else if (c === '\\' && i + 1 < text.length) out += escaped(text[++i]!);
    else if (close > 0) {
      const inner = text.slice(i + 1, close);
      out += c === '[' ? charClass(inner) : `(?:${inner.split(',').map(globSource).join('|')})`;
      i = close;
    } else out += escaped(c); // an unclosed bracket stands for itself
  }
  return out;
}

function charClass(inner: string): string {
  const not = /^[!^]/.test(inner);
  const set = (not ? inner.slice(1) : inner).replace(/[\\\]^[]/g, '\\$&');
  return `[${not ? '^' : ''}${set}]`;
}
