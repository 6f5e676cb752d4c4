import type { Surrogate } from '../../../autodiff/surrogate.ts';
import { graphWriter, mul, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import type { Feeds } from '../../../data/types.ts';
import { makeNode } from '../../../graph/build.ts';
import { edit, withOutputs, type Draft } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers, layerName } from '../../../graph/query.ts';
import type { Shapes } from '../../../graph/shapes.ts';
import { dimsOf, floatData, makeTensor } from '../../../graph/tensor.ts';
import { QtoolError } from '../../../util/error.ts';
import { given, must } from '../../../util/must.ts';
import type { PassContext } from '../../pass.ts';
import { renamedOutput } from '../../quantize/qdq.ts';
import type { EpochLearner, Learned } from '../plan.ts';
import { rangeActivations } from '../surrogate/range_linear.ts';
import type { ActivationFacts, ActivationRounder, FoundNumbers, Kept, Rounded, WeightFacts, WeightRounder } from '../surrogate/surrogate.ts'; // prettier-ignore
import type { Places, WeightPlace } from './places.ts';

/** A model with the roundings of a quantizer written into it. */
export interface Dressed {
  readonly model: Model;
  readonly surrogates: ReadonlyMap<string, Surrogate>;
  /** Constants that follow the batches → their next value. */
  readonly tracked: ReadonlyMap<string, string>;
  /** Constants that are learned by gradients. */
  readonly learned: readonly string[];
  /** Weights with numbers that are found outside of the graph. */
  readonly found: readonly FoundPlace[];
  readonly weights: readonly WeightPlace[];
  /** Which activations cannot be below 0: never were, when training began. */
  readonly unsigned: ReadonlyMap<string, boolean>;
  /** The constant that holds a number of a weight or value. */
  constant(owner: string, kept: string): string;
}

/** A weight some of whose numbers are found outside of the graph: each number's constant, by its name. */
export interface FoundPlace {
  readonly tensor: string;
  readonly dims: readonly number[];
  readonly axis: number | undefined;
  readonly found: FoundNumbers;
  readonly constants: ReadonlyMap<string, { readonly name: string; readonly dims: readonly number[] }>;
}

export const weightRounder = ({ kind, options }: EpochLearner, { bits }: Pick<WeightPlace, 'bits'>): WeightRounder =>
  kind.method(options).weights(bits);

/** What rounds a value; those that no layer reads have the range of their batches, whatever the method. */
export function valueRounder(
  { kind, options }: EpochLearner,
  { bits, own }: { readonly bits: number; readonly own: boolean },
  facts: ActivationFacts,
): ActivationRounder {
  return own ? kind.method(options).activations(bits, facts) : rangeActivations(bits);
}

/**
 * Writes the roundings of weights and values into a model for one batch size.
 * @param known what the quantizer kept of the epochs before; without it, the first batch tells which values are never below 0.
 */
