import fc from '../helpers/fc.ts';
import { regexpTest } from '../../src/util/regexp.ts';

const atoms = ['a', 'b', '.', '[ab]', '[^a-c]', '\\d', '\\w', '\\.', '\\x61', '^', '$', '\\b', '\\B', ''];
const around = ['(', '(?:', '(?=', '(?!', '(?<=', '(?<!', '(?<n>'];
const quantifiers = ['', '', '*', '+', '?', '{2}', '{1,}', '{0,2}', '*?', '+?'];
/** Expressions of some depth; lookarounds and anchors stand without quantifiers, which JavaScript refuses or warns of. */
const { expression } = fc.letrec<{ expression: string; group: string }>((tie) => ({
  group: fc.oneof(
    { maxDepth: 3 },
    fc.tuple(fc.constantFrom(...atoms), fc.constantFrom(...quantifiers)).map(([a, q]) => (/^(\^|\$|\\b|\\B|)$/i.test(a) ? a : a + q)), // prettier-ignore
    fc
      .tuple(fc.constantFrom(...around), tie('expression'), fc.constantFrom(...quantifiers))
      .map(([open, inner, q]) => `${open.replace('n', `n${inner.length}x`)}${inner})${/[=!]$/.test(open) ? '' : q}`),
  ),
  expression: fc
    .array(fc.array(tie('group'), { maxLength: 3 }), { minLength: 1, maxLength: 2 })
    .map((options) => options.map((parts) => parts.join('')).join('|')),
}));

const native = (source: string, flags: string): RegExp | undefined => {
  try {
    return new RegExp(source, flags);
  } catch {
    return undefined; // a group's name given twice
  }
};

describe('a regular expression without backtracking', () => {
  it('says what RegExp says', () => {
    fc.assert(
      fc.property(
        expression,
        fc.constantFrom('', 'i', 's'),
        fc.stringMatching(/^[abcA1.\n ]{0,8}$/),
        (source, flags, text) => {
          const wanted = native(source, flags);
          fc.pre(wanted !== undefined);
          expect([source, regexpTest(source, flags)(text)]).toEqual([source, wanted?.test(text)]);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it.each([
    ['(a+)+$', `${'a'.repeat(60)}b`],
    ['^(?:.*a){30}b$', 'a'.repeat(200)],
    ['(a|aa)+$', `${'a'.repeat(200)}!`],
    ['(a*)*(a*)*(a*)*x', 'a'.repeat(200)],
    ['^(?=(a+)+$)', `${'a'.repeat(60)}b`],
    ['(){1000000000}x', 'y'],
    ['(a{0,1}){1000000000}x', 'aay'],
  ])('ends soon on %s', (source, text) => {
    expect(regexpTest(source, '')(text)).toBe(false);
  });

  it('says what it cannot follow', () => {
    expect(() => regexpTest('(a)\\1', '')).toThrow('back references are not supported');
    expect(() => regexpTest('(a', '')).toThrow(/Unterminated group/);
  });
});
