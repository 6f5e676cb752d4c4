import { openModelData as open, type DataOptions } from '../api/data.ts';
import type { RunData } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { Call } from './call.ts';
import { watched } from './watched.ts';

export type { DataOptions };

/** Opens the data of a command for a model. */
export function openModelData(
  model: Model,
  options: DataOptions & { readonly data: string },
  call: Call,
): Promise<RunData> {
  return watched(call, (watch) => open(model, options.data, { ...options, ...watch }));
}
