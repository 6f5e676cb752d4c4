import type { Encoding, Form, FormName, Inner } from './form.ts';
import { bits } from './forms/bits.ts';
import { cast } from './forms/cast.ts';
import { codebook } from './forms/codebook.ts';
import { plain } from './forms/plain.ts';
import { radix } from './forms/radix.ts';
import { rice } from './forms/rice.ts';
import { sparse } from './forms/sparse.ts';
import type { Source } from './source.ts';
import { record, typicalNames } from './store.ts';

const forms: Readonly<Record<Encoding['form'], Form>> = { plain, cast, bits, radix, rice, codebook, sparse };

/**
 * All that the allowed forms make of a source, one inside the other where they nest, for models of an operator set.
 * Two levels deep is as far as bytes can be won: a table of the values that a mask leaves, a mask of a mask.
 */
export function candidatesFor(source: Source, allowed: ReadonlySet<FormName>, opset: number): Encoding[] {
  const encodings = (inner: Source, names: readonly Encoding['form'][], deeper: Inner): Encoding[] =>
    names
      .filter((name) => name === 'plain' || allowed.has(name))
      .flatMap((name) => forms[name](inner, deeper))
      .filter((encoding) => encoding.opset <= opset);
  const none: Inner = () => [];
  const deepest: Inner = (inner, names) => smallest(encodings(inner, names, none));
  const deep: Inner = (inner, names) => encodings(inner, names, deepest);
  return encodings(source, ['cast', 'bits', 'codebook', 'sparse'], deep);
}

function smallest(encodings: readonly Encoding[]): Encoding[] {
  const bytes = encodings.map((encoding) => record((store) => encoding.write(store), typicalNames()).own.bytes);
  const best = encodings[bytes.indexOf(Math.min(...bytes))];
  return best ? [best] : [];
}
