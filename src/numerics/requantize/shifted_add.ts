import type { Add, AddScales, AffineCode, Integers, Rescale, Scheme } from './scheme.ts';

/**
 * Addition as TensorFlow Lite does it (kernels/add.cc): both terms, their zero points taken off, are shifted to the left by 20, by 15 where
 * codes have 16 bits, which 32 bits then hold; rescaled to twice the larger of their scales, added, and rescaled to the output's scale. What a
 * term comes to depends on its code alone: a table.
 */
export function shiftedAdd({ a, b, sum, wide }: AddScales, rescaler: Scheme['rescaler']): Add | string {
  const leftShift = wide ? 15 : 20;
  const twice = 2 * Math.max(a.scale, b.scale);
  const made = [
    rescaler([{ product: [a.scale], over: [twice] }]),
    rescaler([{ product: [b.scale], over: [twice] }]),
    rescaler([{ product: [twice], over: [2 ** leftShift, sum.scale] }]),
  ];
  const refused = made.find((one) => typeof one === 'string');
  if (refused !== undefined) return refused;
  const [first, second, last] = made as [Rescale, Rescale, Rescale];
  const [left, right] = [termsOf(first, a, leftShift), termsOf(second, b, leftShift)];
  return (x, y, into) => {
    addTerms(x, left(x), y, right(y), into);
    last(into, 1, into);
    lift(into, sum.zeroPoint);
  };
}

/** Terms by code, from the least that a type of so many bytes has. */
interface Terms {
  readonly least: number;
  readonly table: Int32Array;
}

function termsOf(rescale: Rescale, { zeroPoint }: AffineCode, leftShift: number): (codes: Integers) => Terms {
  const known = new Map<number, Terms>();
  return ({ BYTES_PER_ELEMENT: bytes }) => {
    const found = known.get(bytes);
    if (found !== undefined) return found;
    const least = -(2 ** (8 * bytes - 1));
    const table = Int32Array.from({ length: 3 * -least }, (_, i) => (least + i - zeroPoint) << leftShift);
    rescale(table, 1, table);
    known.set(bytes, { least, table });
    return { least, table };
  };
}

function addTerms(x: Integers, left: Terms, y: Integers, right: Terms, into: Int32Array): void {
  const [{ least, table }, { least: start, table: other }] = [left, right];
  for (let i = 0; i < into.length; i++) into[i] = table[x[i]! - least]! + other[y[i]! - start]!;
}

function lift(values: Int32Array, by: number): void {
  for (let i = 0; i < values.length; i++) values[i] = values[i]! + by;
}
