import * as z from 'zod';

/** `augment:` of a schedule: how training samples are changed by chance. */
export const augmentSchema = z.strictObject({});
export type Augment = z.infer<typeof augmentSchema>;
