import type { Stage } from '../schedule/types.ts';
import type { Culprit } from './culprit.ts';
import { overridesText, type Raise } from './fallback.ts';

/** A change of the schedule that may win back what a quantizer cost. */
export interface Cure {
  /** What it is, in a few words. */
  readonly label: string;
  /** Instances to run before and after the quantizer, by class. */
  readonly before?: Instance;
  readonly after?: Instance;
  /** What the quantizer is to be given beside what it has. */
  readonly raised?: Readonly<Record<string, Raise>>;
  readonly calibration?: { readonly method?: string; readonly samples?: number; readonly percentile?: number };
  /** Bits of all weights. */
  readonly bits?: number;
  /** Takes about as long as a run: it is not tried. */
  readonly dear?: boolean;
}

/** A pass of a schedule, by its class. */
export interface Instance {
  readonly name: string;
  readonly class: string;
  readonly options: Readonly<Record<string, unknown>>;
}

const equalizeFirst: Instance = { name: 'equalize', class: 'CrossLayerEqualization', options: {} };
const roundAfter: Instance = { name: 'rounding', class: 'AdaRound', options: { samples: 256, iterations: 0 } };

const bySquares: Cure = { label: 'calibration by least squared error', calibration: { method: 'mse' } };

/** At 7 bits no sum of products saturates. */
export const sevenBits: Cure = { label: 'weights of 7 bits', bits: 7 };

/** None: what others are compared with. */
export const asItIs: Cure = { label: 'the schedule as it is' };

/** Both at once. */
export const together = (one: Cure, other: Cure): Cure => ({
  ...one,
  ...other,
  label: `${one.label} and ${other.label}`,
});

/**
 * What may help a culprit, the milder first: what keeps every layer in 8 bits, then more bits for one.
 * @param available calibration samples.
 * @param ran classes that the schedule runs already: they are not proposed again.
 */
export function curesOf(
  stage: Stage,
  found: Culprit,
  saturating: boolean,
  available = 0,
  ran: ReadonlySet<string> = new Set(),
): Cure[] {
  const cures = likely(stage, found, available, ran);
  // Nothing else helps as long as sums saturate.
  return saturating && stage.pass.name === 'quantize/static'
    ? [sevenBits, ...cures.map((cure) => together(sevenBits, cure))]
    : cures;
}

function likely(
  stage: Stage,
  { layer, part, weighted, cause }: Culprit,
  available: number,
  ran: ReadonlySet<string>,
): Cure[] {
  const o = stage.options as {
    readonly bits_weights?: number | null;
    readonly bits_activations?: number | null;
    readonly calibration?: { readonly method: string; readonly samples: number };
  };
  const narrow = typeof o.bits_weights === 'number' && o.bits_weights < 7;
  const wide: Raise = { bits_weights: 8 };
  const raise = (to: Raise): Cure[] =>
    weighted ? [{ label: overridesText({ [layer]: to }), raised: { [layer]: to } }] : [];
  // A quantizer to number formats has no widths to raise.
  if (!stage.pass.options.safeParse({ overrides: { x: { bits_weights: null } } }).success) return [];
  if (stage.pass.name !== 'quantize/static') return raise(narrow ? wide : { bits_weights: null });
  const before = ran.has(equalizeFirst.class) ? undefined : equalizeFirst;
  const equalize: Cure[] = before ? [{ label: `${before.class} before it`, before }] : [];
  const around = [...equalize.map(({ label }) => label), `${roundAfter.class} after it`].join(' and ');
  const rounding: Cure[] = ran.has(roundAfter.class) ? [] : [{ label: around, ...(before && { before }), after: roundAfter, dear: true }]; // prettier-ignore
  const method = o.calibration?.method;
  // More of the range, or of what it is taken from, is all that helps what is cut off.
  if (cause === 'few samples')
    return available > (o.calibration?.samples ?? Infinity)
      ? [{ label: `all ${available} calibration samples`, calibration: { samples: available } }]
      : [];
  // Only an error that is not made is not magnified.
  if (cause === 'magnified') return raise({ bits_weights: null });
  if (cause === 'clipping')
    return [
      ...(method === 'minmax' ? [] : [{ label: 'calibration by the extremes', calibration: { method: 'minmax' } }]),
      ...(method === 'mse' ? [] : [bySquares]),
      ...equalize,
    ];
  if (cause === 'rare')
    return [
      // Few of all values; few of the samples of a small input.
      ...[99.999, 99.9].map((percentile) => ({
        label: `calibration by percentile ${percentile}`,
        calibration: { method: 'percentile', percentile },
      })),
      ...(method === 'mse' ? [] : [bySquares]),
      ...raise({ bits_activations: 16 }),
    ];
  return [
    ...equalize,
    ...(method === 'minmax' && part === 'input' ? [bySquares] : []),
    ...(part === 'input' ? raise({ bits_activations: 16 }) : []),
    ...(narrow && part === 'weights' ? raise(wide) : []),
    ...raise({ bits_weights: null }),
    ...(part === 'weights' ? rounding : []),
  ];
}
