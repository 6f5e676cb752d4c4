import type { Measurement, StageReport } from './report.ts';

/** What a run tells while it goes. `done` goes from 0 to 1 within the phase that was named last. */
export type RunEvent =
  | { readonly kind: 'phase'; readonly text: string }
  | { readonly kind: 'progress'; readonly done: number; readonly text: string }
  | { readonly kind: 'baseline'; readonly measurement: Measurement }
  | { readonly kind: 'stage'; readonly report: StageReport }
  | { readonly kind: 'note'; readonly text: string };
