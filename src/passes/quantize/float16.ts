import * as z from 'zod';
import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit } from '../../graph/edit.ts';
import { fullPrecisionTensors } from '../../graph/full_precision.ts';
import type { Model } from '../../graph/model.ts';
import { notFinite } from '../../graph/not_finite.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { consumers, layerName } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { sqnr } from '../../numerics/error.ts';
import { toFloat16 } from '../../numerics/float16.ts';
import { prepare } from '../fold/prepare.ts';
import { noteLine, type Note, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { needyRows, rounded, worst } from './float16_rows.ts';
import { floatOverrides, overrideSelectors, resolveOverrides } from './formats.ts';

const options = z.strictObject({
  min_elements: z
    .number()
    .int()
    .positive()
    .default(16)
    .meta({ description: 'smaller constants stay as they are: sizes, scales and bounds that operators read at load' }),
  overrides: floatOverrides.default({}).meta({ description: 'layers with bits_weights: float stay float32' }),
});

export type Float16Options = z.infer<typeof options>;

/**
 * Weights as FLOAT16, each behind one Cast to float32, which onnxruntime folds when it creates the session: half the file, the
 * speed of float32, and an error of 2⁻¹¹ of each weight.
 */
export const float16Quantizer: Pass<Float16Options> = {
  name: 'quantize/float16',
  section: 'quantizers',
  classes: ['Float16Quantizer'],
  summary: 'FLOAT16 weights in the file, float32 arithmetic: half the size at the same speed',
  source: 'IEEE 754-2008 binary16; ONNX Cast; onnxruntime constant folding',
  options,
  selectors: overrideSelectors,
  inBodies: {},
  apply,
};

async function apply(model: Model, o: Float16Options, ctx: PassContext): Promise<PassResult> {
  const { model: twin, notes } = await prepare(model, ctx, 13);
  const override = resolveOverrides(o.overrides, twin);
  const readers = consumers(twin.graph);
  const layerOf = ({ name }: TensorProto): string => {
    const [first] = readers.get(name) ?? [];
    return first ? layerName(first) : name;
  };
  const needed = fullPrecisionTensors(twin);
  const reason = (tensor: TensorProto): string | undefined =>
    (readers.get(tensor.name) ?? []).some((node) => override(node)?.bits_weights === null)
      ? 'left in float by the schedule'
      : (needed.get(tensor.name) ?? unfit(tensor));
  const large = twin.graph.initializer.filter(
    (tensor) => typeOf(tensor) === 'float32' && elementCount(dimsOf(tensor)) >= o.min_elements,
  );
  const skipped: Note[] = [];
  const leave = (tensor: TensorProto, why: string): void =>
    void skipped.push({ layer: layerOf(tensor), text: `${tensor.name}: ${why}` });
  const fit = large.filter((tensor) => {
    const why = reason(tensor);
    if (why !== undefined) leave(tensor, why);
    return why === undefined;
  });
  const needy = await needyRows(twin, fit, ctx);
  for (const tensor of fit) if (needy.has(tensor)) leave(tensor, rowsReason);
  const chosen = fit.filter((tensor) => !needy.has(tensor));
  const halved = edit(twin, (draft) => {
    for (const tensor of chosen) {
      const stored = draft.add(
        `${tensor.name}_half`,
        makeTensor('', 'float16', dimsOf(tensor), toFloat16(floatData(tensor))),
      );
      draft.removeInitializer(tensor.name);
      // The float value keeps the weight's name: readers, also those in bodies of If and Loop, need not know.
      draft.addNode(makeNode('Cast', [stored], [tensor.name], { to: dtypes.float32.code }));
    }
  });
  return {
    model: halved,
    twin,
    changed: chosen.map((tensor) => ({
      layer: layerOf(tensor),
      text: `${tensor.name}: float16${lost(tensor)}; float weights at load time`,
    })),
    skipped,
    notes: notes.map(noteLine),
  };
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

/** What became zero: below 2⁻²⁵, half of float16's smallest number. */
function lost(tensor: TensorProto): string {
  const data = floatData(tensor);
  const gone = zeros(data, rounded(data));
  return gone === 0 ? '' : ` (${gone} of ${data.length} too small: now 0)`;
}

const zeros = (data: Float32Array, back: Float32Array): number =>
  data.reduce((sum, v, i) => sum + (v !== 0 && back[i] === 0 ? 1 : 0), 0);
