import { makeModel, makeNode, makeValue } from '../graph/build.ts';
import type { DType, TypedArray } from '../graph/dtype.ts';
import type { Model } from '../graph/model.ts';
import { NodeCodec, type NodeProto, type TensorProto } from '../graph/proto.ts';
import { initializers, isOp, opset } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { dimsOf, elementCount, renamed, tensorData } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { given, must } from '../util/must.ts';
import { trainingBatchNorm } from './batch_norm.ts';
import { backward, differentiable, inOrder, type Forward } from './backward.ts';
import type { Target } from './rule.ts';
import { ruleOf } from './rules/index.ts';
import type { Surrogates } from './surrogate.ts';
import { add, div, graphWriter, mul, sum, unary, type GraphWriter, type Value } from './writer.ts';

/** A loss of a model's outputs. */
export interface Loss {
  /**
   * Writes the loss (a scalar) and its gradients by the outputs. `input` makes a graph input that is fed with every batch (labels, a teacher's
   * outputs); `counts` are scalars to be reported.
   */
  write(
    w: GraphWriter,
    outputs: ReadonlyMap<string, Value>,
    input: (name: string, type: DType, dims: readonly number[]) => Value,
  ): { readonly loss: Value; readonly seeds: ReadonlyMap<string, Value>; readonly counts?: ReadonlyMap<string, Value> };
}

/** How parameters follow their gradients. */
export interface Optimizer {
  /** What it keeps for every parameter, of the parameter's shape, 0 at first. */
  readonly slots: readonly string[];
  /** Numbers that are fed with every step (`lr` …). */
  readonly scalars: readonly string[];
  update(w: GraphWriter, a: Updated): { readonly parameter: Value; readonly slots: readonly Value[] };
  /** The gradient that it goes by, where that is not the step's own: what a bound of the norm is held against. */
  followed?(w: GraphWriter, a: Updated): Value;
}

/** What an optimizer updates a parameter by. */
export interface Updated {
  readonly parameter: Value;
  readonly gradient: Value;
  readonly slots: readonly Value[];
  readonly scalar: (name: string) => Value;
  /** What the gradient that is followed is multiplied by; absent: nothing, or it is done. */
  readonly shrink?: Value | undefined;
}

/** How a mask of a parameter acts. Without any of these: on the parameter, its gradient and its update, so that zeros stay zeros. */
export interface Masked {
  /** On what the forward graph reads alone: a masked weight is updated, and may come back. */
  readonly forwardOnly?: boolean | undefined;
  /** With `forwardOnly`: gradients of masked weights are 0 all the same (momentum and decay still move them). */
  readonly maskGradients?: boolean | undefined;
  /** With `forwardOnly`: updates go to the weight as it was before masking; without, to the masked one, which begins each step at 0. */
  readonly doubleCopies?: boolean | undefined;
}

/** A penalty of one parameter, written for a strength of 1; the strength is a scalar of this name, fed with every step. */
export interface Penalty {
  readonly strength: string;
  readonly write: (w: GraphWriter, parameter: Value) => { readonly penalty: Value; readonly gradient: Value };
}

/** Everything that decides the structure of a training graph. */
export interface TrainingPlan {
  readonly trainable: readonly string[];
  readonly loss: Loss;
  readonly optimizer: Optimizer;
  /** Of parameters; a weight that is not among them is masked for the forward pass, and stays as it is. */
  readonly masks?: ReadonlyMap<string, Masked>;
  /** Parameters that the forward pass multiplies by numbers fed with every step; updates go to the parameter as it is. */
  readonly factors?: ReadonlySet<string>;
  /** Penalties by their parameter: added to the loss, and to its gradient. */
  readonly penalties?: ReadonlyMap<string, readonly Penalty[]>;
  /** The largest norm of all gradients together; larger ones are scaled down. */
  readonly clipNorm?: number | undefined;
  /** Whether BatchNormalizations take the batch's statistics and keep running ones, or use those that the model has. */
  readonly batchNorm?: 'train' | 'frozen';
  /** Gradients that are taken in place of those of the nodes. */
  readonly surrogates?: Surrogates | undefined;
  /** Constants that each step replaces: initializer → the value that it has in the next step. */
  readonly tracked?: ReadonlyMap<string, string> | undefined;
  /** Constants that are fed with every step: they become inputs of their own name. */
  readonly fed?: ReadonlySet<string> | undefined;
  /** Which kernels it is written for; default: the CPU's. */
  readonly target?: Target | undefined;
}

