import type { Feeds, Tensor } from '../../../data/types.ts';
import type { Model } from '../../../graph/model.ts';
import { QtoolError } from '../../../util/error.ts';
import { given, must } from '../../../util/must.ts';
import { seedOf, uniform } from '../../../util/uniform.ts';
import type { PassContext } from '../../pass.ts';
import { adamScalars } from '../optimizer/adam.ts';
import { firstState, float, scalarFeeds, steps } from '../step.ts';
import { wantedInput } from '../loss/mse.ts';
import type { Block } from './blocks.ts';
import type { RelaxedWeights } from './relaxed.ts';
import { batchOf, drawMasks, draws, type Kept } from './samples.ts';
import { blockGraph, learnedBias, learnedScale, type BlockPlan } from './step_graph.ts';

/** How a block is trained. */
export interface BlockLearning {
  readonly steps: number;
  readonly lr: number;
  readonly lambda: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly warmup: number;
  readonly drop: number;
  readonly seed: number;
}

/** What is known of a block on the calibration samples: by the value in the quantized model. */
export interface BlockSamples {
  /** What it gets in the quantized model, and in the float one where activations are mixed. */
  readonly inputs: ReadonlyMap<string, Kept>;
  readonly floats: ReadonlyMap<string, Kept>;
  /** What it should give. */
  readonly wanted: ReadonlyMap<string, Kept>;
  /** How many to train on; the others of `all` judge. */
  readonly training: number;
  readonly all: number;
  /** Samples of a batch. */
  readonly size: number;
}

/** What training made of a block. */
export interface BlockLearned {
  /** V of each layer, by its name. */
  readonly v: ReadonlyMap<string, Float32Array>;
  /** Scales of activations, of those given. */
  scale(initializer: string, before: number): number;
  /** What is added to a layer's bias; undefined where it has none of its own. */
  bias(layer: string): Float64Array | undefined;
}

/**
 * Trains the roundings of a block's weights together, with biases and scales of activations where asked: Adam on the error of its outputs,
 * plus λ Σ (1 − |2h − 1|^β) after the warm-up, β falling along a line.
 * Sources: Li et al. 2021, BRECQ (arXiv 2102.05426), algorithm 1; with `drop` Wei et al. 2022, QDrop (arXiv 2203.05740), algorithm 1.
 * @param part the block as it is quantized now.
 * @throws QtoolError('graph') where a gradient does not come through, ('runtime') where it diverges.
 */
export async function learnBlock(
  part: Model,
  block: Block,
  { weights, scales, bias, samples }: { readonly weights: readonly RelaxedWeights[]; readonly scales: ReadonlySet<string>; readonly bias: boolean; readonly samples: BlockSamples }, // prettier-ignore
  o: BlockLearning,
  ctx: PassContext,
  say: (done: number, error: number) => void,
): Promise<BlockLearned> {
  const next = uniform(seedOf(o.seed));
  const batches = draws(samples.training, samples.size, next);
  const plan: BlockPlan = {
    ...{ weights, scales, bias },
    mixed: o.drop > 0,
    inputs: new Set(samples.inputs.keys()),
    power: new Map([...samples.wanted].map(([name, kept]) => [name, powerOf(kept)])),
    channels: (_, dims) => channelsOf(block, dims),
  };
  const pick = (kept: ReadonlyMap<string, Kept>, chosen: readonly number[], name: (value: string) => string): Feeds =>
    Object.fromEntries([...kept].map(([value, one]): [string, Tensor] => [name(value), batchOf(one, chosen)]));
  const first = batches.next().value;
  const made = await blockGraph(part, pick(samples.inputs, first, (value) => value), plan, ctx); // prettier-ignore
  const { graph } = made;
  const mixedIn = new Map([...samples.floats].filter(([value]) => made.floats.has(value)));
  let state = firstState(graph);
  let recent = 0;
  const feeds = ({ t, chosen }: Turn): Feeds => {
    const past = Math.max(0, (t / o.steps - o.warmup) / Math.max(1e-9, 1 - o.warmup));
    const beta = o.beta_start + (o.beta_end - o.beta_start) * past;
    return {
      ...pick(samples.inputs, chosen, (value) => value),
      ...pick(mixedIn, chosen, (value) => must(made.floats, value, 'the float input')),
      ...pick(samples.wanted, chosen, wantedInput),
      ...drawMasks(made.masks, 1 - o.drop, next),
      ...scalarFeeds(graph, { ...adamScalars(o.lr, t), lambda: t / o.steps <= o.warmup ? 0 : o.lambda }),
      [made.beta]: float(Float32Array.of(beta), []),
    };
  };
  for await (const taken of steps({ graph, state, batches: turns(first, batches, o.steps), feeds }, ctx)) {
    const { t } = taken.batch;
    const error = taken.report('error');
    if (!Number.isFinite(error)) throw new QtoolError('runtime', `its training diverges in step ${t}`, { hint: 'give a smaller lr' }); // prettier-ignore
    recent = t === 1 ? error : 0.95 * recent + 0.05 * error;
    state = taken.state;
    say(t / o.steps, recent);
  }
  const data = (name: string): Float32Array => given(state[must(graph.held, name, 'the parameter')], name).data as Float32Array; // prettier-ignore
  return {
    v: new Map([...made.v].map(([layer, name]) => [layer, data(name)])),
    scale: (initializer, before) => {
      const name = made.scales.get(initializer);
      return name === undefined ? before : learnedScale(before, data(name)[0]!);
    },
    bias: (layer) => {
      const one = made.biases.get(layer);
      return one && Float64Array.from(data(one.name), (change) => learnedBias(change, one.unit));
    },
  };
}

interface Turn {
  /** Steps, this one among them. */
  readonly t: number;
  readonly chosen: readonly number[];
}

/** So many batches, one after the other. */
async function* turns(
  first: readonly number[],
  others: Generator<readonly number[], never>,
  count: number,
): AsyncGenerator<Turn> {
  // prettier-ignore
  for (let t = 1; t <= count; t++) yield await Promise.resolve({ t, chosen: t === 1 ? first : others.next().value });
}

const powerOf = ({ data }: Kept): number => data.reduce((sum, v) => sum + v * v, 0) / Math.max(1, data.length);

/** Numbers of a position: channels stand in axis 1 of what convolutions give, else in the last. */
const channelsOf = ({ layers }: Block, dims: readonly number[]): number =>
  (dims.length > 2 && layers.some(({ node }) => node.op_type === 'Conv') ? dims[1] : dims.at(-1)) ?? 1;
