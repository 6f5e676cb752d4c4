import * as z from 'zod';
import { gridError, nextFloat32, scaledGrid } from '../grid.ts';
import type { Format, LevelSet, Look } from './format.ts';
import { mirrored } from './minifloat.ts';
import { bitsOption, scaleOption } from './options.ts';
import { fitScale, normalScale } from './scale.ts';

const options = z.strictObject({
  bits: bitsOption(3, 12, 8),
  es: z.int().min(0).max(2).default(2).meta({ description: 'bits of the exponent; 2 in the standard' }),
  scale: scaleOption('mse'),
});

/**
 * Posits: a sign, a run of equal bits that counts powers of 2^(2^es), es bits of exponent, and what is left as a fraction: exact near 1, coarse far from it. A number is rounded as its
 * bits are: the border between two neighbours is the posit of one bit more between them, a tie goes to the even code, and nothing but 0 becomes 0.
 */
export const posit = {
  name: 'posit',
  summary: 'posits: most exact near 1, with a wide range',
  source: 'Gustafson and Yonemoto 2017; Standard for Posit Arithmetic (2022)',
  options,
  sharing: () => 'channel',
  bits: ({ bits }) => bits,
  set: ({ bits, es }, signed) => set(bits, es, signed),
  fit: (values, { scale }, look, levels) =>
    scale === 'mse' ? { set: levels, scale: aroundOne(values, levels, look) } : fitScale(values, levels, scale, look),
} satisfies Format<z.infer<typeof options>>;

/**
 * The scale of least squared error. Posits are most exact near 1 and reach far beyond, so it is looked for where the root mean square of the values
 * comes near 1, not where the largest meets the outermost level: 4 octaves to either side, eighths of one.
 */
function aroundOne(values: Float32Array, set: LevelSet, { importance }: Look): number {
  const square = values.reduce((sum, v) => sum + v * v, 0) / values.length;
  if (square === 0) return 1;
  let [best, least] = [1, Infinity];
  for (let i = -32; i <= 32; i++) {
    // The outermost level stays a float32 number.
    const scale = normalScale(Math.min(Math.sqrt(square) * 2 ** (i / 8), 2 ** 127 / set.levels.at(-1)!));
    const error = gridError(scaledGrid(set, scale), values, importance);
    if (error < least) [least, best] = [error, scale];
  }
  return best;
}

function set(bits: number, es: number, signed: boolean): LevelSet {
  const codes = Array.from({ length: 2 ** (bits - 1) - 1 }, (_, i) => i + 1);
  const levels = mirrored([0, ...codes.map((code) => positive(code, bits, es))], signed);
  // From the even code before, a tie stays there; nothing positive becomes 0.
  const middle = (code: number): number => (code === 1 ? 0 : positive(2 * code - 1, bits + 1, es));
  const above = codes.map((code) => (code % 2 === 0 ? middle(code) : nextFloat32(middle(code))));
  const below = codes.map((code) => (code % 2 === 0 ? nextFloat32(-middle(code)) : -middle(code))).reverse();
  return { levels, thresholds: Float32Array.of(...(signed ? below : []), ...above) };
}

/** The value of a positive code: 1 … 2^(bits − 1) − 1. */
function positive(code: number, bits: number, es: number): number {
  const text = code.toString(2).padStart(bits - 1, '0');
  const run = /^(0+|1+)/.exec(text)?.[0].length ?? 0;
  const regime = text.startsWith('1') ? run - 1 : -run;
  const rest = text.slice(run + 1);
  const exponent = parseInt(rest.slice(0, es).padEnd(es, '0') || '0', 2);
  const fraction = rest.slice(es);
  return (
    2 ** (regime * 2 ** es + exponent) * (1 + (fraction === '' ? 0 : parseInt(fraction, 2) / 2 ** fraction.length))
  );
}
