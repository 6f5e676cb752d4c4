import type { Feeds, Tensor } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import type { Add, Rescale, Scheme } from '../../numerics/requantize/scheme.ts';
import type { Computer } from '../../runtime/compute.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import { codesFrom, dequantized, packed } from './arrays.ts';
import type { Constants } from './constants.ts';
import { targetOf, type Code, type Codes, type IntegerPlan, type IntegerStep, type Operand, type PairStep, type PoolStep, type ProductStep, type TableStep } from './steps.ts'; // prettier-ignore

/** What runs of all schemes share: the model and its graphs, made once. */
export interface Machine {
  readonly model: Model;
  readonly plan: IntegerPlan;
  readonly constants: Constants;
  readonly computer: Pick<Computer, 'compute'>;
  /** Graphs by step and what their inputs are. */
  readonly graphs: Map<object, Map<string, Model>>;
  readonly tables: Map<TableStep, Int32Array>;
}

/** One way to execute: a scheme, and what is wrong with the device. */
export interface Device {
  readonly scheme: Scheme;
  /** Sees the accumulators of a product, bias added, before they are rescaled, and may change them. */
  readonly accumulated?: ((step: ProductStep, sums: Codes, data: Codes) => void | Promise<void>) | undefined;
}

/** What a batch came to: codes by value, and the model's outputs. */
export interface Executed {
  readonly codes: ReadonlyMap<string, Codes>;
  readonly outputs: Feeds;
}

/** A scheme that cannot hold a model: which layer, and why. */
export class Refused extends QtoolError {
  constructor(layer: string, why: string) {
    super('model', `${layer}: ${why}`, { at: layer });
  }
}

/** The arithmetic of a scheme for each step of a model. */
export interface Ready {
  product(step: ProductStep): Rescale;
  multiply(step: PairStep): Rescale;
  add(step: PairStep): Add;
  recode(step: IntegerStep, from: Code, to: Code): Rescale;
  pool(step: PoolStep, counts: readonly number[]): Rescale;
}

/** Values of one run: codes, and tensors as onnxruntime gives them. */
export interface Values {
  readonly codes: Map<string, Codes>;
  readonly tensors: Map<string, Tensor>;
}

/** What a step is run with. */
export interface Bench {
  readonly machine: Machine;
  readonly device: Device;
  readonly ready: Ready;
  readonly values: Values;
}

/** A value as a float step or an output has it. */
export function tensorOf({ machine: { plan }, values }: Pick<Bench, 'machine' | 'values'>, name: string): Tensor {
  const operand = plan.coded.get(name);
  if (operand !== undefined) return dequantized(codesOf(values, operand), operand.code);
  const codes = values.codes.get(name);
  if (codes === undefined) return must(values.tensors, name, 'the value');
  const step = plan.steps.find((one) => targetOf(one)?.value === name);
  return packed(codes, given(step && targetOf(step), `the code of "${name}"`).code);
}

export function codesOf(values: Values, { value, stored }: Operand): Codes {
  if (stored !== undefined) return stored;
  const known = values.codes.get(value);
  if (known !== undefined) return known;
  const codes = codesFrom(must(values.tensors, value, 'the codes'));
  values.codes.set(value, codes);
  return codes;
}

/** The graph of a step for inputs of these kinds, made once. */
export function graphFor({ graphs }: Machine, step: object, key: string, make: () => Model): Model {
  const own = graphs.get(step) ?? new Map<string, Model>();
  graphs.set(step, own);
  const graph = own.get(key) ?? make();
  own.set(key, graph);
  return graph;
}
