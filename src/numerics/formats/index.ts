import type * as z from 'zod';
import { bind } from './bind.ts';
import type { BoundFormat, Format } from './format.ts';
import { int } from './int.ts';
import { minifloat } from './minifloat.ts';
import { ternary } from './ternary.ts';

/** A format whose options are no longer of a known type: what a list can hold. */
export interface ListedFormat extends Pick<Format, 'name' | 'summary' | 'source' | 'notWeights' | 'notActivations'> {
  readonly options: z.ZodObject;
  /** @param options checked by `options`. */
  bound(options: never): BoundFormat;
}

/** Every number format, in the order in which pages and tables show them. A new one is its file and one line here. */
export const formats: readonly ListedFormat[] = [listed(int), listed(minifloat), listed(ternary)];

function listed<S extends z.ZodObject>(format: Format<z.infer<S>> & { readonly options: S }): ListedFormat {
  return { ...format, bound: (options: z.infer<S>) => bind(format, options) };
}
