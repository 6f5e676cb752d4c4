import { dtypes, type DType, type TypedArray } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { cast } from './cast.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError } from './errors.ts';
import { uniform } from './order.ts';
import type { IndexedSource, Opening } from './source.ts';
import type { Tensor } from './types.ts';

/** Samples of a set when none are asked for. */
const randomSamples = 128;

/**
 * Seeded random input: float inputs normal (mean 0, deviation 1) or uniform, integers uniform from low to high. It tells
 * whether a model runs, how fast, and roughly how far apart two models are; it has no answers and gives no accuracy.
 */
export function openRandom(config: SourceConfigOf<'random'>, { inputs, seed, at }: Opening): IndexedSource {
  const shapes = inputs.map((input) => ({ input, dims: concreteDims(input, config.dims ?? {}, at('dims')) }));
  const { low = 0, high = 1 } = config;
  if (high < low) throw dataError(`high ${high} is below low ${low}`, at('high'));
  return {
    access: 'index',
    kind: 'random',
    source: `random (seed ${seed})`,
    length: config.samples ?? randomSamples,
    labelled: false,
    notes: ['the input is random: it shows no accuracy'],
    identity: (index) => `random ${seed}#${index}`,
    open: async () => ({
      read(index) {
        // Far apart in the generator's sequence, so that samples of neighbouring indexes share no numbers.
        const next = uniform(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca77));
        const feeds = shapes.map(({ input, dims }) => [input.name, draw(input.type, dims, next, config)] as const);
        return { id: `random#${index}`, feeds: Object.fromEntries(feeds) };
      },
      close: () => undefined,
    }),
  };
}

function concreteDims(input: ModelInput, sizes: Readonly<Record<string, number>>, at: string | undefined): number[] {
  return input.dims.map((dim, axis) => {
    // Axis 0 is the batch, which is put together later.
    if (axis === 0) return 1;
    if (typeof dim === 'number') return dim;
    const size = sizes[dim];
    if (size === undefined)
      throw dataError(`the size of axis ${axis} ("${dim}") of the model input "${input.name}" is not known`, at, `Give it: dims: { ${dim}: <size> }.`); // prettier-ignore
    return size;
  });
}

function draw(
  type: DType,
  dims: readonly number[],
  next: () => number,
  { distribution, low = 0, high = 1 }: SourceConfigOf<'random'>,
): Tensor {
  const count = elementCount(dims);
  if (dtypes[type].array === undefined || type === 'bfloat16')
    throw dataError(`random input of type ${type} cannot be made`);
  if (type === 'bool') return { type, dims, data: Uint8Array.from({ length: count }, () => (next() < 0.5 ? 0 : 1)) };
  const isFloat = type.startsWith('float');
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    if (!isFloat) values[i] = Math.floor(low + next() * (high - low + 1));
    else if (distribution === 'uniform') values[i] = low + next() * (high - low);
    // Box and Muller (1958); 1 − u keeps the logarithm's argument above 0.
    else values[i] = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  }
  return { type, dims, data: cast(values, 'float32', type, 'random input') satisfies TypedArray };
}
