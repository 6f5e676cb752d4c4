import * as z from 'zod';
import { unary } from '../../../autodiff/writer.ts';
import { formatCodes } from '../../../numerics/formats/apply.ts';
import type { BoundFormat, Sharing } from '../../../numerics/formats/format.ts';
import { heldBy, writtenFormat } from '../../../numerics/formats/written.ts';
import { fromRows, rowView, toRows } from '../../../numerics/rows.ts';
import { asNumber, float } from '../../quantize/formats.ts';
import { learningKind, binaryOptions } from './kind.ts';
import { lsq } from './lsq.ts';
import { otherWidths, rangeActivations } from './range_linear.ts';
import { commonSteps, type Method, type WeightFacts, type WeightRounder } from './surrogate.ts';

/** Weights as a format rounds them, fitted anew before each step; dw = dy. */
export function formatWeights(format: BoundFormat, sharing?: Sharing): WeightRounder {
  const rounded = ({ data, dims, axis }: WeightFacts): Float32Array => {
    const view = rowView(dims, axis === undefined ? [] : [axis]);
    const rows = { data: toRows(data, view), rows: view.rows, columns: view.columns, kernel: dims.slice(2) };
    return fromRows(formatCodes(format, rows, { sharing }).values, view);
  };
  return {
    label: format.label,
    keeps: (facts) => [{ name: 'rounded', dims: facts.dims, first: rounded(facts) }],
    found: { names: ['rounded'], each: 'step', find: (facts) => new Map([['rounded', rounded(facts)]]) },
    write: (w, x, kept) => ({
      y: unary(w, 'Identity', kept('rounded')),
      surrogate: { inputs: [x.name], gradient: (_, dy) => [dy] },
    }),
    step: (facts, kept) => commonSteps(facts, kept('rounded')),
  };
}

const options = z
  .strictObject({
    ...binaryOptions,
    format: writtenFormat.superRefine(heldBy('notWeights')).meta({ description: 'number format of the weights: a name (ternary), name:option=value,… or a mapping with name' }), // prettier-ignore
    sharing: z.union([z.enum(['tensor', 'channel', 'row', 'pixel']), z.strictObject({ group: z.int().min(1) })]).optional().meta({ description: "which weights share parameters; the format's own way if not given" }), // prettier-ignore
    bits_weights: z.union([...float]).transform(asNumber).optional().meta({ description: 'float: all weights stay; the format says how many bits there are' }), // prettier-ignore
    activations: z.enum(['learned_step', 'range']).default('learned_step').meta({ description: 'how activations are held: learned_step as LSQ, range by averages of their range' }), // prettier-ignore
  })
  .transform((o) => ({ ...o, bits_weights: o.bits_weights === null ? null : o.format.bits }));

/** Any number format as the weights of a network that learns: what the papers of most formats call training with a straight-through estimator. */
const formatTraining = (o: {
  readonly format: BoundFormat;
  readonly sharing?: Sharing | undefined;
  readonly activations: 'learned_step' | 'range';
}): Method => ({
  refuse: (bits) => (bits === o.format.bits ? undefined : otherWidths.refuse?.(bits)),
  weights: (bits) => (bits === o.format.bits ? formatWeights(o.format, o.sharing) : otherWidths.weights(bits)),
  activations: (bits, facts) => (o.activations === 'range' ? rangeActivations(bits) : lsq.activations(bits, facts)),
});

export const formatTrainer = learningKind<z.infer<typeof options>>({
  name: 'train/surrogate/format',
  classes: ['QuantAwareTrainFormatQuantizer'],
  summary:
    'weights in any number format, fitted anew at each step: ternary, binary, powers of two, floats of few bits, codebooks',
  source:
    "each format's own (docs/formats.md); straight-through gradients: Bengio, Léonard and Courville 2013 (arXiv 1308.3432)",
  options,
  method: formatTraining,
});
