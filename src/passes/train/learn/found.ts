import type { Feeds } from '../../../data/types.ts';
import { given, must } from '../../../util/must.ts';
import { float } from '../step.ts';
import type { FoundNumbers, WeightFacts } from '../surrogate/surrogate.ts';
import type { Dressed } from './dressed.ts';

/** A trained number of a weight or value: owner, name. */
export type KeptNumbers = (owner: string, name: string) => Float32Array;

/**
 * What is found outside of the graph for its weights as they are.
 * @param weightOf the weight that is trained, by its tensor.
 * @returns by the constant, as it is fed.
 */
export function foundFeeds(
  { found }: Dressed,
  each: FoundNumbers['each'],
  { weightOf, kept, done }: { readonly weightOf: (tensor: string) => Float32Array; readonly kept: KeptNumbers; readonly done: number }, // prettier-ignore
): Feeds {
  const feeds: Record<string, Feeds[string]> = {};
  for (const { tensor, dims, axis, found: own, constants } of found) {
    if (own.each !== each) continue;
    const numbers = own.find({ data: weightOf(tensor), dims, axis }, (name) => kept(tensor, name), done);
    for (const [name, { name: as, dims: shape }] of constants) feeds[as] = float(must(numbers, name, 'the number'), shape); // prettier-ignore
  }
  return feeds;
}

/** All numbers of a weight when the file is written, those that are found then among them. */
export function lastNumbers(
  facts: WeightFacts,
  found: FoundNumbers | undefined,
  kept: (name: string) => Float32Array,
): (name: string) => Float32Array {
  const numbers = found?.find(facts, kept, 1);
  return (name) => (numbers && found?.names.includes(name) === true ? given(numbers.get(name), name) : kept(name));
}
