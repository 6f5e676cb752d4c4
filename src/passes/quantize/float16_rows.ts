import { comparable } from '../../graph/selections.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { dimsOf, floatData, makeTensor } from '../../graph/tensor.ts';
import { sqnr } from '../../numerics/error.ts';
import { fromFloat16, toFloat16 } from '../../numerics/float16.ts';
import type { PassContext } from '../pass.ts';

/** Below this signal-to-noise ratio in dB numbers lose what float16 promises: 73 dB, 2⁻¹¹ of each. */
export const worst = 60;

/** The numbers that float16 makes of these. */
export const rounded = (data: Float32Array): Float32Array => fromFloat16(toFloat16(data));

/** Samples that tell whether a model needs its small rows. */
const few = 8;

/**
 * Tensors of which float16 loses single rows or columns, with the numbers there so small that the tensor as a whole looks fine,
 * and whose loss the model's outputs show: a later layer makes up for them. Dead channels, which training leaves behind in
 * most networks, do not show.
 */
export async function needyRows(
  model: Model,
  tensors: readonly TensorProto[],
  ctx: Pick<PassContext, 'capture'>,
): Promise<ReadonlySet<TensorProto>> {
  const suspects = tensors.flatMap((tensor) => {
    const spoilt = withLostRows(tensor);
    return spoilt ? [{ tensor, spoilt }] : [];
  });
  const needy = new Set<TensorProto>();
  if (suspects.length === 0) return needy;
  const right = await outputsOf(model, ctx);
  const shows = async (some: typeof suspects): Promise<boolean> => {
    const changed = edit(model, (draft) => {
      for (const { tensor, spoilt } of some)
        draft.replace(tensor.name, makeTensor('', 'float32', dimsOf(tensor), spoilt));
    });
    const outputs = await outputsOf(changed, ctx);
    return right.some((output, i) => {
      const other = outputs[i];
      // Where the model gives NaN or infinity there is no ratio.
      const finite = output.map((v, j) => (Number.isFinite(v) && Number.isFinite(other?.[j]) ? 1 : 0));
      const of = (data: Float32Array): Float32Array => data.map((v, j) => (finite[j] === 1 ? v : 0));
      return other !== undefined && sqnr(of(output), of(other)) < worst;
    });
  };
  if (!(await shows(suspects))) return needy;
  for (const suspect of suspects) if (await shows([suspect])) needy.add(suspect.tensor);
  // Together, but none alone: nothing tells them apart.
  return needy.size > 0 ? needy : new Set(suspects.map(({ tensor }) => tensor));
}

/** The tensor with the rows and columns rounded that come out below `worst`, or undefined where none does. */
function withLostRows(tensor: TensorProto): Float32Array | undefined {
  const dims = dimsOf(tensor);
  if (dims.length < 2) return undefined;
  const data = floatData(tensor);
  const back = rounded(data);
  const inner = data.length / dims[0]!;
  const last = dims.at(-1) as number;
  const rows = lostOf(data, back, (i) => Math.floor(i / inner), dims[0]!);
  const columns = lostOf(data, back, (i) => i % last, last);
  if (rows.size === 0 && columns.size === 0) return undefined;
  return data.map((v, i) => (rows.has(Math.floor(i / inner)) || columns.has(i % last) ? back[i]! : v));
}

function lostOf(data: Float32Array, back: Float32Array, groupOf: (i: number) => number, groups: number): Set<number> {
  const signal = new Float64Array(groups);
  const noise = new Float64Array(groups);
  data.forEach((v, i) => {
    const group = groupOf(i);
    signal[group] = signal[group]! + v * v;
    noise[group] = noise[group]! + (v - back[i]!) ** 2;
  });
  const limit = 10 ** (-worst / 10);
  return new Set([...signal.keys()].filter((group) => noise[group]! > limit * signal[group]!));
}

/** The model's float outputs on the first calibration samples, one after the other. */
async function outputsOf(model: Model, ctx: Pick<PassContext, 'capture'>): Promise<Float32Array[]> {
  const found: Float32Array[] = [];
  const names = comparable(model, model).compared;
  for await (const values of ctx.capture(model, names, few))
    for (const name of names) {
      const data = values[name]?.data;
      if (data instanceof Float32Array) found.push(data.slice());
    }
  return found;
}
