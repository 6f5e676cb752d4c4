import type { Surrogate } from '../../../autodiff/surrogate.ts';
import type { GraphWriter, Value } from '../../../autodiff/writer.ts';

/** A number that a surrogate keeps for its tensor, from step to step: learned by its gradient, or followed through the batches. */
export interface Kept {
  readonly name: string;
  readonly dims: readonly number[];
  readonly first: Float32Array;
}

/** What stands in the forward graph for a value that is held in few bits. */
export interface Rounded {
  readonly y: Value;
  /** The gradients of `y`, by what it is made of. */
  readonly surrogate: Surrogate;
  /** What numbers that are followed are in the next step, by their name. */
  readonly next?: ReadonlyMap<string, Value>;
}

/** What rounds one tensor while training, with the numbers that belong to it. */
interface Rounder<F> {
  /** Numbers of its own, by what is known of the tensor when training begins. */
  keeps(facts: F): readonly Kept[];
  /** Writes the rounding of `x`. `kept`: the graph's values of `keeps`. */
  write(w: GraphWriter, x: Value, kept: (name: string) => Value, facts: F): Rounded;
}

/** A layer's weight as it is when training begins. */
export interface WeightFacts {
  readonly data: Float32Array;
  readonly dims: readonly number[];
  /** The axis of the output channels; undefined where they have no axis of their own. */
  readonly axis: number | undefined;
}

/** Numbers of a weight that are found outside of the graph, from the weight as it is. They have no gradient. */
export interface FoundNumbers {
  /** Of `keeps`. */
  readonly names: readonly string[];
  /** Whether before each step, or when an epoch begins and when the file is written. */
  readonly each: 'step' | 'epoch';
  /**
   * @param kept all numbers as they were before.
   * @param done share of the quantizer's epochs that are over; 1 where the file is written, whatever the epoch.
   */
  find(weight: WeightFacts, kept: (name: string) => Float32Array, done: number): ReadonlyMap<string, Float32Array>;
}

/** How weights are rounded while training. */
export interface WeightRounder extends Rounder<WeightFacts> {
  readonly found?: FoundNumbers;
  /** What reports call its numbers; int and the bits where not given. */
  readonly label?: string;
  /**
   * The distance of two neighbouring integer multiples that all levels are among: one for all or one an output channel. Integer kernels can
   * hold the levels where they are at most 127 of these from 0. Absent: the levels are no multiples of a step.
   */
  step?(weight: WeightFacts, kept: (name: string) => Float32Array): Float32Array;
}

/** What is known of an activation: its values in the first batch. */
export interface ActivationFacts {
  readonly data: Float32Array;
  readonly dims: readonly number[];
  /** Whether it cannot be below 0: it comes out of a Relu. */
  readonly unsigned: boolean;
}

/** The codes of an activation in the file. */
export interface AffineCodes {
  readonly scale: number;
  readonly zeroPoint: number;
  /** The scale of QuantizeLinear, where that is not `scale`. */
  readonly step?: number;
  /** The codes that there are, where not all of the format's. */
  readonly codes?: { readonly low: number; readonly high: number };
}

/** How activations are rounded while training: to scale · (code − zero point), codes from 0 to 2^bits − 1. */
export interface ActivationRounder extends Rounder<ActivationFacts> {
  readonly bits: number;
  affine(facts: ActivationFacts, kept: (name: string) => Float32Array): AffineCodes;
}

/** A method: how it holds weights and activations of a width. */
export interface Method {
  /** Why it cannot hold weights of so many bits; undefined where it can. */
  refuse?(bits: number): string | undefined;
  weights(bits: number): WeightRounder;
  activations(bits: number, facts: ActivationFacts): ActivationRounder;
}

/** The largest magnitude. */
export const largest = (data: Float32Array): number => data.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

/** The mean magnitude. */
export const meanMagnitude = (data: Float32Array): number => data.reduce((sum, v) => sum + Math.abs(v), 0) / Math.max(1, data.length); // prettier-ignore

/** Shape of one number for each output channel, broadcast over the weight; none: one for all. */
export const channelDims = ({ dims, axis }: WeightFacts): readonly number[] =>
  axis === undefined ? [] : dims.map((size, i) => (i === axis ? size : 1));

/** What is left of a weight's dims when each output channel is reduced to one number, and the axes that it is reduced over. */
export function perChannel({ dims, axis }: WeightFacts): { readonly dims: readonly number[]; readonly axes: readonly number[] } {
  const axes = [...dims.keys()].filter((i) => i !== axis);
  return { dims: dims.map((size, i) => (i === axis ? size : 1)), axes };
} // prettier-ignore

/** The numbers of each output channel, one array a channel; all of them where channels have no axis. */
export function byChannel({ data, dims, axis }: WeightFacts): Float32Array[] {
  if (axis === undefined) return [data];
  const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const count = dims[axis]!;
  const parts = Array.from({ length: count }, () => new Float32Array(data.length / count));
  const at = new Int32Array(count);
  data.forEach((v, i) => {
    const c = Math.floor(i / inner) % count;
    parts[c]![at[c]!++] = v;
  });
  return parts;
}

/** The least magnitude of levels with a step is at most so many of them. */
const mostLeast = 8;
const wholeEnough = 1e-3;
/** The largest code of a weight that integer kernels take. */
export const mostCode = 127;

/** The step whose whole multiples all of some numbers are; NaN where none is found that integer kernels take. */
function commonStep(values: Float32Array): number {
  const least = values.reduce((m, v) => (v === 0 ? m : Math.min(m, Math.abs(v))), Infinity);
  if (least === Infinity) return 1;
  const fits = (step: number): boolean =>
    values.every((v) => {
      const code = v / step;
      return Math.abs(code) <= mostCode && Math.abs(code - Math.round(code)) <= wholeEnough;
    });
  for (let n = 1; n <= mostLeast; n++) if (fits(least / n)) return Math.fround(least / n);
  return NaN;
}

/** The common step of each output channel. @param data the weight as it is rounded. */
export const commonSteps = (facts: WeightFacts, data: Float32Array): Float32Array => Float32Array.from(byChannel({ ...facts, data }), commonStep); // prettier-ignore
