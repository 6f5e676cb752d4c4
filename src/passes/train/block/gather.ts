import type { Model } from '../../../graph/model.ts';
import { modelInputs } from '../../../graph/query.ts';
import type { Shapes } from '../../../graph/shapes.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { QtoolError } from '../../../util/error.ts';
import { given, must } from '../../../util/must.ts';
import type { PassContext } from '../../pass.ts';
import { openWalk, type Walk } from '../../recover/walk.ts';
import type { Block, Joint } from './blocks.ts';
import type { BlockSamples } from './learn.ts';
import { keep, type Kept } from './samples.ts';

/** What decides which samples are kept. */
export interface Gathering {
  readonly samples: number;
  readonly batch_size: number;
  /** MiB. */
  readonly memory: number;
  readonly drop: number;
}

/** Keeps what blocks get and should give, one block at a time, front to back. */
export interface Gatherer {
  /** `model`: the quantized one, with all blocks before this one changed. @throws QtoolError('data') where too little can be kept. */
  gather(model: Model, block: Block): Promise<BlockSamples>;
}

/** One of so many samples judges. */
const judging = 8;

/** Opens a walk through the quantized model and one through its float twin. */
export function openGatherer(
  start: Model,
  blocks: readonly Block[],
  shapes: Shapes,
  o: Gathering,
  ctx: PassContext,
): Gatherer {
  const floatJoints = ({ inputs, outputs }: Block): readonly Joint[] => [...(o.drop > 0 ? inputs : []), ...outputs];
  const hats = openWalk(ctx, blocks.flatMap(({ inputs }) => inputs.map(({ value }) => value)), o.samples); // prettier-ignore
  const floats = openWalk(ctx, blocks.flatMap((block) => floatJoints(block).map((joint) => joint.twin)), o.samples); // prettier-ignore
  const lead = modelInputs(start)[0]?.name ?? '';
  const fixed = modelInputs(start)[0]?.dims?.[0];
  const rows = shapes.get(lead)?.dims[0];
  const bytesOf = ({ value }: Joint): number => {
    const { type, dims } = must(shapes, value, 'the shape of');
    if (type !== 'float32') throw new QtoolError('data', `"${value}" is ${type}, not float32`);
    if (dims[0] === undefined || dims[0] !== rows)
      throw new QtoolError('data', `"${value}" does not hold one sample after the other`);
    return (4 * elementCount(dims)) / rows;
  };
  const keepAll = async (joints: readonly Joint[], walk: Walk, of: Model, name: (joint: Joint) => string, limit: number): Promise<ReadonlyMap<string, Kept>> => {
    const kept = new Map<string, Kept>();
    for (const joint of joints) {
      ctx.signal.throwIfAborted();
      kept.set(joint.value, await keep(walk.visit(of, name(joint)), name(joint), limit));
    }
    return kept;
  }; // prettier-ignore
  return {
    async gather(model, block) {
      const { inputs, outputs } = block;
      const bytes = [...inputs, ...floatJoints(block)].reduce((sum, joint) => sum + bytesOf(joint), 0);
      const limit = Math.min(o.samples, Math.floor((o.memory * 2 ** 20) / bytes));
      if (limit < 2) throw new QtoolError('data', `its values on two samples take more than ${o.memory} MiB`, { hint: 'give a larger `memory`' }); // prettier-ignore
      const hat = await keepAll(inputs, hats, model, ({ value }) => value, limit);
      const float = await keepAll(floatJoints(block), floats, given(ctx.twin, 'the float model'), ({ twin }) => twin, limit); // prettier-ignore
      const all = Math.min(...[...hat.values(), ...float.values()].map(({ samples }) => samples));
      const size = typeof fixed === 'number' ? fixed : Math.min(o.batch_size, Math.max(1, all - 1));
      const whole = typeof fixed === 'number' ? all - (all % fixed) : all;
      const held = Math.max(1, Math.floor(whole / judging));
      const training = whole - (typeof fixed === 'number' ? Math.ceil(held / fixed) * fixed : held);
      if (training < size && typeof fixed === 'number') throw new QtoolError('data', `${all} samples are too few for batches of ${fixed} to learn from and to judge by`); // prettier-ignore
      if (training < 1) throw new QtoolError('data', `${all} samples are too few to learn from and to judge by`);
      const among = (joints: readonly Joint[]): ReadonlyMap<string, Kept> =>
        new Map(joints.flatMap(({ value }) => (float.has(value) ? [[value, must(float, value, 'the values')] as const] : []))); // prettier-ignore
      return { inputs: hat, floats: among(inputs), wanted: among(outputs), training, all: whole, size };
    },
  };
}
