import * as z from 'zod';
import type { Format, LevelSet, Look } from './format.ts';
import { integers } from './int.ts';
import { bitsOption, clipOption, type Clip } from './options.ts';
import { leastErrorScale, normalScale, scaleToLargest } from './scale.ts';

const options = z.strictObject({ bits: bitsOption(2, 8, 4), clip: clipOption('mse') });

/**
 * round(clip(x, 0, α) · (2^b − 1)/α) · α/(2^b − 1). PACT learns α; here it is that of least squared error on the calibration data. Where values are below 0, −α … α in
 * 2^(b−1) − 1 steps to either side.
 */
export const pact = {
  name: 'pact',
  summary: 'activations clipped at α and cut into even steps',
  source: 'Choi et al. 2018, PACT (arXiv 1805.06085)',
  options,
  sharing: () => 'tensor',
  notWeights: 'it clips activations; dorefa is what the paper takes for weights',
  bits: ({ bits }) => bits,
  set: ({ bits }, signed) => ({
    levels: signed ? integers(-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) : integers(0, 2 ** bits - 1),
  }),
  fit: (values, { clip }, look, set) => ({ set, scale: clippedScale(values, set, clip, look) }),
} satisfies Format<z.infer<typeof options>>;

/** The scale that puts the outermost level where values are clipped. */
export function clippedScale(values: Float32Array, set: LevelSet, clip: Clip, look: Look): number {
  if (clip === 'max') return scaleToLargest(values, set);
  if (clip === 'mse') return leastErrorScale(values, set, look);
  return normalScale(clip / set.levels.at(-1)!);
}
