import type { Feeds, Tensor } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { Add, Rescale, Scheme } from '../../numerics/requantize/scheme.ts';
import type { Computer } from '../../runtime/compute.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import { dequantized } from './arrays.ts';
import type { Constants } from './constants.ts';
import type { Pool } from './pool.ts';
import type { Code, CodeArray, Codes, IntegerPlan, IntegerStep, Operand, PairStep, PoolStep, ProductStep, Sums, TableStep } from './steps.ts'; // prettier-ignore

/** What runs of all schemes share: the model and its graphs, made once. */
export interface Machine {
  readonly model: Model;
  readonly plan: IntegerPlan;
  readonly constants: Constants;
  readonly computer: Pick<Computer, 'compute'>;
  readonly pool: Pool;
  /** Graphs by step and what their inputs are. */
  readonly graphs: Map<object, Map<string, Model>>;
  /** Shapes of sums by graph and the shapes of its inputs. */
  readonly shapes: Map<Model, Map<string, readonly number[]>>;
  readonly tables: Map<TableStep, CodeArray>;
}

/** One way to execute: a scheme, and what is wrong with the device. */
export interface Device {
  readonly scheme: Scheme;
  /**
   * Sees the accumulators of a product, bias added, before they are rescaled. They are other devices' too: what changes them gives a copy
   * back. Undefined where they stay.
   */
  readonly accumulated?:
    ((step: ProductStep, sums: Sums, data: Codes) => Sums | undefined | Promise<Sums | undefined>) | undefined;
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

/** Values of one run by name: codes in their own type, and what onnxruntime gave. */
export type Values = Map<string, Tensor>;

/** A device readied for a model. */
export interface Opened {
  readonly device: Device;
  readonly ready: Ready;
}

/** A device with the values of one run. */
export interface Bench extends Opened {
  readonly values: Values;
}

/** A value as a float step or an output has it. */
export function tensorOf({ plan }: Pick<Machine, 'plan'>, values: Values, name: string): Tensor {
  const operand = plan.coded.get(name);
  return operand === undefined ? must(values, name, 'the value') : dequantized(codesAt(values, operand), operand.code);
}

export function codesAt(values: Values, { value, stored }: Pick<Operand, 'value' | 'stored'>): Codes {
  return stored ?? (must(values, value, 'the codes') as Codes);
}

/** Runs a graph whose only output `y` are accumulators, over an array of the pool, which the caller gives back. */
export async function summed({ computer, pool, shapes }: Machine, graph: Model, feeds: Feeds): Promise<Sums> {
  const known = shapes.get(graph) ?? new Map<string, readonly number[]>();
  shapes.set(graph, known);
  const key = Object.values(feeds).map(({ dims }) => dims.join()).join(';'); // prettier-ignore
  const dims = known.get(key);
  const into = dims && { y: { type: 'int32' as const, dims, data: pool.take('int32', elementCount(dims)) } };
  const y = given((await computer.compute(graph, feeds, into)).y, 'the sums') as Sums;
  known.set(key, y.dims);
  return y;
}

/** The graph of a step for inputs of these kinds, made once. */
export function graphFor({ graphs }: Machine, step: object, key: string, make: () => Model): Model {
  const own = graphs.get(step) ?? new Map<string, Model>();
  graphs.set(step, own);
  const graph = own.get(key) ?? make();
  own.set(key, graph);
  return graph;
}
