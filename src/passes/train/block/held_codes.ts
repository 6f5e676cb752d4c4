import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers } from '../../../graph/query.ts';
import { typeOf } from '../../../graph/tensor.ts';
import { minmax } from '../../../numerics/minmax.ts';
import { sealed } from '../../../numerics/fold.ts';
import { given, must } from '../../../util/must.ts';
import type { PassContext } from '../../pass.ts';
import { clippedCodes } from '../../quantize/qdq.ts';
import { roundings, type Rounding } from './roundings.ts';

/** Largest codes above which a byte is taken to be used as a whole: samples may show less than there is. */
const narrow = 63;

/**
 * Holds activations of few bits in their range. They lie in bytes that let more codes through, so that a scale which is learned would simply
 * shrink. The width is the least that holds the codes seen on calibration data (but for one above its end, where the zero point's own rounding may
 * have brought the largest), and a Clip of the codes holds them to it, which kernels run through.
 * @param scales of the activations that will be learned.
 * @returns the model, and for each scale that is held the number of bits.
 */
export async function holdCodes(model: Model, scales: ReadonlySet<string>, samples: number, ctx: PassContext) {
  const tensors = initializers(model.graph);
  const open = roundings(model).filter(
    ({ scaleName, clip, quantize }) =>
      scales.has(scaleName) && !clip && typeOf(must(tensors, quantize.input[2] ?? '', 'the zero point')) === 'uint8',
  );
  const bits = new Map<string, number>();
  if (open.length === 0) return { model, bits };
  const wanted = new Map(open.map(({ value }) => [value, [sealed(minmax(value))]]));
  const seen = await ctx.collect(model, wanted, samples);
  const most = new Map<string, number>();
  for (const one of open) {
    const range = given(must(seen, one.value, 'the range of')[0], one.value);
    most.set(one.scaleName, Math.max(most.get(one.scaleName) ?? 0, largestCode(one, range.max)));
  }
  for (const [scale, code] of most)
    if (code <= narrow) bits.set(scale, Math.max(2, Math.ceil(Math.log2(Math.max(1, code)))));
  const held = edit(model, (draft) => {
    for (const { value, scaleName, quantize, restore } of open) {
      const width = bits.get(scaleName);
      if (width === undefined) continue;
      const name = clippedCodes(draft, value, quantize.output[0] ?? '', { high: 2 ** width - 1 });
      draft.update(restore, { input: [name, ...restore.input.slice(1)] });
    }
  });
  return { model: held, bits };
}

const largestCode = ({ scale, zeroPoint }: Rounding, most: number): number =>
  Math.min(255, Math.max(0, Math.round(most / scale) + zeroPoint));
