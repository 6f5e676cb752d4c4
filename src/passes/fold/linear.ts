import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { productOf } from '../../graph/ops.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { given } from '../../util/must.ts';
import { constantTensors, ownedBy, perChannel } from './tensors.ts';

/**
 * A layer that multiplies by a constant float32 weight and may add a constant bias, seen alike for Conv [O, I/g, k…],
 * ConvTranspose [I, O/g, k…], Gemm [K, N] or [N, K] and MatMul [K, N].
 */
export interface LinearLayer {
  readonly node: NodeProto;
  readonly weight: TensorProto;
  readonly inputs: number;
  readonly outputs: number;
  /** One entry an output, zeros where the layer has none; beta of Gemm is applied. */
  readonly bias: Float64Array;
  /** What products are multiplied with: alpha of Gemm. */
  readonly gain: number;
  /** Input and output channel of a weight element. */
  readonly inputOf: (element: number) => number;
  readonly outputOf: (element: number) => number;
}

export function isLinear(node: NodeProto): boolean {
  return isOp(node, 'Conv', 'ConvTranspose', 'Gemm', 'MatMul');
}

export function hasMatMul(model: Model): boolean {
  return model.graph.node.some((node) => isOp(node, 'MatMul'));
}

/** Reads a layer, or says why it cannot be folded into. */
export function linearLayer(model: Model, node: NodeProto): LinearLayer | string {
  const tensors = constantTensors(model);
  const name = node.input[1] ?? '';
  const weight = tensors.get(name);
  if (!weight) return `the weight "${name}" of "${layerName(node)}" is not a constant`;
  if (typeOf(weight) !== 'float32') return `the weight "${name}" is ${typeOf(weight)}`;
  const places = placesOf(node, dimsOf(weight));
  if (typeof places === 'string') return places;
  const bias = biasOf(node, places.outputs, tensors);
  if (typeof bias === 'string') return bias;
  return { node, weight, bias, gain: isOp(node, 'Gemm') ? floatAttribute(node, 'alpha', 1) : 1, ...places };
}

type Places = Pick<LinearLayer, 'inputs' | 'outputs' | 'inputOf' | 'outputOf'>;

function placesOf(node: NodeProto, dims: readonly number[]): Places | string {
  const isConv = isOp(node, 'Conv', 'ConvTranspose');
  if (!isConv && dims.length !== 2) return `the weight of "${layerName(node)}" has ${dims.length} axes`;
  if (intAttribute(node, 'transA', 0) !== 0) return `"${layerName(node)}" transposes its input`;
  const { out, in: into, groups, grouped } = given(productOf(node)?.axes(node, 1, dims.length), node.op_type);
  const [outer = 0, inner = 0] = [grouped === 'out' ? out[0] : into[0], grouped === 'out' ? into[0] : out[0]];
  const [count = 1, within = 1] = [dims[outer], dims[inner]];
  const along = (axis: number): ((element: number) => number) => {
    const [size, stride] = [dims[axis]!, elementCount(dims.slice(axis + 1))];
    return (element) => Math.floor(element / stride) % size;
  };
  // One axis counts through all groups, the other within one.
  const [through, part] = [along(outer), along(inner)];
  const all = (element: number): number => Math.floor((through(element) * groups) / count) * within + part(element);
  const [a, b] = [
    { count, of: through },
    { count: within * groups, of: groups === 1 ? part : all },
  ];
  const [o, i] = grouped === 'out' ? [a, b] : [b, a];
  return { outputs: o.count, outputOf: o.of, inputs: i.count, inputOf: i.of };
}

function biasOf(node: NodeProto, outputs: number, tensors: ReadonlyMap<string, TensorProto>): Float64Array | string {
  const name = node.input[productOf(node)?.bias ?? -1] ?? '';
  if (name === '') return new Float64Array(outputs);
  const tensor = tensors.get(name);
  if (!tensor || typeOf(tensor) !== 'float32') return `the bias "${name}" is not a float32 constant`;
  const values = perChannel(tensor, 1, 2, outputs);
  if (!values) return `the bias "${name}" differs from row to row`;
  const beta = isOp(node, 'Gemm') ? floatAttribute(node, 'beta', 1) : 1;
  return values.map((v) => v * beta);
}

/** The weights times one factor an output channel or an input channel, rounded once to float32. */
export function scaledWeight(layer: LinearLayer, factor: Float64Array, of: 'inputs' | 'outputs'): Float32Array {
  const channel = of === 'inputs' ? layer.inputOf : layer.outputOf;
  return floatData(layer.weight).map((w, i) => w * factor[channel(i)]!);
}

/** What the layer makes of an input that is constant within each channel: one entry an output. */
export function response(layer: LinearLayer, input: Float64Array): Float64Array {
  const result = new Float64Array(layer.outputs);
  floatData(layer.weight).forEach((w, i) => {
    const o = layer.outputOf(i);
    result[o] = result[o]! + layer.gain * w * input[layer.inputOf(i)]!;
  });
  return result;
}

/**
 * Gives the layer another weight or bias, and its result another name. Tensors that other nodes read stay as they are for
 * them: the layer then gets its own copy. A MatMul with a bias becomes a Gemm, so its input must be of rank 2.
 */
export function replaceLinear(
  draft: Draft,
  model: Model,
  layer: LinearLayer,
  change: {
    readonly weight?: Float32Array | undefined;
    readonly bias?: Float64Array | undefined;
    /** The constant that becomes the bias of a layer without one; nothing else reads it. */
    readonly biasName?: string | undefined;
    readonly output?: string | undefined;
  },
): void {
  const { node, weight } = layer;
  const own = (name: string): boolean => ownedBy(model, node, name);
  const input = [...node.input];
  if (change.weight) {
    const tensor = makeTensor(weight.name, 'float32', dimsOf(weight), change.weight);
    if (own(weight.name)) draft.replace(weight.name, tensor);
    else input[1] = draft.add(`${weight.name}_${layerName(node)}`, tensor);
  }
  const before = input[productOf(node)?.bias ?? -1] ?? '';
  const bias = change.bias && (before !== '' || change.bias.some((b) => b !== 0)) ? change.bias : undefined;
  if (bias) {
    const known = own(before) ? before : change.biasName;
    const tensor = makeTensor('', 'float32', [layer.outputs], Float32Array.from(bias));
    if (known !== undefined) draft.replace(known, tensor);
    input[2] = known ?? draft.add(biasName(weight.name), tensor);
  }
  const output = change.output === undefined ? node.output : [change.output];
  const gemm = bias !== undefined && isOp(node, 'MatMul');
  const changed = draft.update(node, { input, output, ...(gemm ? { op_type: 'Gemm' } : {}) });
  if (bias && isOp(node, 'Gemm')) draft.setAttribute(changed, 'beta', undefined);
}

/** As PyTorch names a bias beside its weight. */
function biasName(weight: string): string {
  return weight.endsWith('weight') ? `${weight.slice(0, -'weight'.length)}bias` : `${weight}_bias`;
}
