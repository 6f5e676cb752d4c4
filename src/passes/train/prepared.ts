import { gradientReach, trainingOpset } from '../../autodiff/training_graph.ts';
import type { Feeds } from '../../data/types.ts';
import { makeValue } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { initializers, isOp, modelInputs } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { dimsOf, elementCount, floatData, typeOf } from '../../graph/tensor.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import { foldConstants } from '../fold/constants.ts';
import type { Note, PassContext } from '../pass.ts';
import type { Dressed } from './learn/dressed.ts';

/** A model in the form that training graphs are written from, with what of it can be trained. */
export interface Prepared {
  readonly model: Model;
  readonly shapes: Shapes;
  readonly trainable: readonly string[];
  /** Nodes that gradients do not go through, with what stays untrained for them. */
  readonly skipped: readonly Note[];
  /** The roundings of a quantizer that learns. */
  readonly dress?: Dressed | undefined;
}

/**
 * The model for one batch: all shapes are fixed, and what follows from them is constant.
 * @param batch inputs of the size that all steps have.
 * @param wanted which parameters are to be trained.
 * @param dressing writes the roundings of a quantizer into it.
 * @throws QtoolError('graph') where none of them can be.
 */
export async function prepareTraining(
  model: Model,
  batch: Feeds,
  ctx: PassContext,
  wanted: (name: string) => boolean = () => true,
  dressing?: (model: Model, shapes: Shapes) => Promise<Dressed>,
): Promise<Prepared> {
  const given = new Map(Object.entries(batch));
  const fixed = edit(upgradeOpset(model, trainingOpset).model, (draft) => {
    draft.forgetShapes();
    draft.setInputs(
      modelInputs(model).map(({ name }) => {
        const { type, dims } = must(given, name, 'the input');
        return makeValue(name, type, dims);
      }),
    );
  });
  const shapesOf = (m: Model) => ctx.shapes(m, batch);
  const plain = (await foldConstants.apply(fixed, {}, { ...ctx, shapes: shapesOf })).model;
  const bare = await shapesOf(plain);
  const dress = await dressing?.(plain, bare);
  const whole = dress?.model ?? plain;
  const shapes = dress ? await shapesOf(whole) : bare;
  const candidates = [...parametersOf(plain).filter(wanted), ...(dress?.learned ?? [])];
  const { found, blocked } = gradientReach(whole, shapes, candidates, { surrogates: dress?.surrogates });
  const trainable = candidates.filter((name) => found.has(name));
  const skipped: Note[] = blocked
    .filter(({ lost }) => lost.length > 0)
    .map(({ layer, op, why, lost }) => ({
      layer,
      text: `${op} ${why}: ${lost.length} parameters before it are not trained`,
    }));
  if (trainable.length === 0)
    throw new QtoolError(
      'graph',
      `no weight can be trained${skipped[0] ? `: ${skipped[0].layer}, ${skipped[0].text}` : ''}`,
      { hint: 'a model is trained before a quantizer, in float' },
    );
  return { model: whole, shapes, trainable, skipped, dress };
}

/** Its outputs on a batch: name → dims. */
export const outputsOf = ({ model, shapes }: Prepared): Map<string, readonly number[]> =>
  new Map(model.graph.output.map(({ name }) => [name, must(shapes, name, 'the output').dims]));

/** Inputs of operators that hold parameters. */
const parameterInputs: Readonly<Record<string, readonly number[]>> = {
  Conv: [1, 2],
  ConvTranspose: [1, 2],
  Gemm: [0, 1, 2],
  MatMul: [0, 1],
  BatchNormalization: [1, 2],
  LayerNormalization: [1, 2],
  InstanceNormalization: [1, 2],
  PRelu: [1],
  Gather: [0],
  Add: [0, 1],
  Mul: [0, 1],
  Einsum: [0, 1],
  GRU: [1, 2, 3],
};

/**
 * Float weights and biases that are stored in the model. What is no parameter: a single number that is added or multiplied, a table of factors
 * (rotary embeddings; only a vector of them is the scale of a normalization), a mask of attention.
 */
function parametersOf(model: Model): string[] {
  const tensors = initializers(model.graph);
  const names = model.graph.node.flatMap((node) => {
    const places = isOp(node, node.op_type) ? (parameterInputs[node.op_type] ?? []) : [];
    return places.map((i) => node.input[i] ?? '').filter((name) => holdsParameters(node.op_type, tensors.get(name)));
  });
  return [...new Set(names)];
}

function holdsParameters(op: string, tensor: TensorProto | undefined): boolean {
  if (tensor === undefined || typeOf(tensor) !== 'float32') return false;
  const dims = dimsOf(tensor);
  const count = elementCount(dims);
  if (count <= 1) return false;
  if (op === 'Mul') return count === Math.max(...dims);
  // Masks add a large negative number, or −∞, to the scores that do not count.
  return op !== 'Add' || floatData(tensor).every((v) => v > -1e4);
}
