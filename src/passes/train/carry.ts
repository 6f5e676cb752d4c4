import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { initializers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';

/** Places below 2²⁴ are exact as float32. */
const mostPlaces = 2 ** 24 - 1;

/**
 * Where the elements of weights come from that a pass cut out of larger ones: name → places in the old weight, −1 where that is not known.
 * The pass is applied once more, to weights that hold their places in stead of their values (0 stays 0, which is what removers go by), and
 * what comes out says where it was: whatever the pass cuts, and however it finds what to cut. A place counts only where the real old value
 * there is the real new one.
 */
export async function placesAfter(
  before: Model,
  after: Model,
  apply: (model: Model) => Promise<Model>,
): Promise<Map<string, Int32Array>> {
  const old = floatsOf(before);
  const now = floatsOf(after);
  const cut = [...now].filter(([name, { data }]) => (old.get(name)?.data.length ?? data.length) !== data.length);
  if (cut.length === 0) return new Map();
  const coded = edit(before, (draft) => {
    for (const [name, { dims, data }] of old)
      if (data.length <= mostPlaces)
        draft.replace(name, makeTensor(name, 'float32', dims, data.map((v, i) => (v === 0 ? 0 : i + 1)))); // prettier-ignore
  });
  const places = floatsOf(await apply(coded));
  return new Map(
    cut.map(([name, { data }]) => {
      const codes = places.get(name)?.data;
      const was = old.get(name)?.data ?? new Float32Array();
      const from = Int32Array.from(data, (v, i) => {
        const place = (codes?.length === data.length ? codes[i]! : 0) - 1;
        return place >= 0 && Number.isInteger(place) && was[place] === v ? place : -1;
      });
      return [name, from];
    }),
  );
}

/** The elements of `data` at these places; `missing` where a place is not known. */
export const taken = (data: Float32Array, places: Int32Array, missing: number): Float32Array =>
  Float32Array.from(places, (place) => (place < 0 ? missing : data[place]!));

/** All float32 initializers, by name. */
export function floatsOf(model: Model): Map<string, { readonly dims: readonly number[]; readonly data: Float32Array }> {
  const floats = [...initializers(model.graph)].filter(([, tensor]) => typeOf(tensor) === 'float32');
  return new Map(floats.map(([name, tensor]) => [name, { dims: dimsOf(tensor), data: floatData(tensor) }]));
}
