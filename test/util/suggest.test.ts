import fc from '../helpers/fc.ts';
import { didYouMean, editDistance, nearest } from '../../src/util/suggest.ts';

describe('editDistance', () => {
  it.each([
    ['kitten', 'sitting', 3],
    ['flaw', 'lawn', 2],
    ['', 'abc', 3],
    ['calibartion', 'calibration', 1],
    ['ca', 'abc', 3], // optimal string alignment: 3, where unrestricted Damerau-Levenshtein has 2
  ])('%s -> %s is %i', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
  });

  it('is symmetric, 0 only for equal words, at most the longer length', () => {
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        const d = editDistance(a, b);
        expect(d).toBe(editDistance(b, a));
        expect(d === 0).toBe(a === b);
        expect(d).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
  });
});

describe('nearest', () => {
  const known = ['bits_weights', 'bits_activations', 'calibration', 'overrides', 'top1', 'top5'];
  it.each([
    ['bit_weights', 'bits_weights'],
    ['bitsWeights', 'bits_weights'],
    ['BITS-ACTIVATIONS', 'bits_activations'],
    ['calibraton', 'calibration'],
    ['over', 'overrides'],
    ['top', 'top1'],
    ['tpo5', 'top5'],
  ])('%s means %s', (word, name) => {
    expect(nearest(word, known)).toBe(name);
  });

  it('says nothing where nothing is near', () => {
    expect(nearest('pruners', known)).toBeUndefined();
    expect(nearest('', known)).toBeUndefined();
    expect(nearest('x', ['y'])).toBeUndefined();
    expect(didYouMean('zzz', known)).toBe('');
    expect(didYouMean('overides', known)).toBe(' (did you mean "overrides"?)');
  });
});
