import type { Layer } from '../../graph/layer.ts';
import { errorSums } from '../../numerics/error.ts';
import { formatCodes, storedBits } from '../../numerics/formats/apply.ts';
import type { BoundFormat } from '../../numerics/formats/format.ts';
import { QtoolError } from '../../util/error.ts';
import { weightRows } from '../quantize/format_weights.ts';
import type { AllocatorOptions } from './options.ts';

/** Number formats that a layer may get, by the bits that one of its weights takes in each with its share of the scales; rising. */
export type Choices = ReadonlyMap<number, BoundFormat>;

/** The formats for the weights of a layer. What another holds with less error in no more bits is left out. */
export function formatChoices(weights: readonly Layer[], formats: readonly BoundFormat[]): Choices {
  const all = formats.map((format) => {
    let [bits, noise, count] = [0, 0, 0];
    for (const layer of weights) {
      const rows = weightRows(layer);
      const codes = formatCodes(format, rows, { at: layer.weight.tensor.name });
      bits += storedBits(codes);
      noise += errorSums(rows.data, codes.values).noise;
      count += rows.data.length;
    }
    return { format, bits: bits / count, noise };
  });
  const sorted = all.sort((a, b) => a.bits - b.bits || a.noise - b.noise);
  const best = sorted.filter((one, i) => sorted.slice(0, i).every((before) => before.noise > one.noise));
  return new Map(best.map(({ bits, format }) => [bits, format]));
}

type Asked = Pick<AllocatorOptions, 'quantizer' | 'widths' | 'first' | 'last' | 'scales'> &
  Partial<Pick<AllocatorOptions, 'formats' | 'rounding'>>;

/** What goes with no formats, or with formats alone. @throws QtoolError `schedule`. */
export function checkFormats({ formats, quantizer, widths, first, last, rounding, scales }: Asked): void {
  const refuse = (message: string, hint: string): never => {
    throw new QtoolError('schedule', message, { hint });
  };
  if (Boolean(formats) !== (quantizer === 'FormatQuantizer'))
    refuse('formats and quantizer: FormatQuantizer go together', 'give both, or neither');
  if (!formats) return;
  const unfit = formats.find(({ notWeights }) => notWeights !== undefined);
  if (unfit) refuse(`${unfit.name} cannot hold weights: ${unfit.notWeights}`, 'docs/formats.md says what each holds');
  if (widths !== null || first !== null || last !== null)
    refuse(
      'formats go without widths, first and last',
      "FormatQuantizer's overrides say what single layers are held in",
    );
  if (rounding === 'descent' || scales === 'coded')
    refuse(
      'formats are rounded to nearest, with the scales that are their own',
      'take rounding: nearest and no scales',
    );
}