/** A graph that does one step: forward, backward, update. */
export interface TrainingGraph {
  readonly model: Model;
  /** Which kernels it is written for. */
  readonly target: Target;
  /** What goes in and comes out again: graph input → the output that is its next value, with shape and first value. */
  readonly state: ReadonlyMap<
    string,
    { readonly next: string; readonly dims: readonly number[]; readonly first: Float32Array }
  >;
  /** Parameters and running statistics by their name in the model → the graph input that holds them. */
  readonly held: ReadonlyMap<string, string>;
  /** The optimizer's slots of each parameter: graph inputs, in its order. */
  readonly slots: ReadonlyMap<string, readonly string[]>;
  /** Masks by their parameter: 0 and 1, fed with every step. */
  readonly masks: ReadonlyMap<string, string>;
  /** What parameters are multiplied by for a step, by their parameter: fed with every step. */
  readonly factors: ReadonlyMap<string, string>;
  /** Scalars that are fed with every step: their name in the plan → the graph input. */
  readonly scalars: ReadonlyMap<string, string>;
  /** Scalars that come out: `loss` and what the loss counts. */
  readonly reports: ReadonlyMap<string, string>;
}

/**
 * Which parameters a loss of the outputs has a gradient by, and which nodes stand in the way of the others.
 * @param loss which outputs it reads decides; absent: a loss of all of them.
 */
export function gradientReach(
  model: Model,
  shapes: Shapes,
  wanted: readonly string[],
  { loss, target = 'cpu', surrogates }: { readonly loss?: Loss | undefined; readonly target?: Target | undefined; readonly surrogates?: Surrogates | undefined } = {}, // prettier-ignore
) {
  const values = new Map([...shapes].map(([name, { dims }]) => [name, { name, dims }]));
  const forward: Forward = {
    nodes: model.graph.node,
    values,
    constants: smallConstants(model, new Set(wanted)),
    target,
    surrogates,
  };
  const outputs = model.graph.output.map(({ name }) => name);
  const w = graphWriter();
  const read = loss?.write(w, new Map(outputs.map((name) => [name, must(values, name, 'the output')])), (name, _, dims) => ({ name, dims })).seeds; // prettier-ignore
  return differentiable(forward, read ? [...read.keys()] : outputs, wanted, w);
}

/** What constants that are no parameters hold, where they may be arguments: sizes, axes, bounds. */
function smallConstants(model: Model, parameters: ReadonlySet<string>): Map<string, TypedArray> {
  const small = model.graph.initializer.filter((tensor) => !parameters.has(tensor.name) && tensorSize(tensor) <= 4096);
  return new Map(small.map((tensor) => [tensor.name, tensorData(tensor)]));
}

/** Least operator set of a training graph: ReduceMean with axes as an input. */
export const trainingOpset = 18;

/**
 * Writes a model's training step as one graph of standard operators. The model is of opset 18 or later, without Constant nodes and with
 * what follows from fixed shapes computed.
 * @param shapes of every value on one batch: the graph is for this batch size.
 * @throws QtoolError('graph') naming the operator where a parameter's gradient does not come through.
 */
