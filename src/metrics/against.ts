import * as z from 'zod';

/** What a metric judges answers by, where labels and the float model's own answers will both do. */
export const against = z
  .enum(['labels', 'float'])
  .describe("What answers are judged by: the labels, or the float model's answers. Default: labels where the data has them."); // prettier-ignore

export type Against = z.infer<typeof against>;

/** What such a metric needs, and the value of the float model where that is known beforehand. */
export const judgedBy = (
  what: Against | undefined,
  perfect: number,
): { readonly needs: 'labels' | 'reference'; readonly perfect: number | undefined } =>
  what === 'labels' ? { needs: 'labels', perfect: undefined } : { needs: 'reference', perfect };
