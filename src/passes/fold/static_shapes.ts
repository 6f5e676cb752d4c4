import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { describeValue, initializers, isOp, modelInputs, subgraphs } from '../../graph/query.ts';
import { dimsOf } from '../../graph/tensor.ts';
import type { PassContext } from '../pass.ts';

/** What holds for every input the model may be given, not only for the batch that was run. */
export interface StaticShapes {
  /** The dims of a value, all of them fixed; undefined where one may differ. */
  dims(name: string): readonly number[] | undefined;
  /** The dims of a value one by one, undefined for those that may differ. */
  partial(name: string): readonly (number | undefined)[] | undefined;
  rank(name: string): number | undefined;
  type(name: string): string | undefined;
}

/** Operators whose output shape depends on the data themselves. */
const dataDependent = new Set(
  'NonZero NonMaxSuppression Unique Compress StringSplit SequenceAt ConcatFromSequence SequenceConstruct OptionalGetElement'.split(
    ' ',
  ),
);

/** Inputs whose content decides the output shape; undefined entries: all. */
const shapeOperands: Readonly<Record<string, readonly number[]>> = {
  Reshape: [1],
  Expand: [1],
  Tile: [1],
  Slice: [1, 2, 3, 4],
  Pad: [1, 3],
  Resize: [1, 2, 3],
  Upsample: [1],
  TopK: [1],
  ConstantOfShape: [0],
  Range: [0, 1, 2],
  OneHot: [1],
  Squeeze: [1],
  Unsqueeze: [1],
  Split: [1],
  CenterCropPad: [1],
  Col2Im: [1, 2],
  DFT: [1, 2],
  STFT: [1, 3],
  MaxUnpool: [2],
  AffineGrid: [1],
  BlackmanWindow: [0],
  HammingWindow: [0],
  HannWindow: [0],
  MelWeightMatrix: [0, 1],
};

/** The values whose shape is the same for every input, by walking the graph once. */
function fixedShapes(model: Model): Set<string> {
  const shaped = new Set(model.graph.initializer.map((t) => t.name));
  const valued = new Set(shaped);
  for (const input of modelInputs(model)) if (input.dims?.every((d) => typeof d === 'number')) shaped.add(input.name);
  for (const node of model.graph.node) {
    const given = node.input.filter((name) => name !== '');
    if (!isStandard(node) || dataDependent.has(node.op_type) || subgraphs(node).length > 0) continue;
    const allShaped = given.every((name) => shaped.has(name));
    const operands = reduces(node) ? [1] : (shapeOperands[node.op_type] ?? []);
    const fixed = allShaped && operands.every((i) => !node.input[i] || valued.has(node.input[i]));
    const known = given.every((name) => valued.has(name)) || (isOp(node, 'Shape', 'Size') && allShaped);
    for (const name of node.output) {
      if (fixed) shaped.add(name);
      if (fixed && known && !node.op_type.startsWith('Random')) valued.add(name);
    }
  }
  return shaped;
}

const isStandard = (node: NodeProto): boolean => node.domain === '' || node.domain === 'ai.onnx';
const reduces = (node: NodeProto): boolean => node.op_type.startsWith('Reduce');

/**
 * The shapes that do not depend on what the model is fed: of values that only fixed inputs and constants lead to (the numbers
 * come from one run), of those the model declares, and of constants. Ranks and element types are taken from the run.
 */
export async function staticShapes(model: Model, ctx: PassContext): Promise<StaticShapes> {
  const seen = await ctx.shapes(model);
  const fixed = fixedShapes(model);
  const tensors = initializers(model.graph);
  const declared = new Map(
    [...model.graph.value_info, ...model.graph.input, ...model.graph.output]
      .filter((v) => v.type?.tensor_type?.shape)
      .map((v) => [v.name, describeValue(v).dims]),
  );
  const partial = (name: string): readonly (number | undefined)[] | undefined => {
    const tensor = tensors.get(name);
    if (tensor) return dimsOf(tensor);
    const run = seen.get(name)?.dims;
    if (run && fixed.has(name)) return run;
    const said = declared.get(name)?.map((d) => (typeof d === 'number' ? d : undefined));
    return said ?? run?.map(() => undefined);
  };
  return {
    partial,
    dims(name) {
      const dims = partial(name);
      return dims?.every((d) => d !== undefined) ? dims : undefined;
    },
    rank: (name) => seen.get(name)?.dims.length ?? partial(name)?.length,
    type: (name) => seen.get(name)?.type,
  };
}
