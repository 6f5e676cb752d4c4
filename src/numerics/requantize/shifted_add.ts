import type { Add, AddScales, Rescale, Scheme } from './scheme.ts';

/** Bits that both terms are shifted to the left by before they are rescaled. */
const leftShift = 20;

/**
 * Addition as TensorFlow Lite does it (kernels/add.cc): both terms, their zero points taken off, are shifted to the left by 20, rescaled to
 * twice the larger of their scales, added, and rescaled to the output's scale.
 */
export function shiftedAdd({ a, b, sum }: AddScales, rescaler: Scheme['rescaler']): Add | string {
  const twice = 2 * Math.max(a.scale, b.scale);
  const made = [
    rescaler([{ product: [a.scale], over: [twice] }]),
    rescaler([{ product: [b.scale], over: [twice] }]),
    rescaler([{ product: [twice], over: [2 ** leftShift, sum.scale] }]),
  ];
  const refused = made.find((one) => typeof one === 'string');
  if (refused !== undefined) return refused;
  const [first, second, last] = made as Rescale[];
  let scratch = new Int32Array(0);
  return (left, right, into) => {
    if (scratch.length < left.length) scratch = new Int32Array(left.length);
    const other = scratch.subarray(0, left.length);
    for (let i = 0; i < left.length; i++) {
      other[i] = (right[i]! - b.zeroPoint) << leftShift;
      into[i] = (left[i]! - a.zeroPoint) << leftShift;
    }
    first!(into, 1, into);
    second!(other, 1, other);
    for (let i = 0; i < into.length; i++) into[i] = into[i]! + other[i]!;
    last!(into, 1, into);
    for (let i = 0; i < into.length; i++) into[i] = into[i]! + sum.zeroPoint;
  };
}
