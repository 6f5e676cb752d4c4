import type { ModelInput } from '../graph/query.ts';
import { QtoolError } from '../util/error.ts';
import { didYouMean } from '../util/suggest.ts';

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

/** Sizes of free axes by name, or whole shapes by the name of an input. */
export type AxisSizes = Readonly<Record<string, number | readonly number[]>>;

/** The inputs with free axes of the sizes given. @throws QtoolError `usage` for a name that is neither a free axis nor an input, or a shape that does not fit. */
export function withSizes(inputs: readonly ModelInput[], sizes: AxisSizes = {}): readonly ModelInput[] {
  const free = new Set(inputs.flatMap(({ dims = [] }) => dims.filter((dim) => typeof dim === 'string')));
  for (const [name, size] of Object.entries(sizes)) {
    const input = inputs.find((one) => one.name === name);
    if (typeof size === 'number' ? free.has(name) : input !== undefined) {
      if (typeof size === 'number' || input?.dims === undefined) continue;
      const { dims } = input;
      if (dims.length === size.length && dims.every((dim, axis) => typeof dim === 'string' || dim === size[axis])) continue; // prettier-ignore
      throw new QtoolError('usage', `dims: ${size.join('x')} does not fit the model input "${name}", which is [${dims.join(', ')}]`); // prettier-ignore
    }
    const names = [...(typeof size === 'number' ? free : inputs.map((one) => one.name))].filter((one) => one !== '?');
    const what = typeof size === 'number' ? 'free axis' : 'input';
    throw new QtoolError('usage', `dims: the model has no ${what} "${name}"${didYouMean(name, names)}; it has ${names.join(', ') || 'none that has a name'}`, { hint: typeof size === 'number' ? `the whole shape of an input will do too: ${inputs[0]?.name ?? 'x'}=<size>x<size>…` : undefined }); // prettier-ignore
  }
  return inputs.map((input) => {
    const whole = Object.hasOwn(sizes, input.name) ? sizes[input.name] : undefined;
    if (Array.isArray(whole)) return { ...input, dims: whole as number[] };
    return { ...input, dims: input.dims?.map((dim) => (Object.hasOwn(sizes, dim) ? (sizes[dim] as number) : dim)) };
  });
}
