import fc from '../helpers/fc.ts';
import {
  bytes,
  distinct,
  distinctPaths,
  duration,
  hanging,
  number,
  oneLine,
  percent,
  shorten,
  withInterval,
  wrap,
} from '../../src/report/format.ts';
import { parsePattern } from '../../src/util/pattern.ts';

describe('bytes', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.00 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [1_726_412, '1.73 MB'],
    [2_147_483_648, '2.15 GB'],
    [5e12, '5.00e+3 GB'],
  ])('%i is %s', (count, expected) => {
    expect(bytes(count)).toBe(expected);
  });
});

describe('numbers', () => {
  it('prints each unit with its own digits', () => {
    expect(number(91.556, '%')).toBe('91.56');
    expect(number(38.44, 'dB')).toBe('38.4');
    expect(number(0.000123456, '')).toBe('0.0001235');
    expect(number(0, '')).toBe('0');
  });

  it('prints what is no number as such and never a minus zero', () => {
    expect(number(Infinity, 'dB')).toBe('∞');
    expect(number(-Infinity, 'dB')).toBe('-∞');
    expect(number(NaN, '%')).toBe('n/a');
    expect(number(-0, '%')).toBe('0.00');
    // What rounds to nothing is shown all the same.
    expect(number(-0.001, '%')).toBe('-0.001');
    expect(number(0.0234, 'dB')).toBe('0.023');
    expect(number(-0.012, '%')).toBe('-0.01');
  });

  it('leaves out an interval that is not known', () => {
    expect(withInterval(5, undefined, '%')).toBe('5.00');
    expect(withInterval(5, NaN, '%')).toBe('5.00');
    expect(withInterval(5, 0.25, '%')).toBe('5.00 ±0.25');
  });

  it('prints shares and durations', () => {
    expect(percent(0.2586)).toBe('25.9 %');
    expect([0.04, 9.96, 59.6, 61, 3599.6, 7530].map(duration)).toEqual([
      '0.0 s',
      '10 s',
      '1 min 0 s',
      '1 min 1 s',
      '1 h 0 min',
      '2 h 6 min',
    ]);
  });
});

describe('wrap', () => {
  it('keeps every word, in order, within the width', () => {
    const words = fc.array(fc.stringMatching(/^[a-z]{1,12}$/), { maxLength: 30 });
    fc.assert(
      fc.property(words, fc.integer({ min: 12, max: 60 }), (list, width) => {
        const lines = wrap(list.join('  '), width);
        expect(lines.every((line) => line.length <= width)).toBe(true);
        expect(lines.join(' ').trim()).toBe(list.join(' '));
        // Greedy: the first word of a line would not have fitted on the line before.
        for (let i = 1; i < lines.length; i++) {
          const first = lines[i]!.split(' ')[0]!;
          expect(lines[i - 1]!.length + 1 + first.length).toBeGreaterThan(width);
        }
      }),
    );
  });

  it('cuts a word that is wider than a line', () => {
    expect(wrap('ab abcdefgh', 3)).toEqual(['ab', 'abc', 'def', 'gh']);
  });

  it('hangs the following lines under the text', () => {
    expect(hanging('- ', 'one two three', 9)).toBe('- one two\n  three');
  });
});

describe('shorten', () => {
  it('keeps both ends and the width', () => {
    expect(shorten('abcdefghij', 10)).toBe('abcdefghij');
    expect(shorten('abcdefghij', 7)).toBe('abc…hij');
    expect(shorten('abcdefghij', 6)).toBe('ab…hij');
  });
});

describe('distinct', () => {
  const names = [0, 1, 2].flatMap((block) => [1, 2].map((conv) => `/layer1/layer1.${block}/conv${conv}/Conv`));
  it.each([12, 16, 20, 30, 60])('never lets two names read alike in %i columns', (width) => {
    const shown = distinct([...names, ...names.map((name) => name.replaceAll('layer1', 'layer2'))], width);
    expect(new Set(shown).size).toBe(12);
    expect(shown.flatMap((name) => name.split('\n')).filter((line) => line.length > width)).toEqual([]);
  });

  it('cuts what comes first, then the operator', () => {
    expect(distinct(names.slice(0, 2), 20)).toEqual(['*layer1.0/conv1/Conv', '*layer1.0/conv2/Conv']);
    expect(distinct(names.slice(0, 2), 17)).toEqual(['*layer1.0/conv1*', '*layer1.0/conv2*']);
    expect(distinct(['fc'], 4)).toEqual(['fc']);
  });

  it('prints no cut that means another name of those that are not shown', () => {
    const [name = ''] = names;
    const other = `/other${name}`;
    const [cut = ''] = distinct([name], 24, [name, other]);
    expect([name, other].filter(parsePattern(cut).matches)).toEqual([name]);
  });

  it('prints what selects its layer and no other, whatever is in names', () => {
    const part = fc.stringMatching(/^[a-c*?[\]{},\\\n.0]{0,6}$/);
    const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => `n${parts.join('/')}`);
    fc.assert(
      fc.property(
        fc.uniqueArray(name, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 4, max: 24 }),
        (all, width) => {
          for (const [i, cut] of distinct(all, width).entries()) {
            expect(Math.max(...cut.split('\n').map((line) => line.length))).toBeLessThanOrEqual(width);
            if (oneLine(all[i]!).length > width && !cut.includes('\n'))
              expect(all.filter(parsePattern(cut).matches)).toEqual([all[i]]);
          }
        },
      ),
    );
  });

  it('cuts paths of files by another mark, as a star would be read by the shell', () => {
    expect(distinctPaths(['runs/a/some/model.onnx'], 18)).toEqual(['…/some/model.onnx']);
    // The end is what tells files of one folder apart, and the folder files of one name.
    expect(distinctPaths(['/somewhere/models/resnet20_cifar10.onnx', 'u3/model.onnx'], 24)).toEqual(['…/resnet20_cifar10.onnx', 'u3/model.onnx']); // prettier-ignore
    expect(distinctPaths(['a/long/way/to/x/model.onnx', 'a/long/way/to/y/model.onnx'], 16)).toEqual(['…/x/model.onnx', '…/y/model.onnx']); // prettier-ignore
    expect(distinctPaths(['/models/a_name_that_is_long_and_longer.onnx'], 16)).toEqual([expect.stringMatching(/^.{1,16}$/)]); // prettier-ignore
  });
});