export function buildTraining(model: Model, shapes: Shapes, plan: TrainingPlan): TrainingGraph {
  const { target = 'cpu' } = plan;
  const taken = new Set(model.graph.node.flatMap(({ input, output }) => [...input, ...output]));
  const w = graphWriter(new Set([...taken, ...model.graph.initializer.map(({ name }) => name)]));
  const tensors = initializers(model.graph);
  const inputs = model.graph.input.filter(({ name }) => !tensors.has(name));
  const state = new Map<string, { next: string; dims: readonly number[]; first: Float32Array }>();
  const fed: ReturnType<typeof makeValue>[] = [];
  const input = (name: string, type: DType, dims: readonly number[]): Value => {
    fed.push(makeValue(name, type, dims));
    return { name, dims };
  };
  const values = new Map<string, Value>();
  for (const [name, { dims }] of shapes) values.set(name, { name, dims });

  const held = new Map<string, string>();
  const masks = new Map<string, string>();
  const dropped = new Map<string, string>();
  const maskedAs = new Map<string, string>();
  const slotsOf = new Map<string, readonly string[]>();
  const first = (name: string): Float32Array => Float32Array.from(tensorData(must(tensors, name, 'the parameter')) as Float32Array); // prettier-ignore
  const nodes: NodeProto[] = [];
  const parameters = new Map<string, Value>();
  for (const name of plan.trainable) {
    const dims = dimsOf(must(tensors, name, 'the parameter'));
    const factors = [...(plan.masks?.has(name) ? [masks] : []), ...(plan.factors?.has(name) ? [dropped] : [])];
    const own = input(factors.length > 0 ? w.fresh(name) : name, 'float32', dims);
    parameters.set(name, own);
    held.set(name, own.name);
    let read = own.name;
    for (const [i, inputs] of factors.entries()) {
      const factor = input(w.fresh(`${name}_${inputs === masks ? 'mask' : 'factor'}`), 'float32', dims);
      inputs.set(name, factor.name);
      const next = i === factors.length - 1 ? name : w.fresh(name);
      nodes.push(makeNode('Mul', [read, factor.name], [next]));
      if (inputs === masks) maskedAs.set(name, next);
      read = next;
    }
  }
  const trained = new Set(plan.trainable);
  const frozen = new Map<string, TensorProto>();
  for (const name of plan.masks?.keys() ?? []) {
    const tensor = tensors.get(name);
    if (trained.has(name) || tensor === undefined) continue;
    const mask = input(w.fresh(`${name}_mask`), 'float32', dimsOf(tensor));
    masks.set(name, mask.name);
    frozen.set(name, renamed(tensor, w.fresh(name)));
    nodes.push(makeNode('Mul', [must(frozen, name, 'the frozen weight').name, mask.name], [name]));
  }
  // Constants that are inputs here.
  const statistics = new Set<string>();
  const track = (name: string, next: Value): void => {
    held.set(name, name);
    statistics.add(name);
    input(name, 'float32', next.dims);
    state.set(name, { next: next.name, dims: next.dims, first: first(name) });
  };

  for (const name of plan.fed ?? [])
    statistics.add(input(name, 'float32', dimsOf(must(tensors, name, 'the number'))).name);
  for (const [name, next] of plan.tracked ?? []) track(name, must(values, next, 'the next value of'));
  const running = new Map<string, readonly Value[]>();
  const written = new Map<NodeProto, readonly NodeProto[]>();
  for (const node of model.graph.node) {
    if (isOp(node, 'BatchNormalization') && plan.batchNorm === 'train') {
      const made = trainingBatchNorm(node, values, w, running, target);
      written.set(made.node, made.written);
      nodes.push(made.node);
      continue;
    }
    nodes.push(withWanted(node, values, w, target));
  }
  const forwardTensors = [...model.graph.initializer.filter(({ name }) => !trained.has(name) && !frozen.has(name)), ...frozen.values()]; // prettier-ignore
  const constants = smallConstants(model, new Set([...trained, ...frozen.keys()]));
  const forward: Forward = { nodes, values, constants, target, surrogates: plan.surrogates };
  const outputs = model.graph.output.map(({ name }) => name);
  refuseBlocked(differentiable(forward, outputs, plan.trainable, w).blocked);

  const { loss, seeds, counts } = plan.loss.write(w, new Map(outputs.map((name) => [name, must(values, name, 'the output')])), input); // prettier-ignore
  const gradients = backward(forward, w, seeds, plan.trainable);
  for (const [name, factor] of dropped) {
    const gradient = gradients.get(name);
    if (gradient) gradients.set(name, mul(w, gradient, { name: factor, dims: gradient.dims }));
  }
  const scalars = new Map<string, Value>();
  const scalar = (name: string): Value => {
    const known = scalars.get(name) ?? input(w.fresh(name), 'float32', []);
    scalars.set(name, known);
    return known;
  };
  const penalized = addPenalties(w, plan, parameters, gradients, scalar, loss);
  const steps = plan.trainable.flatMap((name) => {
    const gradient = gradients.get(name);
    // A parameter that no output reads stays as it is.
    if (!gradient) return [];
    const parameter = must(parameters, name, 'the parameter');
    const mask = masks.get(name);
    const keep = mask === undefined ? undefined : { name: mask, dims: parameter.dims };
    const { forwardOnly, maskGradients, doubleCopies } = plan.masks?.get(name) ?? {};
    const masked = keep && (forwardOnly !== true || maskGradients === true) ? mul(w, gradient, keep) : gradient;
    const from =
      forwardOnly === true && doubleCopies !== true
        ? { name: maskedAs.get(name) ?? name, dims: parameter.dims }
        : parameter;
    return [{ name, parameter, from, gradient: masked, keep: forwardOnly === true ? undefined : keep }];
  });
  const { optimizer } = plan;
  const updates = steps.map((step) => ({
    ...step,
    slots: optimizer.slots.map((slot) => input(w.fresh(`${step.name}_${slot}`), 'float32', step.parameter.dims)),
  }));
  const followed = updates.map(({ from, gradient, slots }) => plan.clipNorm === undefined ? gradient : (optimizer.followed?.(w, { parameter: from, gradient, slots, scalar }) ?? gradient)); // prettier-ignore
  const shrink = plan.clipNorm === undefined ? undefined : clipping(w, followed, plan.clipNorm);
  for (const { name, parameter, from, gradient: whole, keep, slots } of updates) {
    const gradient = shrink && !optimizer.followed ? mul(w, whole, shrink) : whole;
    const next = optimizer.update(w, { parameter: from, gradient, slots, scalar, shrink });
    const stays = keep ? mul(w, next.parameter, keep) : next.parameter;
    state.set(parameter.name, { next: stays.name, dims: parameter.dims, first: first(name) });
    held.set(name, parameter.name);
    for (const [i, slot] of slots.entries())
      state.set(slot.name, { next: given(next.slots[i], 'a slot').name, dims: slot.dims, first: new Float32Array(elementCount(slot.dims)) }); // prettier-ignore
    slotsOf.set(name, slots.map((slot) => slot.name)); // prettier-ignore
  }
  for (const [name, list] of running) track(name, given(list.at(-1), name));
  const behind = inOrder(w.nodes, [...seeds.values()].map(({ name }) => name)); // prettier-ignore
  const reports = new Map([
    ['loss', penalized.name],
    ...[...(counts ?? [])].map(([name, { name: as }]) => [name, as] as const),
  ]);
  const results = [...[...reports.values()].map((name) => makeValue(name, 'float32', [])), ...[...state.values()].map(({ next, dims }) => makeValue(next, 'float32', dims))]; // prettier-ignore
  const batched = inputs.map((one) => {
    const shape = must(shapes, one.name, 'the shape of');
    return makeValue(one.name, shape.type, shape.dims);
  });
  return {
    model: makeModel({
      inputs: [...batched, ...fed],
      outputs: results,
      nodes: [...nodes.flatMap((node) => written.get(node) ?? [node]), ...behind],
      initializers: [...forwardTensors.filter(({ name }) => !statistics.has(name)), ...w.tensors],
      opset: opset(model),
      domains: Object.fromEntries(model.proto.opset_import.filter(({ domain }) => domain !== '' && domain !== 'ai.onnx').map(({ domain }) => [domain, opset(model, domain)])), // prettier-ignore
    }),
    target,
    state,
    held,
    slots: slotsOf,
    masks,
    factors: dropped,
    scalars: new Map([...scalars].map(([name, { name: as }]) => [name, as])),
    reports,
  };
}

