import { div, mul, positive, scaled, sub, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import type { ActivationRounder } from './surrogate.ts';

/** y = round(clip(x, 0, α) · n / α) · α / n with n = 2^bits − 1. */
export function clippedTo(w: GraphWriter, x: Value, alpha: Value, bits: number): Value {
  const n = 2 ** bits - 1;
  const step = scaled(w, alpha, 1 / n);
  const q = w.op('Clip', [unary(w, 'Round', div(w, x, step)), w.scalar(0), w.scalar(n)], x.dims);
  return mul(w, q, step);
}

/** Activations held between 0 and a fixed bound; dx = dy inside. */
export function clippedActivations(bits: number, clip: number): ActivationRounder {
  return {
    bits,
    keeps: () => [],
    write(w, x) {
      const y = clippedTo(w, x, w.scalar(clip), bits);
      const gradient = (w: GraphWriter, dy: Value): Value[] => [mul(w, dy, positive(w, mul(w, x, sub(w, w.scalar(clip), x))))]; // prettier-ignore
      return { y, surrogate: { inputs: [x.name], gradient } };
    },
    affine: () => ({ scale: clip / (2 ** bits - 1), zeroPoint: 0 }),
  };
}
