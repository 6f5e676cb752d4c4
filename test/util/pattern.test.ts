import fc from '../helpers/fc.ts';
import { parsePattern } from '../../src/util/pattern.ts';

const matches = (text: string, name: string): boolean => parsePattern(text).matches(name);

describe('a selector', () => {
  // pattern, names it matches, names it does not
  const table: readonly [string, readonly string[], readonly string[]][] = [
    ['fc', ['fc'], ['fc1', 'a.fc', 'FC']],
    ['layer*.conv*', ['layer1.0.conv1.weight', 'layer2/x.conv'], ['/layer1/layer1.0/conv1/Conv']],
    ['*', ['', 'onnx::Conv_12', 'a/b\nc'], []],
    ['conv?', ['conv1', 'conv2'], ['conv', 'conv12']],
    ['conv[12].weight', ['conv1.weight', 'conv2.weight'], ['conv3.weight', 'conv12.weight']],
    ['conv[!1]', ['conv2', 'conv!'], ['conv1']],
    ['x[a-c]', ['xb'], ['xd', 'x-']],
    ['{conv,fc*}.weight', ['conv.weight', 'fc12.weight'], ['conv.weights', 'bn.weight']],
    ['a.b', ['a.b'], ['axb']],
    ['a.*', ['a.b'], ['axb']],
    ['w[0', ['w[0'], ['w0']],
    ['w[0]', ['w0', 'w[0]'], ['w']],
    ['a\\*', ['a*'], ['ab']],
    ['a+(b)|c$*', ['a+(b)|c$', 'a+(b)|c$d'], ['aab']],
    ['/conv[12]$/', ['x.conv1', 'conv2'], ['conv1.weight', 'conv3']],
    ['/^CONV/i', ['conv1'], ['xconv']],
    ['/conv1/Conv', ['/conv1/Conv'], ['conv1', 'Conv']],
    ['/layer1/*', ['/layer1/layer1.0/Relu'], ['layer1']],
  ];
  it.each(table)('%s', (text, yes, no) => {
    expect(yes.filter((name) => !matches(text, name))).toEqual([]);
    expect(no.filter((name) => matches(text, name))).toEqual([]);
  });

  it('tells names, globs and regular expressions apart', () => {
    expect(['fc', 'fc*', '/fc/', '/fc'].map((text) => parsePattern(text).kind)).toEqual([
      'name',
      'glob',
      'regex',
      'name',
    ]);
  });

  it('names what is wrong with a regular expression', () => {
    expect(() => parsePattern('/conv[/')).toThrow(
      /"\/conv\[\/" is no regular expression: Unterminated character class/,
    );
    expect(() => parsePattern('')).toThrow('the pattern is empty');
  });

  it('matches its own text and never fails, whatever the name', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1 }).filter((text) => !/^\/.+\/i?$/s.test(text)),
        (text) => matches(text, text),
      ),
    );
  });

  it('as a glob of escaped characters matches exactly what they say', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string(), (text, other) => {
        const pattern = `*${text.replace(/[\\*?[{]/g, '\\$&')}`;
        return (
          matches(pattern, other + text) && matches(pattern, other) === (other === pattern || other.endsWith(text))
        );
      }),
    );
  });
});
