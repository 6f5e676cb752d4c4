import { elementCount } from '../../graph/tensor.ts';
import { bitsFor, ruleBits, type SumFacts } from './accumulators.ts';
import type { Work } from '../../numerics/energy.ts';
import type { PairCount } from './pairs.ts';
import type { ProductStep } from './steps.ts';

/** What the accumulators of one layer need. */
export interface LayerBits {
  readonly layer: string;
  readonly op: string;
  /** Products in one sum, c · k² of a convolution; 0 where both factors are computed. */
  readonly terms: number;
  /** Bits of a signed accumulator that holds every finished sum seen, its bias too. */
  readonly seen: number;
  /** That also holds every partial sum in whatever order; undefined where that was not looked at. */
  readonly partial: number | undefined;
  /** That holds whatever data may come: Σ|w| times the largest input. Undefined where both factors are computed. */
  readonly worst: number | undefined;
  /** 2n + log2(c · k²). */
  readonly rule: number;
  /** Finished sums seen, and those that the asked width does not hold. */
  readonly sums: number;
  readonly outside: number;
  /** Sums of two products that x64 without VNNI would cut at 16 bits, among all. */
  readonly saturated: number;
  readonly pairs: number;
}

export function layerFacts(step: ProductStep, facts: SumFacts, { saturated, pairs }: PairCount): LayerBits {
  const { partial } = facts;
  const width = step.data.code.type.endsWith('16') ? 16 : 8;
  return {
    ...{
      layer: step.layer,
      op: step.op,
      terms: step.terms,
      sums: facts.count,
      outside: facts.outside,
      saturated,
      pairs,
    },
    seen: bitsFor(Math.min(0, facts.low), Math.max(0, facts.high)),
    partial: partial && bitsFor(partial.low, partial.high),
    worst: step.weights && bitsFor(-step.worst, step.worst),
    rule: ruleBits(step.terms, width),
  };
}

/** The work of a layer for one sample; none where both factors are computed. */
export function workOf(
  step: ProductStep,
  { inputs, outputs }: { readonly inputs: number; readonly outputs: number },
  samples: number,
): Work[] {
  if (step.weights === undefined) return [];
  const bytes = (type: string): number => (type.endsWith('16') ? 2 : 1);
  const own = { inputs: inputs / samples, outputs: outputs / samples, weights: elementCount(step.weights.dims) };
  const sizes = { weightBytes: bytes(step.weights.raw.type), codeBytes: bytes(step.data.code.type) };
  return [{ ...own, ...sizes, macs: own.outputs * step.terms }];
}
