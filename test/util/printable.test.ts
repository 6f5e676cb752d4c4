import { printable, printableAll } from '../../src/util/printable.ts';

describe('what is printed of names', () => {
  it('shows control characters, line ends and turned text by their codes', () => {
    expect(printable('a\u001b]0;x\u0007\nb\u009b\u202ec é')).toBe('a\\x1b]0;x\\x07\\x0ab\\x9b\\u202ec é');
    expect(printable('one\ntwo\r', true)).toBe('one\ntwo\\x0d');
  });

  it('reaches all texts of plain data and leaves the rest', () => {
    const bytes = Uint8Array.of(1);
    const value = { 'k\n': ['a\t', 1, null, undefined, bytes], inner: { text: '\u001b' } };
    expect(printableAll(value)).toEqual({ 'k\\x0a': ['a\\x09', 1, null, undefined, bytes], inner: { text: '\\x1b' } });
  });
});
