import fc from '../helpers/fc.ts';
import { parseTable, plainTable } from '../../src/data/manifest.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('plainTable', () => {
  const cell = fc.stringMatching(/^[a-zà-ü0-9_./ -]{1,12}$/).filter((text) => text.trim() !== '');
  const ending = fc.constantFrom('\n', '\r\n');

  it('reads what csv-parse reads', async () => {
    const tables = fc
      .tuple(fc.integer({ min: 1, max: 4 }), ending, fc.boolean(), fc.boolean())
      .chain(([width, end, mark, last]) =>
        fc
          .array(
            fc.oneof(
              { weight: 9, arbitrary: fc.array(cell, { minLength: width, maxLength: width }) },
              fc.constant<string[]>([]),
            ),
            { minLength: 1, maxLength: 8 },
          )
          .map((rows) => `${mark ? '\uFEFF' : ''}${rows.map((row) => row.join(',')).join(end)}${last ? end : ''}`),
      );
    await fc.assert(
      fc.asyncProperty(tables, async (text) => {
        expect(plainTable(text, ',')).toEqual(await parseTable(bytes(text), ',', 'list.csv'));
      }),
    );
  });

  it.each([
    ['quotes', 'file,label\n"a,b",1\n'],
    ['another number of cells', 'file,label\na\n'],
    ['a line of blanks', 'file,label\n  \na,1\n'],
    ['old line ends', 'file,label\ra,1\r'],
  ])('leaves %s to csv-parse', (_, text) => {
    expect(plainTable(text, ',')).toBeUndefined();
  });
});
