import type * as z from 'zod';
import { bind } from './bind.ts';
import type { BoundFormat, Format } from './format.ts';
import { abc } from './abc.ts';
import { apot } from './apot.ts';
import { binary } from './binary.ts';
import { clipQ } from './clip_q.ts';
import { codebook } from './codebook.ts';
import { dorefa } from './dorefa.ts';
import { dynamicFixed } from './dynamic_fixed.ts';
import { dynamicTree } from './dynamic_tree.ts';
import { fixed } from './fixed.ts';
import { flexpoint } from './flexpoint.ts';
import { fp4E2m1 } from './fp4_e2m1.ts';
import { fp8E4m3 } from './fp8_e4m3.ts';
import { fp8E5m2 } from './fp8_e5m2.ts';
import { hwgq } from './hwgq.ts';
import { inq } from './inq.ts';
import { int } from './int.ts';
import { logarithmic } from './log2.ts';
import { minifloat } from './minifloat.ts';
import { mxfp4 } from './mxfp4.ts';
import { mxfp6 } from './mxfp6.ts';
import { mxfp8 } from './mxfp8.ts';
import { nf4 } from './nf4.ts';
import { nvfp4 } from './nvfp4.ts';
import { pact } from './pact.ts';
import { posit } from './posit.ts';
import { residual } from './residual.ts';
import { shiftcnn } from './shiftcnn.ts';
import { ternary } from './ternary.ts';
import { weq } from './weq.ts';
import { wrpn } from './wrpn.ts';

/** A format whose options are no longer of a known type: what a list can hold. */
export interface ListedFormat extends Pick<Format, 'name' | 'summary' | 'source' | 'notWeights'> {
  readonly options: z.ZodObject;
  /** @param options checked by `options`. */
  bound(options: never): BoundFormat;
}

/** Every number format, in the order in which pages and tables show them. A new one is its file and one line here. */
export const formats: readonly ListedFormat[] = [
  listed(int),
  listed(fixed),
  listed(dynamicFixed),
  listed(flexpoint),
  listed(minifloat),
  listed(fp8E4m3),
  listed(fp8E5m2),
  listed(fp4E2m1),
  listed(posit),
  listed(mxfp4),
  listed(mxfp6),
  listed(mxfp8),
  listed(nvfp4),
  listed(nf4),
  listed(dynamicTree),
  listed(logarithmic),
  listed(inq),
  listed(shiftcnn),
  listed(apot),
  listed(ternary),
  listed(binary),
  listed(residual),
  listed(abc),
  listed(codebook),
  listed(clipQ),
  listed(weq),
  listed(hwgq),
  listed(dorefa),
  listed(wrpn),
  listed(pact),
];

function listed<S extends z.ZodObject>(format: Format<z.infer<S>> & { readonly options: S }): ListedFormat {
  const { name, summary, source, options, notWeights } = format;
  const bound = (given: z.infer<S>): BoundFormat => bind(format, given);
  return { name, summary, source, options, ...(notWeights !== undefined && { notWeights }), bound };
}
