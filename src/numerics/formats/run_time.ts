import { type Grid } from '../grid.ts';
import type { BoundFormat, Look } from './format.ts';
import { largestOf, unitOf } from './scale.ts';

const { fround } = Math;

/** How activations are rounded whose blocks have scales found when the model runs: each from its largest magnitude. */
export interface BlockGrid {
  /** Neighbours that share a scale. */
  readonly block: number;
  /** From the largest magnitude of a block to its scale. */
  readonly scales: Grid;
  /** The set at scale 1. */
  readonly unit: Grid;
}

const word = new DataView(new ArrayBuffer(4));
/** The float32 number of these bits. */
function float32Of(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}
const largestBits = 0x7f7fffff;

/**
 * The scales of a format with `runTimeBlock` as steps over the magnitudes of float32, found by halving where what `fit` gives changes: so the rule
 * stands in the format alone. @param look what is known of the tensor, for formats with a second scale.
 */
export function blockGrid(format: BoundFormat, block: number, look: Look): BlockGrid {
  const { set } = format.fit(Float32Array.of(1), look);
  const widest = largestOf(set.levels);
  const scaleAt = (bits: number): number => {
    const { scale } = format.fit(Float32Array.of(float32Of(bits)), look);
    // No level beyond the ends of float32.
    return fround(widest * scale) < Infinity ? scale : scale / 2;
  };
  const [levels, thresholds]: number[][] = [[scaleAt(1)], []];
  const steps = (low: number, high: number, atLow: number, atHigh: number): void => {
    if (atLow === atHigh) return;
    if (high - low === 1) {
      levels!.push(atHigh);
      thresholds!.push(float32Of(high));
      return;
    }
    const middle = Math.floor((low + high) / 2);
    const atMiddle = scaleAt(middle);
    steps(low, middle, atLow, atMiddle);
    steps(middle, high, atMiddle, atHigh);
  };
  steps(1, largestBits, scaleAt(1), scaleAt(largestBits));
  const scales = { levels: Float32Array.from(levels!), thresholds: Float32Array.from(thresholds!) };
  return { block, scales, unit: unitOf(set) };
}
