import * as z from 'zod';
import { fullPrecisionTensors } from '../../graph/full_precision.ts';
import type { Model } from '../../graph/model.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { consumers, layerName } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, typeOf } from '../../graph/tensor.ts';
import { prepare } from '../fold/prepare.ts';
import { noteLine, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { rounded } from './float16_rows.ts';
import { floatOverrides, overrideSelectors, resolveOverrides } from './formats.ts';
import { fitting, halved, withHalves, zeros } from './half_weights.ts';

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
      : needed.get(tensor.name);
  const large = twin.graph.initializer.filter(
    (tensor) => typeOf(tensor) === 'float32' && elementCount(dimsOf(tensor)) >= o.min_elements,
  );
  const { fit, left } = await fitting(twin, large, reason, ctx);
  return {
    model: withHalves(twin, new Map(fit.map((tensor) => [tensor.name, halved(tensor)]))),
    twin,
    changed: fit.map((tensor) => ({
      layer: layerOf(tensor),
      text: `${tensor.name}: float16${lost(tensor)}; float weights at load time`,
    })),
    skipped: [...left].map(([tensor, why]) => ({ layer: layerOf(tensor), text: `${tensor.name}: ${why}` })),
    notes: notes.map(noteLine),
  };
}

/** What became zero: below 2⁻²⁵, half of float16's smallest number. */
function lost(tensor: TensorProto): string {
  const data = floatData(tensor);
  const gone = zeros(data, rounded(data));
  return gone === 0 ? '' : ` (${gone} of ${data.length} too small: now 0)`;
}
