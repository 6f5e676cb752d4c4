/** A clip range in the tensor's own unit; `min` ≤ `max`. What a calibrator gives; `chooseParams` widens it to hold 0. */
export interface Range {
  readonly min: number;
  readonly max: number;
}
