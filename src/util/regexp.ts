/** Matches a part of a pattern: from all places at once, where it can start, to all places where it can end. */
type Part = (text: string, starts: ReadonlySet<number>) => ReadonlySet<number>;

/**
 * Whether a regular expression is found in a text, as `new RegExp(source, flags).test` says, but without backtracking: the work
 * grows with the text as a polynomial of the expression's nesting, never exponentially, so that no pattern of a schedule hangs. Every part is a
 * function from the set of places it may start at to those it may end at (Thompson 1968 follows all ways at once likewise).
 *
 * @throws SyntaxError what RegExp throws, and for back references, which no such method can follow.
 */
export function regexpTest(source: string, flags: string): (text: string) => boolean {
  new RegExp(source, flags);
  const [part, end] = alternatives({ source, flags }, 0);
  if (end < source.length) throw new SyntaxError(`"${source.slice(end)}" cannot be read`);
  return (text) => part(text, new Set(Array.from({ length: text.length + 1 }, (_, i) => i))).size > 0;
}

interface Reader {
  readonly source: string;
  readonly flags: string;
}

/** Reads `a|b|…` up to the closing bracket or the end, and says where that is. */
function alternatives(reader: Reader, from: number): readonly [Part, number] {
  const { source } = reader;
  const options: Part[][] = [[]];
  let at = from;
  while (at < source.length && source[at] !== ')') {
    if (source[at] === '|') {
      options.push([]);
      at += 1;
      continue;
    }
    const [atom, behind] = atomAt(reader, at);
    const quantifier = /^(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})\??/.exec(source.slice(behind));
    at = behind + (quantifier?.[0].length ?? 0);
    options.at(-1)?.push(quantifier === null ? atom : repeated(atom, ...bounds(quantifier)));
  }
  const ways = options.map((parts): Part => (text, starts) => parts.reduce((places, part) => (places.size === 0 ? places : part(text, places)), starts)); // prettier-ignore
  const [only] = ways;
  return [
    ways.length === 1 && only ? only : (text, starts) => new Set(ways.flatMap((way) => [...way(text, starts)])),
    at,
  ];
}

function bounds([, sign, low, comma, high]: RegExpExecArray): readonly [number, number] {
  if (sign !== undefined) return [sign === '+' ? 1 : 0, sign === '?' ? 1 : Infinity];
  return [Number(low), comma === undefined ? Number(low) : high === '' ? Infinity : Number(high)];
}

function repeated(part: Part, low: number, high: number): Part {
  return (text, starts) => {
    let places = starts;
    // Places only move on: after as many rounds as the text is long they have all left it, or stay as they are.
    const rounds = text.length + 1;
    for (let n = 0; n < Math.min(low, rounds) && places.size > 0; n++) places = part(text, places);
    const all = new Set(places);
    for (let n = low; n < high && places.size > 0; n++) {
      places = new Set([...part(text, places)].filter((place) => !all.has(place)));
      for (const place of places) all.add(place);
    }
    return all;
  };
}

const holds = (test: (text: string, at: number) => boolean): Part => (text, starts) => new Set([...starts].filter((at) => test(text, at))); // prettier-ignore

function atomAt(reader: Reader, at: number): readonly [Part, number] {
  const { source, flags } = reader;
  const rest = source.slice(at);
  const group = /^\((?:\?(?:([:=!])|<([=!])|<[^>]*>))?/.exec(rest);
  if (group !== null) {
    if (/^\(\?/.test(rest) && group[0] === '(') throw new SyntaxError(`"${rest.slice(0, 3)}" is not supported`);
    const [part, end] = alternatives(reader, at + group[0].length);
    return [lookaround(part, group[1], group[2]), end + 1];
  }
  if (rest[0] === '^') return [holds((_, place) => place === 0), at + 1];
  if (rest[0] === '$') return [holds((text, place) => place === text.length), at + 1];
  const edge = /^\\[bB]/.exec(rest)?.[0];
  if (edge !== undefined) {
    const word = (text: string, place: number): boolean => /\w/.test(text[place] ?? '');
    return [holds((text, place) => (word(text, place) !== word(text, place - 1)) === (edge === '\\b')), at + 2];
  }
  if (/^\\[1-9]|^\\k</.test(rest)) throw new SyntaxError('back references are not supported');
  const atom = /^(?:\\x[\da-f]{2}|\\u[\da-f]{4}|\\c[a-z]|\\0[0-7]{0,2}|\\[^]|\[(?:\\[^]|[^\]\\])*\]|[^])/i.exec(rest)?.[0] ?? ''; // prettier-ignore
  return [character(atom, flags), at + atom.length];
}

/** One character, by what RegExp itself says of it. */
function character(atom: string, flags: string): Part {
  const single = new RegExp(`^(?:${atom})$`, flags);
  const known = new Map<string, boolean>();
  const fits = (char: string): boolean => {
    const found = known.get(char) ?? single.test(char);
    known.set(char, found);
    return found;
  };
  return (text, starts) => new Set([...starts].flatMap((at) => (at < text.length && fits(text[at]!) ? [at + 1] : [])));
}

function lookaround(part: Part, ahead: string | undefined, behind: string | undefined): Part {
  if (behind !== undefined)
    return holds((text, at) => {
      const before = new Set(Array.from({ length: at + 1 }, (_, i) => i));
      return part(text, before).has(at) === (behind === '=');
    });
  if (ahead === undefined || ahead === ':') return part;
  return holds((text, at) => part(text, new Set([at])).size > 0 === (ahead === '='));
}
