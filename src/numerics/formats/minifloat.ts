import * as z from 'zod';
import type { Format } from './format.ts';
import { scaleOption } from './options.ts';
import { fitScale } from './scale.ts';

/** What the codes of the largest exponent are: all numbers (Ristretto, OCP FP4), all but the last (E4M3FN), or infinity and NaN (IEEE 754). */
const tops = { finite: 0, nan: 1, ieee: 2 } as const;

const options = z.strictObject({
  exponent: z.int().min(1).max(8).default(4).meta({ description: 'bits of the exponent' }),
  mantissa: z.int().min(0).max(7).default(3).meta({ description: 'bits of the mantissa' }),
  bias: z
    .int()
    .min(-64)
    .max(191)
    .optional()
    .meta({ description: 'of the exponent; 2^(exponent − 1) − 1 if not given' }),
  top: z.enum(['finite', 'nan', 'ieee']).default('finite').meta({
    description: 'the codes of the largest exponent: finite: numbers; nan: all but the last; ieee: infinity and NaN',
  }),
  scale: scaleOption('mse'),
});

/** A sign, an exponent and a mantissa: small steps near zero, wide ones far from it; subnormal numbers below the least exponent. */
export const minifloat = {
  name: 'minifloat',
  summary: 'floating point of any exponent and mantissa',
  source: 'Gysel et al. 2016, Ristretto (arXiv 1604.03168); IEEE 754-2019 section 3.3',
  options,
  sharing: () => 'channel',
  bits: ({ exponent, mantissa }) => 1 + exponent + mantissa,
  set: ({ exponent, mantissa, bias, top }, signed) => ({
    levels: mirrored(magnitudes(exponent, mantissa, bias ?? 2 ** (exponent - 1) - 1, top), signed),
  }),
  fit: (values, { scale }, look, set) => fitScale(values, set, scale, look),
} satisfies Format<z.infer<typeof options>>;

/** The magnitudes of a floating-point format in the order of their codes, from 0. Finite ones only. */
export function magnitudes(exponent: number, mantissa: number, bias: number, top: keyof typeof tops): number[] {
  const fractions = 2 ** mantissa;
  const codes = 2 ** (exponent + mantissa) - (top === 'ieee' ? fractions : tops[top]);
  return Array.from({ length: codes }, (_, code) => {
    const e = Math.floor(code / fractions);
    const fraction = (code % fractions) / fractions;
    return e === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (e - bias);
  });
}

/** Magnitudes, rising from 0 or above, with their negatives before them; without where no sign is needed. */
export function mirrored(rising: readonly number[], signed = true): Float32Array {
  if (!signed) return Float32Array.from(rising);
  const above = rising.filter((m) => m > 0);
  return Float32Array.from([...above.map((m) => -m).reverse(), ...(rising.includes(0) ? [0] : []), ...above]);
}

/** A floating-point format that a standard names: nothing to choose but the scale. */
export function floatFormat({ name, summary, source, type, ...shape }: NamedFloat) {
  const { exponent, mantissa, top } = shape;
  const named = z.strictObject({ scale: scaleOption('mse') });
  return {
    name,
    summary,
    source,
    options: named,
    ...(type && { type }),
    sharing: () => 'channel',
    bits: () => 1 + exponent + mantissa,
    set: (_, signed) => ({ levels: mirrored(magnitudes(exponent, mantissa, 2 ** (exponent - 1) - 1, top), signed) }),
    fit: (values, { scale }, look, set) => fitScale(values, set, scale, look),
  } satisfies Format<z.infer<typeof named>>;
}

interface NamedFloat extends Pick<Format, 'name' | 'summary' | 'source' | 'type'> {
  readonly exponent: number;
  readonly mantissa: number;
  readonly top: keyof typeof tops;
}
