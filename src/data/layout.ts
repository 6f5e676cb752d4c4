import type { ModelInput } from '../graph/query.ts';

type Shaped = Pick<ModelInput, 'dims'>;

/** An axis that exporters mean the batch by. */
const batchName = /^(batch|batch_?size|bs)$/i;

/**
 * Whether each sample holds the inputs in their full shape and runs alone, because the inputs share no leading batch axis that
 * samples could be joined along: leading sizes that differ (`[1, 512]` beside a state `[2, 1, 128]`), a fixed one beside a free
 * one (`[B, 512]` beside `[2, B, 128]`), or a leading axis of one input that stands elsewhere in another.
 */
export function fedWhole(inputs: readonly Shaped[]): boolean {
  const shapes = inputs.flatMap(({ dims }) => (dims === undefined || dims.length === 0 ? [] : [dims]));
  const leading = new Set(shapes.map(([first]) => first));
  if ([...leading].some((dim) => typeof dim === 'number')) return leading.size > 1;
  const named = (dim: number | string): boolean => typeof dim === 'string' && dim !== '' && dim !== '?';
  return shapes.some(([first, ...rest]) =>
    rest.some((dim) => named(dim) && dim !== first && (leading.has(dim) || isBatch(dim))),
  );
}

const isBatch = (dim: number | string): boolean => typeof dim === 'string' && batchName.test(dim);

/** The batch size that a model insists on: the leading size that all its inputs have, 1 where samples run alone; undefined where it is free. */
export function fixedBatch(inputs: readonly Shaped[]): number | undefined {
  if (fedWhole(inputs)) return 1;
  const first = inputs.find(({ dims }) => dims !== undefined && dims.length > 0)?.dims?.[0];
  return typeof first === 'number' ? first : undefined;
}

/** The free axes whose size need not be given, by name: those that lead an input. They are 1 in a sample. */
export function batchAxes(inputs: readonly Shaped[]): ReadonlySet<string> {
  const firsts = inputs.map(({ dims }) => dims?.[0]);
  const inner = inputs.flatMap(({ dims }) => dims?.slice(1).filter(isBatch) ?? []);
  return new Set([...firsts, ...inner].filter((dim) => typeof dim === 'string').filter((dim) => dim !== '?'));
}
