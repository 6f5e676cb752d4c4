import type { Source } from './source.ts';
import type { Store } from './store.ts';

export const formNames = ['cast', 'bits', 'radix', 'rice', 'codebook', 'sparse'] as const;
export type FormName = (typeof formNames)[number];

/** One way to store a source, exact. */
export interface Encoding {
  readonly form: FormName | 'plain';
  /** What the report says of it: `3-bit codes`. */
  readonly detail: string;
  /** The oldest operator set in which its operators and types exist. */
  readonly opset: number;
  /**
   * Elements that decoding gives: the source's, and behind them what fills the last byte or word (any value, but always one
   * that a further decoder can take).
   */
  readonly length: number;
  /** Bytes of the values computed on the way: onnxruntime holds them all while a session is created. */
  readonly work: number;
  /** Writes what decodes the source into a vector [length]; returns its name. */
  write(store: Store): string;
}

/** The encodings of an inner source (the indices of a codebook, the values of a sparse tensor) by the forms named. */
export type Inner = (source: Source, forms: readonly Encoding['form'][]) => readonly Encoding[];

/** The ways a form has for a source; none where it cannot hold it or has nothing to gain. */
export type Form = (source: Source, inner: Inner) => readonly Encoding[];