export async function dressed(
  model: Model,
  shapes: Shapes,
  batch: Feeds,
  { learner, places, known }: { readonly learner: EpochLearner; readonly places: Places; readonly known: Learned | undefined }, // prettier-ignore
  ctx: PassContext,
): Promise<Dressed> {
  const names = [...places.values.keys()];
  const seen = known ? {} : await valuesOn(model, batch, names, ctx);
  const tensors = initializers(model.graph);
  const taken = new Set([...shapes.keys(), ...tensors.keys(), ...model.graph.node.flatMap(({ output }) => output)]);
  const w = graphWriter(taken);
  const [surrogates, tracked, learned] = [new Map<string, Surrogate>(), new Map<string, string>(), [] as string[]];
  const unsigned = new Map<string, boolean>();
  const found: FoundPlace[] = [];
  const constants = new Map<string, string>();
  const key = (owner: string, kept: string): string => JSON.stringify([owner, kept]);
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const inRegion = new Set([...places.region.nodes.keys()].map(layerName));
  const next = edit(model, (draft) => {
    const keep = (owner: string, all: readonly Kept[]): ((name: string) => Value) => {
      const held = new Map(
        all.map(({ name, dims, first }) => [name, { name: draft.add(`${owner}_${name}`, makeTensor('', 'float32', dims, first)), dims }]), // prettier-ignore
      );
      for (const [name, value] of held) constants.set(key(owner, name), value.name);
      return (name) => must(held, name, 'the number');
    };
    const note = (
      rounded: Rounded,
      all: readonly Kept[],
      kept: (name: string) => Value,
      outside?: FoundNumbers,
    ): void => {
      surrogates.set(rounded.y.name, rounded.surrogate);
      for (const { name } of all) {
        if (outside?.names.includes(name) === true) continue;
        const later = rounded.next?.get(name);
        if (later) tracked.set(kept(name).name, later.name);
        else learned.push(kept(name).name);
      }
    };
    for (const place of places.weights) {
      const { tensor, axis, readers } = place;
      const stored = must(tensors, tensor, 'the weight');
      const facts: WeightFacts = { data: floatData(stored), dims: dimsOf(stored), axis };
      const rounder = weightRounder(learner, place);
      const all = rounder.keeps(facts);
      const kept = keep(tensor, all);
      if (place.kernel) refuseUnstored(learner, rounder, facts, all);
      const x = { name: tensor, dims: facts.dims };
      const rounded = zerosKept(w, x, rounder.write(w, x, kept, facts));
      draft.rewire(tensor, rounded.y.name, (node, input) => readers.get(layerName(node)) === input);
      note(rounded, all, kept, rounder.found);
      // What nodes do not read would go from the model, and with it what is trained.
      if (rounder.found) {
        unary(w, 'Identity', x);
        found.push({ tensor, dims: x.dims, axis, found: rounder.found, constants: new Map(rounder.found.names.map((name) => [name, kept(name)])) }); // prettier-ignore
      }
    }
    for (const [value, held] of places.values) {
      const data = seen[value]?.data as Float32Array | undefined;
      const dims = must(shapes, value, 'the shape of').dims;
      const isUnsigned = known?.unsigned.get(value) ?? given(data, value).every((v) => v >= 0);
      unsigned.set(value, isUnsigned);
      const facts: ActivationFacts = { data: data ?? new Float32Array(), dims, unsigned: isUnsigned };
      const rounder = valueRounder(learner, held, facts);
      const all = rounder.keeps(facts);
      const kept = keep(value, all);
      const plan = places.region.values.get(value);
      const isOutput = plan?.integer === true && outputs.has(value);
      const source = isOutput ? renamedOutput(draft, value) : value;
      const rounded = rounder.write(w, { name: source, dims }, kept, facts);
      if (isOutput) draft.addNode(makeNode('Identity', [rounded.y.name], [value]));
      else draft.rewire(value, rounded.y.name, (node, input) => input >= 0 && (plan?.integer === true || inRegion.has(layerName(node)))); // prettier-ignore
      note(rounded, all, kept);
    }
    addWritten(draft, w);
  });
  return { model: next, surrogates, tracked, learned, found, weights: places.weights, unsigned, constant: (owner, kept) => must(constants, key(owner, kept), 'the number') }; // prettier-ignore
}

/**
 * A rounded weight that is 0 where the weight is: what was pruned stays pruned, though a method may have no level 0. Numbers of the method have
 * no gradient from there; the weight has it as ever, since a mask on the forward pass alone may let it come back.
 */
export function zerosKept(w: GraphWriter, x: Value, { y, surrogate, next }: Rounded): Rounded {
  const open = unary(w, 'Sign', unary(w, 'Abs', x));
  const gradient: Surrogate['gradient'] = (w, dy, needs) => {
    const [own] = surrogate.inputs[0] === x.name ? surrogate.gradient(w, dy, (i) => i === 0) : [];
    const others = surrogate.inputs.some((name, i) => name !== x.name && needs(i));
    const all = others ? surrogate.gradient(w, mul(w, dy, open), needs) : [];
    return surrogate.inputs.map((name, i) => (name === x.name ? own : all[i]));
  };
  return { y: mul(w, y, open), surrogate: { inputs: surrogate.inputs, gradient }, ...(next ? { next } : {}) };
}

/** @throws QtoolError('schedule') where weights that are to run on integer kernels are no codes: it would be found out when training is over. */
function refuseUnstored(
  { kind, instance }: EpochLearner,
  rounder: WeightRounder,
  facts: WeightFacts,
  all: readonly Kept[],
): void {
  const first = new Map(all.map((one) => [one.name, one.first]));
  const { label } = rounder;
  const steps = rounder.step?.(facts, (name) => must(first, name, 'the number'));
  if (steps?.every((one) => !Number.isNaN(one)) === true) return;
  throw new QtoolError('schedule', `the levels of ${kind.classes[0]}${label === undefined ? '' : ` (${label})`} are no multiples of a step, which integer kernels take`, {
    at: instance,
    hint: 'leave bits_activations out: weights alone are held in few values',
  }); // prettier-ignore
}

/** Puts what was written into an edit. */
function addWritten(draft: Draft, w: GraphWriter): void {
  for (const tensor of w.tensors) draft.add(tensor.name, tensor);
  for (const node of w.nodes) draft.addNode(node);
}

/** Values of a model on a batch, inputs among them. */
async function valuesOn(model: Model, batch: Feeds, names: readonly string[], ctx: PassContext): Promise<Feeds> {
  const own = new Set(model.graph.output.map(({ name }) => name));
  const made = names.filter((name) => batch[name] === undefined);
  const shown = withOutputs(model, made.filter((name) => !own.has(name))); // prettier-ignore
  return { ...batch, ...(made.length > 0 ? await ctx.compute(shown, batch) : {}) };
}
