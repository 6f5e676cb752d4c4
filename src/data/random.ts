import { uniform } from '../util/uniform.ts';
import { dtypes, type TypedArray } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { cast } from './cast.ts';
import type { SourceConfigOf } from './config.ts';
import { inputNamed } from './check.ts';
import { dataError } from './errors.ts';
import { batchAxes, fedWhole } from './layout.ts';
import type { IndexedSource, Opening } from './source.ts';
import { fits } from './transforms.ts';
import type { Tensor } from './types.ts';

/** Samples of a set when none are asked for. */
const randomSamples = 128;

/**
 * Seeded random input: float inputs normal (mean 0, deviation 1) or uniform, integers uniform from low to high. It tells
 * whether a model runs, how fast, and roughly how far apart two models are; it has no answers and gives no accuracy.
 */
export function openRandom(config: SourceConfigOf<'random'>, { inputs, seed, at }: Opening): IndexedSource {
  const { dims: sizes = {}, values = {} } = config;
  for (const name of Object.keys(values)) inputNamed(inputs, name, at('values', name));
  const shapes = inputs.map((input) => ({ input, dims: sampleDims(input, inputs, sizes, at('dims')) }));
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
        const feeds = shapes.map(({ input, dims }) => [input.name, draw(input, dims, next, config)] as const);
        return { id: `random#${index}`, feeds: Object.fromEntries(feeds) };
      },
      close: () => undefined,
    }),
  };
}

type Sizes = NonNullable<SourceConfigOf<'random'>['dims']>;

/** The shape of one sample: a row of a batch, or the whole input where samples run alone. */
function sampleDims(input: ModelInput, inputs: readonly ModelInput[], sizes: Sizes, at: string | undefined): number[] {
  const { name, dims } = input;
  const own = sizes[name];
  const joins = !fedWhole(inputs);
  if (Array.isArray(own)) {
    if (dims === undefined || fits(own, dims, joins)) return own;
    throw dataError(`the shape [${own.join(', ')}] does not fit the model input "${name}", which is [${dims.join(', ')}]`, at); // prettier-ignore
  }
  if (dims === undefined)
    throw dataError(`the model declares no shape for its input "${name}"`, at, `Give that of a sample: kind: random, dims: { ${name}: [1, <size>, …] }.`); // prettier-ignore
  const lead = batchAxes(inputs);
  return dims.map((dim, axis) => {
    // Axis 0 is the batch, which is put together later.
    if (typeof dim === 'number') return axis === 0 && joins ? 1 : dim;
    const size = dim === '?' && axis === 0 ? 1 : (sizes[dim] ?? (lead.has(dim) ? 1 : undefined));
    if (typeof size === 'number') return size;
    throw dataError(`the size of axis ${axis} ("${dim}") of the model input "${name}" is not known`, at, dim === '?' ? `Give the shape of a sample: dims: { ${name}: [1, …] }.` : `Give it: dims: { ${dim}: <size> }.`); // prettier-ignore
  });
}

function draw(
  { name, type }: ModelInput,
  dims: readonly number[],
  next: () => number,
  { distribution, low = 0, high = 1, values: fixed = {} }: SourceConfigOf<'random'>,
): Tensor {
  const count = elementCount(dims);
  if (dtypes[type].array === undefined || type === 'bfloat16')
    throw dataError(`random input of type ${type} cannot be made`);
  const value = fixed[name];
  if (value !== undefined)
    return { type, dims, data: cast(new Float64Array(count).fill(value), 'float64', type, `the value of "${name}"`) };
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
