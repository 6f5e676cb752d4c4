import { addDifferences, apart, noDifferences } from '../../../src/analyze/integer/differences.ts';

it('counts codes that differ, the largest step and the first layer in the model’s order', () => {
  const counting = noDifferences();
  const [own, other] = [Uint8Array.of(3, 255, 1), Uint8Array.of(0, 255, 1)];
  addDifferences(counting, { layer: 'late', op: 'Add', index: 4 }, { differ: 3, steps: 9 }, 6);
  addDifferences(counting, { layer: 'early', op: 'Conv', index: 1 }, apart(own, own, 3), 3);
  addDifferences(counting, { layer: 'middle', op: 'Conv', index: 2 }, apart(own, other, 3), 3);
  addDifferences(counting, { layer: 'middle', op: 'Conv', index: 2 }, apart(other, own, 3), 3);
  const { first, ...found } = counting.found();
  expect(found).toEqual({ values: 15, differ: 5, steps: 9 });
  expect(first).toEqual({ layer: 'middle', op: 'Conv', differ: 2, values: 6 });
});

it.each([Uint8Array, Int8Array, Uint16Array, Int16Array])(
  'compares every code of %p, whatever word it lies in',
  (type) => {
    const [least, most] = [new type([-32768])[0]!, new type([65535])[0]!];
    const own = new type(23);
    expect(apart(own, new type(23), 23)).toEqual({ differ: 0, steps: 0 });
    for (let i = 0; i < 23; i++) {
      const other = new type(23);
      other[i] = 5;
      expect(apart(own, other, 23)).toEqual({ differ: 1, steps: 5 });
      // The last ones are rows of padding.
      expect(apart(own, other, i)).toEqual({ differ: 0, steps: 0 });
    }
    const ends = [new type([least, 0, most, 1, 7]), new type([most, 0, least, 1, 8])] as const;
    expect(apart(...ends, 5)).toEqual({ differ: least === most ? 1 : 3, steps: Math.max(1, Math.abs(most - least)) });
    // A part of a larger array starts anywhere.
    expect(apart(new type([9, 1, 2, 3, 4, 5]).subarray(1), new type([1, 2, 3, 4, 9]), 5)).toEqual({
      differ: 1,
      steps: 4,
    });
  },
);
