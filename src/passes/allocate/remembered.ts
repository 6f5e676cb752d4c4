import type { Model } from '../../graph/model.ts';
import type { StageContext } from '../pass.ts';

/**
 * What was measured before for the same model object and settings, by the pass instance or in another try of the stage: another
 * budget needs no other measurement.
 */
export async function remembered<T>(
  { memory, cache }: StageContext,
  name: string,
  model: Model,
  settings: readonly unknown[],
  layers: readonly { readonly name: string; readonly widths: readonly number[] }[],
  measure: () => Promise<T>,
): Promise<T> {
  const key = JSON.stringify([settings, layers.map((layer) => [layer.name, layer.widths])]);
  const stores = [memory, ...(cache ? [cache] : [])];
  const all = stores.map((store) => store.get(name) as { model: Model; key: string; value: T } | undefined);
  const known = all.find((one) => one?.model === model && one.key === key);
  const found = known ?? { model, key, value: await measure() };
  for (const store of stores) store.set(name, found);
  return found.value;
}
