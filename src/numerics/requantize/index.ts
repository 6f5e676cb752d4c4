import { cmsis, cmsisSingle } from './cmsis.ts';
import { gemmlowp } from './gemmlowp.ts';
import { multiplierShift } from './multiplier_shift.ts';
import { onnxruntimeFloat } from './onnxruntime.ts';
import { qnnpackFloat, qnnpackPrecise, qnnpackQ31 } from './qnnpack.ts';
import type { Scheme } from './scheme.ts';

/** Bits of the plain multiplier where nothing is said. */
export const usualMultiplierBits = 8;

/** All schemes, onnxruntime's own first; a new one is its file and a line here. */
export function requantizations(multiplierBits: number = usualMultiplierBits): readonly Scheme[] {
  return [
    onnxruntimeFloat,
    gemmlowp,
    qnnpackQ31,
    qnnpackPrecise,
    qnnpackFloat,
    cmsis,
    cmsisSingle,
    multiplierShift(multiplierBits),
  ];
}
