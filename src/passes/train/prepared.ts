import type { Target } from '../../autodiff/rule.ts';
import { gradientReach, trainingOpset, type Loss } from '../../autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../data/types.ts';
import { makeValue } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { initializers, isOp, modelInputs, producers } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { dimsOf, elementCount, floatData, typeOf } from '../../graph/tensor.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import { foldConstants } from '../fold/constants.ts';
import type { Note, PassContext } from '../pass.ts';
import type { Dressed } from './learn/dressed.ts';

/** A model in the form that training graphs are written from. */
export interface Prepared {
  readonly model: Model;
  readonly shapes: Shapes;
  /** Parameters that are asked for. */
  readonly candidates: readonly string[];
  /** Weights that are no parameters for their type. */
  readonly others: readonly Note[];
  /** The roundings of a quantizer that learns. */
  readonly dress?: Dressed | undefined;
}

/**
 * The model for one batch: all shapes are fixed, and what follows from them is constant.
 * @param batch inputs of the size that all steps have.
 * @param wanted which parameters are to be trained.
 * @param dressing writes the roundings of a quantizer into it.
 * @throws QtoolError('schedule') where none is wanted, and for a batch that a model of fixed batch size does not run on.
 */
export async function prepareTraining(
  model: Model,
  batch: Feeds,
  ctx: PassContext,
  wanted: (name: string) => boolean = () => true,
  dressing?: (model: Model, shapes: Shapes) => Promise<Dressed>,
): Promise<Prepared> {
  const fed = new Map(Object.entries(batch));
  const fixed = edit(upgradeOpset(model, trainingOpset).model, (draft) => {
    draft.forgetShapes();
    draft.setInputs(
      modelInputs(model).map(({ name }) => {
        const { type, dims } = must(fed, name, 'the input');
        return makeValue(name, type, dims);
      }),
    );
  });
  const shapesOf = (m: Model): Promise<Shapes> =>
    ctx.shapes(m, batch).catch((error: unknown) => {
      throw otherBatch(model, fed, error) ?? error;
    });
  const plain = (await foldConstants.apply(fixed, {}, { ...ctx, shapes: shapesOf })).model;
  const { names, others } = parametersOf(plain);
  const wantedNames = names.filter(wanted);
  if (wantedNames.length === 0 && names.length > 0)
    throw new QtoolError('schedule', 'no weight is left to be trained', { at: 'training', hint: '`trainable` and `frozen` leave none of them' }); // prettier-ignore
  const bare = await shapesOf(plain);
  const dress = await dressing?.(plain, bare);
  const whole = dress?.model ?? plain;
  const shapes = dress ? await shapesOf(whole) : bare;
  return { model: whole, shapes, candidates: [...wantedNames, ...(dress?.learned ?? [])], others, dress };
}

/** Why a model did not run on a batch: it is made for batches of another size. */
function otherBatch(model: Model, fed: ReadonlyMap<string, Tensor>, cause: unknown): QtoolError | undefined {
  const one = modelInputs(model)
    .map(({ name, dims }) => ({ made: dims?.[0], rows: fed.get(name)?.dims[0] }))
    .find(({ made, rows }) => typeof made === 'number' && rows !== undefined && made !== rows);
  if (!one) return undefined;
  const accumulate = Math.max(1, Math.round(Number(one.rows) / Number(one.made)));
  return new QtoolError('graph', `the model is made for batches of ${one.made}, and does not run on ${one.rows} samples at once`, {
    at: 'training.batch_size',
    hint: `give \`training:\` "batch_size: ${one.made}" and "accumulate: ${accumulate}"`,
    cause,
  }); // prettier-ignore
}

/**
 * Which of a model's parameters a loss has a gradient by.
 * @param loss absent: one of all outputs.
 * @param target which kernels the steps run on.
 * @returns them, and what is not trained with its reason.
 * @throws QtoolError('graph') where there are none.
 */
export function trainableBy({ model, shapes, candidates, others, dress }: Prepared, loss?: Loss, target?: Target) {
  const { found, blocked } = gradientReach(model, shapes, candidates, { loss, target, surrogates: dress?.surrogates });
  const trainable = candidates.filter((name) => found.has(name));
  const stopped = blocked.filter(({ lost }) => lost.length > 0);
  const lost = new Set(stopped.flatMap((one) => one.lost));
  // Of weights that share values the values are trained.
  const shared = new Set(dress?.found.map(({ tensor }) => tensor));
  const unread = candidates.filter((name) => !found.has(name) && !lost.has(name) && !shared.has(name));
  const skipped: Note[] = [
    ...stopped.map(({ layer, op, why, lost: { length } }) => ({
      layer,
      text: `${op} ${why}: ${length} parameters before it are not trained`,
    })),
    ...others,
    ...(unread.length === 0 ? [] : [{ layer: shortList(unread), text: 'the loss does not follow what is made with it: not trained' }]),
  ]; // prettier-ignore
  if (trainable.length > 0) return { trainable, skipped };
  const [first] = skipped;
  const why = first ? `${first.layer}, ${first.text}` : 'it holds none in float32';
  throw new QtoolError('graph', `no weight can be trained: ${why}`, first ? {} : { hint: 'a model is trained before a quantizer, in float' }); // prettier-ignore
}

const shortList = (names: readonly string[]): string =>
  `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;

/** Its outputs on a batch: name → dims. */
export const outputsOf = ({ model, shapes }: Pick<Prepared, 'model' | 'shapes'>): Map<string, readonly number[]> =>
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
  LSTM: [1, 2, 3, 7],
  RNN: [1, 2, 3],
};

/**
 * Float weights and biases that are stored in the model. What is no parameter: a single number that is added or multiplied, a table of factors
 * (rotary embeddings; only a vector of them is the scale of a normalization), a mask of attention. Those of other float types are told.
 */
function parametersOf(model: Model): { readonly names: readonly string[]; readonly others: readonly Note[] } {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  const names = new Set<string>();
  const others = new Map<string, Note>();
  for (const node of model.graph.node)
    for (const i of isOp(node, node.op_type) ? (parameterInputs[node.op_type] ?? []) : []) {
      const name = node.input[i] ?? '';
      const cast = made.get(name);
      const stored = cast && isOp(cast, 'Cast') ? given(cast.input[0], 'what is cast') : name;
      const tensor = tensors.get(stored);
      if (holdsParameters(node.op_type, tensors.get(name))) names.add(name);
      else if (tensor && otherFloats.has(typeOf(tensor)) && elementCount(dimsOf(tensor)) > 1)
        others.set(stored, { layer: stored, text: `is ${typeOf(tensor)}: only float32 is trained` });
    }
  return { names: [...names], others: [...others.values()] };
}

const otherFloats: ReadonlySet<string> = new Set(['float16', 'bfloat16', 'float64']);

function holdsParameters(op: string, tensor: TensorProto | undefined): boolean {
  if (tensor === undefined || typeOf(tensor) !== 'float32') return false;
  const dims = dimsOf(tensor);
  const count = elementCount(dims);
  if (count <= 1) return false;
  if (op === 'Mul') return count === Math.max(...dims);
  // Masks add a large negative number, or −∞, to the scores that do not count.
  return op !== 'Add' || floatData(tensor).every((v) => v > -1e4);
}
