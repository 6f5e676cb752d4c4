import type { GraphWriter, Value } from './writer.ts';

/**
 * The gradient that is taken for a value in place of that of the nodes that make it: a rounding that gradients go straight through
 * (Bengio, Léonard and Courville 2013, arXiv 1308.3432, section 4).
 */
export interface Surrogate {
  /** The values that it has gradients by. Through the nodes between them and this one no other gradient is taken. */
  readonly inputs: readonly string[];
  /** The gradients by the inputs, given that by the value; those that are not needed may be left out. */
  gradient(w: GraphWriter, dy: Value, needs: (input: number) => boolean): readonly (Value | undefined)[];
}

/** Surrogates by the value that they stand for. */
export type Surrogates = ReadonlyMap<string, Surrogate>;
