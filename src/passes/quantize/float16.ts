import * as z from 'zod';
import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, layerName } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { fromFloat16, toFloat16 } from '../../numerics/float16.ts';
import { prepare } from '../fold/prepare.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { overrideSelectors, overrides, resolveOverrides } from './formats.ts';

const options = z.strictObject({
  min_elements: z
    .number()
    .int()
    .positive()
    .default(16)
    .meta({ description: 'smaller constants stay as they are: sizes, scales and bounds that operators read at load' }),
  overrides: overrides.default({}).meta({ description: 'layers with bits_weights: float stay float32' }),
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
  apply,
};

async function apply(model: Model, o: Float16Options, ctx: PassContext): Promise<PassResult> {
  const upgraded = upgradeOpset(model, 13);
  const prepared = await prepare(upgraded.model, ctx);
  const twin = prepared.model;
  const override = resolveOverrides(o.overrides, twin);
  const readers = consumers(twin.graph);
  const changed: Note[] = [];
  const skipped: Note[] = [];
  const halved = edit(twin, (draft) => {
    for (const tensor of twin.graph.initializer) {
      if (typeOf(tensor) !== 'float32' || elementCount(dimsOf(tensor)) < o.min_elements) continue;
      const nodes = readers.get(tensor.name) ?? [];
      const layer = nodes[0] ? layerName(nodes[0]) : tensor.name;
      const half = toFloat16(floatData(tensor));
      const reason = nodes.some((node: NodeProto) => override(node)?.bits_weights === null)
        ? 'left in float by the schedule'
        : unfit(tensor, half);
      if (reason !== undefined) {
        skipped.push({ layer, text: `${tensor.name}: ${reason}` });
        continue;
      }
      const stored = draft.freshName(`${tensor.name}_half`);
      draft.removeInitializer(tensor.name);
      draft.setInitializer(makeTensor(stored, 'float16', dimsOf(tensor), half));
      // The float value keeps the weight's name: readers, also those in bodies of If and Loop, need not know.
      draft.addNode(makeNode('Cast', [stored], [tensor.name], { to: dtypes.float32.code }));
      changed.push({ layer, text: `${tensor.name}: float16${lost(tensor, half)}; float weights at load time` });
    }
  });
  return {
    model: halved,
    twin,
    changed,
    skipped,
    notes: [...upgraded.notes, ...prepared.notes].map((n) => `${n.layer}: ${n.text}`),
  };
}

/** Infinity where the weight was finite: beyond 65504. */
function unfit(tensor: TensorProto, half: Uint16Array): string | undefined {
  const data = floatData(tensor);
  const at = half.findIndex((bits, i) => (bits & 0x7fff) === 0x7c00 && Number.isFinite(data[i]));
  return at < 0 ? undefined : `holds ${data[at]}, beyond float16's 65504`;
}

/** What became zero: below 2⁻²⁵, half of float16's smallest number. */
function lost(tensor: TensorProto, half: Uint16Array): string {
  const data = floatData(tensor);
  const back = fromFloat16(half);
  const zeros = data.reduce((sum, v, i) => sum + (v !== 0 && back[i] === 0 ? 1 : 0), 0);
  return zeros === 0 ? '' : ` (${zeros} of ${data.length} too small: now 0)`;
}
