import { floatAttribute } from '../../graph/attribute.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { dimsOf, elementCount, tensorNumbers, typeOf } from '../../graph/tensor.ts';
import { isMove, opOf, productOf, type Role } from '../../graph/ops.ts';
import { given } from '../../util/must.ts';
import type { Note } from '../pass.ts';

/** A value that gets QuantizeLinear and DequantizeLinear. */
export interface ValuePlan {
  /** The value whose scale it takes: itself, or where the numbers came from through nodes that only move them. */
  readonly root: string;
  /** Bounds a Clip before it guarantees; a range beyond them would keep onnxruntime from dropping the Clip. */
  readonly clip: { readonly min: number; readonly max: number } | undefined;
  /** Whether an integer kernel makes it: then every reader reads the dequantized value, or the kernel would not fuse. */
  readonly integer: boolean;
  /** A float layer makes it of quantized values, which onnxruntime would take for an invitation to quantize that layer too. */
  readonly guarded: boolean;
}

/** What of a model is quantized. */
export interface Region {
  /** Kernel nodes and carriers that run on quantized values. */
  readonly nodes: ReadonlyMap<NodeProto, Role>;
  readonly values: ReadonlyMap<string, ValuePlan>;
  /** Constants read by quantized Add, Mul, Concat: quantized per tensor. */
  readonly constants: ReadonlySet<string>;
  readonly skipped: readonly Note[];
}

/**
 * Finds what to quantize so that onnxruntime fuses it: every kernel node with constant weights that `wanted` allows, and
 * between kernels the nodes that can carry quantized values, whole residual blocks. A carrier is taken where one input comes
 * from quantized values and its output leads to a kernel; elsewhere it would only add rounding.
 * @param wanted why a node must stay in float, or undefined.
 */
export function quantizedRegion(model: Model, shapes: Shapes, wanted: (node: NodeProto) => string | undefined): Region {
  const { graph } = model;
  const constant = initializers(graph);
  const made = producers(graph);
  const readers = consumers(graph);
  const outputs = new Set(graph.output.map((o) => o.name));
  const roles = new Map<NodeProto, Role>();
  const skipped: Note[] = [];
  for (const node of graph.node) {
    const role = opOf(node)?.quantization(node) ?? noKernel(node);
    const known = typeof role === 'string' ? undefined : role;
    const reason = known ? (wanted(node) ?? unfit(node, known, constant, shapes)) : stopReason(node, constant, shapes);
    if (known && reason === undefined) roles.set(node, known);
    // What is no layer and has a role stops without a word: a Clip of computed bounds.
    else if (reason && (!known || known.kind === 'kernel')) skipped.push({ layer: layerName(node), text: reason });
  }
  /** A Relu or Clip goes away where it is the only reader of what stands before it. */
  const absorbedBy = (node: NodeProto): NodeProto | undefined => {
    const before = node.input[0] ?? '';
    const maker = made.get(before);
    const from = maker && roles.get(maker)?.kind;
    const alone = readers.get(before)?.length === 1 && !outputs.has(before);
    const absorbs = from === 'kernel' || from === 'own';
    return roles.get(node)?.kind === 'clamp' && absorbs && alone ? maker : undefined;
  };

  const reached = new Set<string>();
  for (const node of graph.node) {
    const role = roles.get(node);
    if (role && (role.kind === 'kernel' || dataInputs(node, role).some((v) => reached.has(v))))
      node.output.forEach((v) => reached.add(v));
  }
  const demanded = new Set<string>();
  for (const node of [...graph.node].reverse()) {
    const role = roles.get(node);
    if (role && (role.kind === 'kernel' || node.output.some((v) => demanded.has(v))))
      dataInputs(node, role).forEach((v) => demanded.add(v));
  }

  const nodes = new Map<NodeProto, Role>();
  const quantized = new Set<string>();
  const constants = new Set<string>();
  for (const [node, role] of roles) {
    const live = role.kind === 'kernel' || node.output.some((v) => reached.has(v) && demanded.has(v));
    const absorbing = absorbedBy(node);
    const clampOfKernel = absorbing !== undefined && nodes.has(absorbing);
    if (!live && !clampOfKernel) continue;
    nodes.set(node, role);
    if (clampOfKernel) continue;
    for (const name of dataInputs(node, role)) (constant.has(name) ? constants : quantized).add(name);
    if (role.kind === 'kernel' && !role.needsOutput) continue;
    node.output.forEach((v) => quantized.add(v));
  }
  // Before an absorbed Relu or Clip no value is quantized; after it, if the kernel before needs its output quantized.
  for (const node of nodes.keys()) {
    const absorbing = absorbedBy(node);
    const [before = '', after = ''] = [node.input[0], node.output[0]];
    if (absorbing && nodes.has(absorbing) && quantized.delete(before)) quantized.add(after);
  }
  const values = new Map<string, ValuePlan>();
  for (const node of [undefined, ...graph.node])
    for (const value of node ? node.output : graph.input.map((i) => i.name)) {
      if (!quantized.has(value)) continue;
      const role = node && nodes.get(node);
      const from = role?.kind === 'same' ? values.get(node?.input[0] ?? '') : undefined;
      const clip = node && role?.kind === 'clamp' ? clipBounds(node, constant) : from?.clip;
      const guarded = role === undefined && node !== undefined && isTempting(node, made, constant, quantized);
      values.set(value, { root: from?.root ?? value, clip, integer: role !== undefined, guarded });
    }
  return { nodes, values, constants, skipped };
}