/** Adds penalties to gradients, in place. @returns the loss with them. */
function addPenalties(
  w: GraphWriter,
  plan: TrainingPlan,
  parameters: ReadonlyMap<string, Value>,
  gradients: Map<string, Value>,
  scalar: (name: string) => Value,
  loss: Value,
): Value {
  let total = loss;
  for (const [name, penalties] of plan.penalties ?? [])
    for (const { strength, write } of penalties) {
      const { penalty, gradient } = write(w, must(parameters, name, 'the parameter of a penalty'));
      total = add(w, total, mul(w, penalty, scalar(strength)));
      const pull = mul(w, gradient, scalar(strength));
      const own = gradients.get(name);
      gradients.set(name, own ? add(w, own, pull) : pull);
    }
  return total;
}

/**
 * min(1, largest / √Σ g²), as PyTorch's clip_grad_norm_. All gradients are needed before the first update: their buffers live longer.
 * Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks (2013), algorithm 1.
 */
function clipping(w: GraphWriter, gradients: readonly Value[], largest: number): Value {
  const squares = gradients.map((g) => sum(w, mul(w, g, g), [...g.dims.keys()]));
  const norm = unary(w, 'Sqrt', squares.reduce((a, b) => add(w, a, b), w.scalar(0))); // prettier-ignore
  return w.op('Min', [w.scalar(1), div(w, w.scalar(largest), add(w, norm, w.scalar(1e-6)))], []);
}

