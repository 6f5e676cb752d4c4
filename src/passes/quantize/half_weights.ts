import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { notFinite } from '../../graph/not_finite.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { dimsOf, floatData, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { sqnr } from '../../numerics/error.ts';
import { fromFloat16, toFloat16 } from '../../numerics/float16.ts';
import { isLarge } from '../fold/float32_nodes.ts';
import type { HalfType } from '../fold/half.ts';
import type { PassContext } from '../pass.ts';
import { needyRows, rounded, worst } from './float16_rows.ts';

/**
 * Float32 constants stored in 16 bits, each behind one Cast to float32, which onnxruntime folds when it creates the session.
 * @param halves the constant's name → what is stored for it.
 */
export function withHalves(model: Model, halves: ReadonlyMap<string, TensorProto>): Model {
  if (halves.size === 0) return model;
  return edit(model, (draft) => {
    for (const [name, half] of halves) {
      const stored = draft.add(`${name}_half`, half);
      draft.removeInitializer(name);
      // The float value keeps the weight's name: readers, also those in bodies of If and Loop, need not know.
      draft.addNode(makeNode('Cast', [stored], [name], { to: dtypes.float32.code }));
    }
  });
}

/** A float32 tensor rounded to float16. */
export const halved = (tensor: TensorProto): TensorProto =>
  makeTensor('', 'float16', dimsOf(tensor), toFloat16(floatData(tensor)));

/**
 * Which float32 tensors float16 holds well enough; the others with a sentence why not.
 * @param reason why one must stay float32, known beforehand.
 */
export async function fitting(
  model: Model,
  tensors: readonly TensorProto[],
  reason: (tensor: TensorProto) => string | undefined,
  ctx: Pick<PassContext, 'capture'>,
): Promise<{ readonly fit: readonly TensorProto[]; readonly left: ReadonlyMap<TensorProto, string> }> {
  const left = new Map<TensorProto, string>();
  for (const tensor of tensors) {
    const why = reason(tensor) ?? unfit(tensor);
    if (why !== undefined) left.set(tensor, why);
  }
  const held = tensors.filter((tensor) => !left.has(tensor));
  for (const tensor of await needyRows(model, held, ctx)) left.set(tensor, rowsReason);
  return { fit: held.filter((tensor) => !left.has(tensor)), left };
}

const rowsReason = `float16 loses rows or columns of numbers below 6e-5, which the model's outputs need`;

/** Why a tensor does not fit float16; undefined where it does. */
function unfit(tensor: TensorProto): string | undefined {
  const broken = notFinite(tensor);
  if (broken !== undefined) return broken;
  const data = floatData(tensor);
  const back = rounded(data);
  const at = back.findIndex((v) => !Number.isFinite(v));
  if (at >= 0) return `holds ${data[at]}, beyond float16's 65504`;
  const ratio = sqnr(data, back);
  return ratio >= worst
    ? undefined
    : `too small for float16, which rounds below 6e-5 more coarsely: ${ratio.toFixed(0)} dB, ${zeros(data, back)} of ${data.length} would be 0`;
}

/** How many numbers became 0 that were none. */
export const zeros = (data: Float32Array, back: Float32Array): number =>
  data.reduce((sum, v, i) => sum + (v !== 0 && back[i] === 0 ? 1 : 0), 0);

/**
 * What the file held in 16 bits and a pass left in float32, stored in 16 bits again: in the type it had where that holds it exactly, else
 * (a BatchNormalization went into it, say) in float16 where `fp16` would store it so.
 * @param halves name → what was stored before.
 * @returns the notes say which stay float32.
 */
export async function halvesAgain(
  model: Model,
  halves: ReadonlyMap<string, TensorProto>,
  ctx: Pick<PassContext, 'capture'>,
): Promise<{ readonly model: Model; readonly notes: readonly string[] }> {
  const ends = new Set([...model.graph.input, ...model.graph.output].map(({ name }) => name));
  const exact = new Map<string, TensorProto>();
  const others: TensorProto[] = [];
  for (const tensor of model.graph.initializer) {
    const before = halves.get(tensor.name);
    if (!before || typeOf(tensor) !== 'float32' || ends.has(tensor.name) || !isLarge(tensor)) continue;
    const half = exactly(tensor, before);
    if (half) exact.set(tensor.name, half);
    else others.push(tensor);
  }
  const { fit, left } = await fitting(model, others, () => undefined, ctx);
  for (const tensor of fit) exact.set(tensor.name, halved(tensor));
  const notes = [...left].map(([{ name }, why]) => `${name}: no longer stored in 16 bits: ${why}`);
  return { model: withHalves(model, exact), notes };
}

/** The tensor in the 16-bit type of another, if that holds every number exactly; the other itself where it is the same. */
function exactly(tensor: TensorProto, before: TensorProto): TensorProto | undefined {
  const data = floatData(tensor);
  const type = typeOf(before) as HalfType;
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length);
  let bits: Uint16Array;
  if (type === 'float16') {
    bits = toFloat16(data);
    // By bits: −0 and NaN are what they were.
    const back = new Uint32Array(fromFloat16(bits).buffer);
    if (!back.every((word, i) => word === words[i])) return undefined;
  } else {
    if (words.some((word) => (word & 0xffff) !== 0)) return undefined;
    bits = Uint16Array.from(words, (word) => word >>> 16);
  }
  const known = tensorData(before) as Uint16Array;
  const same = known.length === bits.length && bits.every((one, i) => one === known[i]);
  return same && dimsOf(before).join() === dimsOf(tensor).join() ? before : makeTensor('', type, dimsOf(tensor), bits);
}
