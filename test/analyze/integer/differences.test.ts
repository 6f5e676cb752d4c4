import { addDifferences, noDifferences } from '../../../src/analyze/integer/differences.ts';

it('counts codes that differ, the largest step and the first layer in the model’s order', () => {
  const counting = noDifferences();
  const own = Int32Array.of(0, 255, -128, 65535, -32768, 7);
  addDifferences(counting, { layer: 'late', op: 'Add', index: 4 }, own, Int32Array.of(0, 254, 127, 0, 32767, 7), 1);
  addDifferences(counting, { layer: 'early', op: 'Conv', index: 1 }, own, own, 1);
  addDifferences(counting, { layer: 'middle', op: 'Conv', index: 2 }, own, Int32Array.of(3, 255, -128, 9, 9, 9), 0.5);
  const { first, ...found } = counting.found();
  expect(found).toEqual({ values: 15, differ: 5, steps: 65535 });
  // The last three are rows of padding.
  expect(first).toEqual({ layer: 'middle', op: 'Conv', differ: 1, values: 3 });
});