/**
 * Whether a node, through moves and clamps, gives what a float layer with stored weights makes of a quantized value: onnxruntime's
 * WeightBiasQuantization (1.30) quantizes the weights of Conv, ConvTranspose and Gemm in that place, with one scale for all.
 */
function isTempting(
  node: NodeProto,
  made: ReadonlyMap<string, NodeProto>,
  constant: ReadonlyMap<string, TensorProto>,
  quantized: ReadonlySet<string>,
): boolean {
  const carried = (n: NodeProto): boolean => isMove(n) || isOp(n, 'Relu', 'Clip');
  let from: NodeProto | undefined = node;
  while (from && carried(from)) from = made.get(from.input[0] ?? '');
  if (!from || !isOp(from, 'Conv', 'ConvTranspose', 'Gemm') || !constant.has(from.input[1] ?? '')) return false;
  for (let value = from.input[0] ?? ''; ;) {
    if (quantized.has(value)) return true;
    const maker = made.get(value);
    if (!maker || !isMove(maker)) return false;
    value = maker.input[0] ?? '';
  }
}

/** The layers whose weights the region's integer kernels multiply by. */
export function kernelLayers(region: Region, layers: readonly Layer[]): Layer[] {
  return layers.filter(({ node, input }) => {
    const role = region.nodes.get(node);
    return role?.kind === 'kernel' && role.weight === input;
  });
}

function dataInputs(node: NodeProto, role: Role): string[] {
  const indices = role.kind === 'kernel' || role.kind === 'clamp' ? [0] : role.inputs;
  return indices.map((i) => node.input[i] ?? '');
}

const isFloat = (name: string, shapes: Shapes): boolean => (shapes.get(name)?.type ?? 'float32') === 'float32';

const noKernel = (node: NodeProto): string => `onnxruntime has no integer kernel for ${node.op_type} that QDQ fuses to`;

function stopReason(node: NodeProto, constant: ReadonlyMap<string, TensorProto>, shapes: Shapes): string | undefined {
  const weights = node.input.filter((name) => (constant.get(name)?.dims.length ?? 0) >= 2 && isFloat(name, shapes));
  return weights.length > 0 ? noKernel(node) : undefined;
}

/** Why a node with a role cannot be quantized as it is. */
function unfit(
  node: NodeProto,
  role: Role,
  constant: ReadonlyMap<string, TensorProto>,
  shapes: Shapes,
): string | undefined {
  const value = node.output[0] ?? '';
  if (!isFloat(value, shapes)) return `computes in ${shapes.get(value)?.type}, not float32`;
  if (role.kind === 'clamp') return clipBounds(node, constant) ? undefined : 'its bounds are not constants';
  if (role.kind !== 'kernel') return undefined;
  const weight = constant.get(node.input[role.weight] ?? '');
  if (!weight && constant.has(node.input[0] ?? '')) return 'its constant stands on the left of the product';
  if (!weight) return `its weights are computed in the graph (${node.input[role.weight]}), not constant`;
  if (typeOf(weight) !== 'float32') return `its weights are ${typeOf(weight)}, not float32`;
  if (weight.dims.length < 2) return 'its weight is a vector';
  if (elementCount(dimsOf(weight)) === 0) return 'its weight has no elements';
  if (constant.has(node.input[0] ?? '')) return 'its input is a constant';
  const bias = role.bias === undefined ? '' : (node.input[role.bias] ?? '');
  if (bias !== '' && !constant.has(bias)) return `its bias is computed in the graph (${bias})`;
  const product = given(productOf(node), `the product that ${node.op_type} is`);
  const quirk = product.quirk(node);
  if (quirk !== undefined) return quirk;
  const axis = product.axes(node, role.weight, weight.dims.length)?.out.at(-1) ?? 0;
  const biasTensor = constant.get(bias);
  if (biasTensor && dimsOf(biasTensor).join() !== String(dimsOf(weight)[axis]))
    return 'its bias is not one number an output';
  return undefined;
}

/** What a Relu or Clip guarantees; undefined where its bounds are not constants. Opset 6 Clip has attributes, 11 inputs. */
function clipBounds(
  node: NodeProto,
  constant: ReadonlyMap<string, TensorProto>,
): { min: number; max: number } | undefined {
  if (node.op_type === 'Relu') return { min: 0, max: Infinity };
  const bound = (index: number, attribute: string, otherwise: number): number | undefined => {
    const name = node.input[index] ?? '';
    if (name === '') return floatAttribute(node, attribute, otherwise);
    const tensor = constant.get(name);
    return tensor ? tensorNumbers(tensor)[0] : undefined;
  };
  const [min, max] = [bound(1, 'min', -Infinity), bound(2, 'max', Infinity)];
  return min === undefined || max === undefined ? undefined : { min, max };
}
