import type { Measurement, StageReport } from './report.ts';

/**
 * What a run tells while it goes. `done` goes from 0 to 1 within the phase that was named last; in an epoch of training `left` is the seconds
 * until the last epoch is over, Infinity while they are not known.
 */
export type RunEvent =
  | { readonly kind: 'phase'; readonly text: string }
  | { readonly kind: 'progress'; readonly done: number; readonly text: string; readonly left?: number | undefined }
  | { readonly kind: 'baseline'; readonly measurement: Measurement }
  | { readonly kind: 'stage'; readonly report: StageReport }
  | { readonly kind: 'note'; readonly text: string };