const tensorSize = (tensor: Parameters<typeof dimsOf>[0]): number => elementCount(dimsOf(tensor));

/** The node with the outputs that its rule reads, too. */
function withWanted(node: NodeProto, values: Map<string, Value>, w: GraphWriter, target: Target): NodeProto {
  const wanted = ruleOf(node)?.wants?.(node, target) ?? [];
  if (wanted.every((i) => (node.output[i] ?? '') !== '')) return node;
  const output = [...node.output];
  const { dims } = must(values, node.output[0] ?? '', 'the shape of');
  for (const i of wanted) {
    while (output.length <= i) output.push('');
    if (output[i] !== '') continue;
    const name = w.fresh(`${node.op_type}_${i}`);
    output[i] = name;
    values.set(name, { name, dims: extraDims(node, dims) });
  }
  return NodeCodec.amend(node, { output });
}

/** LayerNormalization's mean and deviation have 1 in the axes that they are taken over; indices have the output's shape. */
function extraDims(node: NodeProto, dims: readonly number[]): readonly number[] {
  if (!isOp(node, 'LayerNormalization')) return dims;
  const axis = node.attribute.find(({ name }) => name === 'axis');
  const from = axis ? (Number(axis.i) + dims.length) % dims.length : dims.length - 1;
  return dims.map((one, i) => (i < from ? one : 1));
}

function refuseBlocked(blocked: ReturnType<typeof differentiable>['blocked']): void {
  const [worst] = blocked.filter(({ lost }) => lost.length > 0);
  if (!worst) return;
  throw new QtoolError(
    'graph',
    `${worst.layer} (${worst.op}) ${worst.why}: ${worst.lost.length} parameters before it cannot be trained`,
    {
      // prettier-ignore
      at: worst.lost.slice(0, 3).join(', '),
      hint: 'train what stands behind it: name those layers in `trainable`',
    },
  );
}
