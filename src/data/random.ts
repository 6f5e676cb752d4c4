import { uniform } from '../util/uniform.ts';
import { dtypes } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { cast } from './cast.ts';
import type { SourceConfigOf } from './config.ts';
import { inputNamed } from './check.ts';
import { dataError } from './errors.ts';
import { batchAxes, fedWhole } from './layout.ts';
import { limits } from './limits.ts';
import type { IndexedSource, Opening } from './source.ts';
import { fits } from './transforms.ts';
import type { Tensor } from './types.ts';

/** Samples of a set when none are asked for. */
const randomSamples = 128;

/**
 * Seeded random input: float inputs normal (mean 0, deviation 1) or uniform, integers uniform from low to high, or what `inputs` says of
 * each. It tells whether a model runs, how fast, and roughly how far apart two models are; it has no answers and gives no accuracy.
 */
export function openRandom(config: SourceConfigOf<'random'>, { inputs, seed, at }: Opening): IndexedSource {
  for (const name of Object.keys(config.inputs ?? {})) inputNamed(inputs, name, at('inputs', name));
  const columns = inputs.map((input): Column => {
    const own = ownOf(config, input.name);
    // What is said of integers is not said of truth values.
    const { low = 0, high = 1 } = { ...(input.type === 'bool' ? {} : config), ...own };
    if (high < low) throw dataError(`high ${high} is below low ${low}`, at(...(own.high ?? own.low) === undefined ? ['high'] : ['inputs', input.name])); // prettier-ignore
    if (dtypes[input.type].array === undefined || input.type === 'bfloat16')
      throw dataError(`random input of type ${input.type} cannot be made`, at());
    const dims = sampleDims(input, inputs, config, at);
    if (elementCount(dims) > limits.elements)
      throw dataError(`the model input "${input.name}" would be [${dims.join(', ')}], more than ${limits.elements} elements`, at('dims')); // prettier-ignore
    return {
      input,
      dims,
      low,
      high,
      normal: (own.distribution ?? config.distribution) !== 'uniform',
      value: own.value,
    };
  });
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
        const feeds = columns.map((column) => [column.input.name, draw(column, next)] as const);
        return { id: `random#${index}`, feeds: Object.fromEntries(feeds) };
      },
      close: () => undefined,
    }),
  };
}

type Config = SourceConfigOf<'random'>;
type Own = Exclude<NonNullable<Config['inputs']>[string], 'zeros'>;

/** What the config says of one input. */
function ownOf({ inputs = {} }: Config, name: string): Own {
  const own = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
  return own === 'zeros' ? { value: 0 } : (own ?? {});
}

/** The shape of one sample: a row of a batch, or the whole input where samples run alone. */
function sampleDims(input: ModelInput, inputs: readonly ModelInput[], config: Config, at: Opening['at']): number[] {
  const { name, dims } = input;
  const own = ownOf(config, name).dims;
  const sizes = config.dims ?? {};
  const joins = !fedWhole(inputs);
  if (own !== undefined) {
    if (dims === undefined || fits(own, dims, joins)) return own;
    throw dataError(`the shape [${own.join(', ')}] does not fit the model input "${name}", which is [${dims.join(', ')}]`, at('inputs', name, 'dims')); // prettier-ignore
  }
  const shape = `Give the shape of a sample: kind: random, inputs: { ${name}: { dims: [1, <size>, …] } }.`;
  if (dims === undefined) throw dataError(`the model declares no shape for its input "${name}"`, at(), shape);
  const lead = batchAxes(inputs);
  return dims.map((dim, axis) => {
    // Axis 0 is the batch, which is put together later.
    if (typeof dim === 'number') return axis === 0 && joins ? 1 : dim;
    const size = dim === '?' && axis === 0 ? 1 : (sizes[dim] ?? (lead.has(dim) ? 1 : undefined));
    if (typeof size === 'number') return size;
    throw dataError(`the size of axis ${axis} ("${dim}") of the model input "${name}" is not known`, at('dims'), dim === '?' ? shape : `Give it: dims: { ${dim}: <size> } in a data config, or --dims ${dim}=<size>.`); // prettier-ignore
  });
}

/** How one input is made. */
interface Column {
  readonly input: ModelInput;
  readonly dims: readonly number[];
  readonly low: number;
  readonly high: number;
  readonly normal: boolean;
  readonly value: number | undefined;
}

function draw({ input: { name, type }, dims, low, high, normal, value }: Column, next: () => number): Tensor {
  const values = new Float64Array(elementCount(dims));
  const isFloat = type.startsWith('float');
  if (value !== undefined) values.fill(value);
  else
    for (let i = 0; i < values.length; i++) {
      if (!isFloat) values[i] = Math.floor(low + next() * (high - low + 1));
      else if (!normal) values[i] = low + next() * (high - low);
      // Box and Muller (1958); 1 − u keeps the logarithm's argument above 0.
      else values[i] = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    }
  return { type, dims, data: cast(values, 'float64', type, `random input for "${name}"`) };
}
