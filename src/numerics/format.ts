import type { BoundFormat } from './formats/format.ts';

/** How one number is held. `int` covers every integer width 2 to 16; what stores it in a file is decided by `encode/`. */
export type NumberFormat =
  | {
      readonly kind: 'int';
      readonly bits: number;
      readonly signed: boolean;
      readonly symmetric: boolean;
      readonly narrow?: boolean;
    }
  /** One of `formats/`: the set of values that it says. */
  | { readonly kind: 'format'; readonly format: BoundFormat }
  /** int8 codes of one step for all channels; `bits` is what a code takes on average once it is coded by its frequency. */
  | { readonly kind: 'coded'; readonly bits: number; readonly step: number }
  | { readonly kind: 'float'; readonly bits: 16 | 32 };

/** Which elements of a tensor share one scale. `axis` counts from 0 and is never negative. */
export type Granularity =
  | { readonly per: 'tensor' }
  | { readonly per: 'channel'; readonly axis: number }
  | { readonly per: 'group'; readonly axis: number; readonly size: number };

/** Scale and zero point: real = scale * (code - zeroPoint). One entry a channel or group, in the tensor's row-major order of groups. */
export interface QuantParams {
  readonly format: Extract<NumberFormat, { kind: 'int' }>;
  readonly granularity: Granularity;
  readonly scale: Float32Array;
  readonly zeroPoint: Int32Array;
}
