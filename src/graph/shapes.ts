import type { DType } from './dtype.ts';

/** Type and concrete shape of every value of a model, as seen on one batch. Axis 0 holds that batch's size where it is a batch axis. */
export type Shapes = ReadonlyMap<string, { readonly type: DType; readonly dims: readonly number[] }>;

/** The same where not all is known: an open axis has its name, or '' where it has none. */
export type OpenShapes = ReadonlyMap<string, { readonly type: DType; readonly dims: readonly (number | string)[] }>;
