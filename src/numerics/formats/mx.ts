import * as z from 'zod';
import { mirrored, magnitudes } from './minifloat.ts';
import type { Format, LevelSet } from './format.ts';
import { groupOption } from './options.ts';
import { largestOf, leastErrorPower, powerOfTwo } from './scale.ts';

const { floor, log2 } = Math;

/** Elements of the OCP Microscaling specification v1.0, table 1. */
const elements = {
  e2m1: { exponent: 2, mantissa: 1, top: 'finite' },
  e2m3: { exponent: 2, mantissa: 3, top: 'finite' },
  e3m2: { exponent: 3, mantissa: 2, top: 'finite' },
  e4m3: { exponent: 4, mantissa: 3, top: 'nan' },
  e5m2: { exponent: 5, mantissa: 2, top: 'ieee' },
} as const;
type Element = keyof typeof elements;

/**
 * A microscaling format: blocks that share a scale 2^(⌊log2 of the largest magnitude⌋ − emax), an E8M0 number, emax the exponent of the element's
 * largest power of two; elements of a few floating-point bits, saturating. (2^−127, E8M0's least, is no normal float32 number: −126 here.)
 */
export function mxFormat<E extends Element>(name: string, summary: string, choices: readonly [E, ...E[]]) {
  const options = z.strictObject({
    element: z
      .enum(choices)
      .default(choices[0] as never)
      .meta({ description: 'exponent and mantissa bits of an element' }),
    block: groupOption(32),
    scale: z.enum(['floor', 'mse']).default('floor').meta({
      description:
        'the power of two of a block; floor: by its largest value, as the specification says; mse: that of least squared error',
    }),
  });
  const shape = ({ element }: { readonly element?: unknown }): (typeof elements)[Element] =>
    elements[element as Element];
  return {
    name,
    summary,
    source: 'OCP Microscaling Formats (MX) Specification v1.0; Rouhani et al. 2023 (arXiv 2310.10537)',
    options,
    sharing: ({ block }) => ({ group: block }),
    notActivations: ({ scale }) =>
      scale === 'mse'
        ? 'a scale of least error is searched for, which no model does while it runs: scale=floor'
        : undefined,
    runTimeBlock: ({ block }) => block,
    bits: (o) => 1 + shape(o).exponent + shape(o).mantissa,
    set: (o, signed) => {
      const { exponent, mantissa, top } = shape(o);
      return { levels: mirrored(magnitudes(exponent, mantissa, 2 ** (exponent - 1) - 1, top), signed) };
    },
    fit: (values, { scale }, look, set) => ({
      set,
      scale: scale === 'floor' ? blockScale(values, set) : leastErrorPower(values, set, look),
    }),
  } satisfies Format<z.infer<typeof options>>;
}

function blockScale(values: Float32Array, { levels }: LevelSet): number {
  const largest = largestOf(values);
  return largest === 0 ? 1 : powerOfTwo(floor(log2(largest)) - floor(log2(largestOf(levels))));
}
