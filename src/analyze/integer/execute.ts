import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import type { Add, Factor, Rescale } from '../../numerics/requantize/scheme.ts';
import { given } from '../../util/must.ts';
import { runCarrier, runMove } from './carriers.ts';
import { constantsOf, partOf } from './constants.ts';
import { declared } from './graphs.ts';
import { codesAt, graphFor, Refused, tensorOf, type Bench, type Device, type Machine, type Opened, type Ready } from './machine.ts'; // prettier-ignore
import { integerPlan } from './plan.ts';
import { openPool, type Pool } from './pool.ts';
import { qdqForm } from './qdq_form.ts';
import { runProduct } from './run_product.ts';
import { targetOf, type CodeArray, type Codes, type FloatStep, type IntegerStep, type Operand, type PairStep, type ProductStep, type Step } from './steps.ts'; // prettier-ignore

/** Readies a quantized model, in QDQ form or of QLinear operators, for devices. `computer` must keep the sessions of all its layers. */
export async function openMachine(given: Model, computer: Machine['computer']): Promise<Machine> {
  const model = qdqForm(given);
  const constants = constantsOf(model, computer);
  const plan = await integerPlan(model, constants);
  return { ...{ model, plan, constants, computer, pool: openPool() }, graphs: new Map(), shapes: new Map(), tables: new Map() }; // prettier-ignore
}

/** Readies a device for a model. @throws Refused. */
export function openDevice(machine: Machine, device: Device): Opened {
  const { scheme } = device;
  const rescales = new Map<IntegerStep, Map<string, Rescale>>();
  const adds = new Map<PairStep, Add>();
  const rescaler = (step: IntegerStep, key: string, factors: () => readonly Factor[]): Rescale => {
    const own = rescales.get(step) ?? new Map<string, Rescale>();
    rescales.set(step, own);
    const made = own.get(key) ?? scheme.rescaler(factors());
    if (typeof made === 'string') throw new Refused(step.layer, made);
    own.set(key, made);
    return made;
  };
  const ready: Ready = {
    product: (step) =>
      rescaler(step, 'product', () =>
        step.scales.map((scale) => ({
          product: [step.data.code.scale, scale],
          over: [given(step.out, 'a scale').code.scale],
        })),
      ),
    multiply: (step) =>
      rescaler(step, 'multiply', () => [
        { product: [step.a.code.scale, step.b.code.scale], over: [step.out.code.scale] },
      ]),
    add(step) {
      const [a, b, sum] = [step.a.code, step.b.code, step.out.code];
      const wide = [a, b, sum].some(({ type }) => type.endsWith('16'));
      const made = adds.get(step) ?? scheme.adder({ a, b, sum, wide });
      if (typeof made === 'string') throw new Refused(step.layer, made);
      adds.set(step, made);
      return made;
    },
    recode: (step, from, to) =>
      rescaler(step, `${from.scale} ${to.scale}`, () => [{ product: [from.scale], over: [to.scale] }]),
    pool: (step, counts) =>
      rescaler(step, counts.join(), () =>
        counts.map((n) => ({ product: [step.input.code.scale], over: [step.out.code.scale, n] })),
      ),
  };
  // What a scheme cannot hold is said before anything runs.
  for (const step of machine.plan.steps) {
    if (step.kind === 'product' && step.out !== undefined) ready.product(step);
    if (step.kind === 'pair') ready[step.does](step);
  }
  return { device, ready };
}

/** Sees the codes of a value that a step gave on each device; devices of the same codes have the same tensor. Nothing of it may be kept. */
export type Watch = (value: string, codes: readonly Codes[]) => void;

/**
 * Runs a batch on devices side by side, step by step, and gives the model's outputs of each. What devices do alike is done once: sums of
 * the same codes, and all that follows from them.
 */
export async function runDevices(
  machine: Machine,
  devices: readonly Opened[],
  feeds: Feeds,
  watch: Watch = () => undefined,
): Promise<Feeds[]> {
  const { plan, model, pool } = machine;
  const benches = devices.map((opened): Bench => ({ ...opened, values: new Map(Object.entries(feeds)) }));
  const readLast = lastReads(machine);
  for (const [index, step] of plan.steps.entries()) {
    if (step.kind === 'product') {
      for (const group of groupsOf(benches, (bench) => sourcesOf(machine, step).map((name) => bench.values.get(name))))
        await runProduct(machine, group, step);
    } else await runAlike(machine, benches, step);
    const value = targetOf(step)?.value;
    if (value !== undefined) {
      share(benches, value, pool);
      watch(value, benches.map(({ values }) => codesAt(values, { value }))); // prettier-ignore
    }
    for (const name of readLast.get(index) ?? []) forget(benches, name, machine);
  }
  const outputs = model.graph.output.map(({ name }) => name);
  return benches.map(({ values }) => Object.fromEntries(outputs.map((name) => [name, tensorOf(machine, values, name)] as const))); // prettier-ignore
}

/** Devices by what they have, in order. */
function groupsOf(benches: readonly Bench[], having: (bench: Bench) => readonly unknown[]): Bench[][] {
  const groups: { readonly has: readonly unknown[]; readonly benches: Bench[] }[] = [];
  for (const bench of benches) {
    const has = having(bench);
    const known = groups.find((group) => group.has.every((one, i) => one === has[i]));
    if (known === undefined) groups.push({ has, benches: [bench] });
    else known.benches.push(bench);
  }
  return groups.map((group) => group.benches);
}

/** Runs a step once for all devices that read the same and do the same with it. */
async function runAlike(machine: Machine, benches: readonly Bench[], step: Exclude<Step, ProductStep>): Promise<void> {
  const sources = sourcesOf(machine, step);
  const plain = step.kind === 'float' || step.kind === 'move' || step.kind === 'table';
  const groups = groupsOf(benches, ({ values, device }) => [
    plain || device.scheme,
    ...sources.map((name) => values.get(name)),
  ]);
  for (const [first, ...others] of groups) {
    if (first === undefined) continue;
    if (step.kind === 'float') await runFloat(machine, first, step);
    else if (step.kind === 'move') await runMove(machine, first, step);
    else await runCarrier(machine, first, step);
    for (const { values } of others)
      for (const name of made(step)) values.set(name, given(first.values.get(name), name));
  }
}

/** Names of what a step gives. */
function made(step: Step): readonly string[] {
  if (step.kind === 'float') return step.outputs;
  if (step.kind === 'move') return step.values;
  const name = targetOf(step)?.value ?? (step.kind === 'product' ? step.float : undefined);
  return name === undefined ? [] : [name];
}

/** Names of the values that a step reads, as they are held: codes, not what stands for them. */
function sourcesOf({ plan, constants }: Machine, step: Step): string[] {
  const named = (names: readonly string[]): string[] =>
    names.filter((name) => name !== '' && !constants.has(name)).map((name) => plan.coded.get(name)?.value ?? name);
  const held = (...operands: readonly (Operand | undefined)[]): string[] =>
    operands.flatMap((operand) => (operand === undefined || operand.stored !== undefined ? [] : [operand.value]));
  switch (step.kind) {
    case 'float':
      return named(step.inputs);
    case 'move':
      return [...held(step.input), ...named(step.node.input.slice(1))];
    case 'product':
      return held(step.data, step.other);
    case 'pair':
      return held(step.a, step.b);
    case 'concat':
      return held(...step.inputs);
    default:
      return held(step.input);
  }
}

/** Values by the step that reads them last, or that gives what nothing reads; outputs stay. */
function lastReads(machine: Machine): Map<number, string[]> {
  const { plan, model } = machine;
  const last = new Map<string, number>();
  for (const [index, step] of plan.steps.entries())
    for (const name of [...made(step), ...sourcesOf(machine, step)]) last.set(name, index);
  for (const { name } of model.graph.output) last.delete(plan.coded.get(name)?.value ?? name);
  const by = new Map<number, string[]>();
  for (const [name, index] of last) by.set(index, [...(by.get(index) ?? []), name]);
  return by;
}

/** Gives devices whose codes of a value are the same numbers one tensor. */
function share(benches: readonly Bench[], value: string, pool: Pool): void {
  const all = new Set<Codes>();
  for (const { values } of benches) {
    const own = codesAt(values, { value });
    const twin = [...all].find((one) => one === own || sameArray(one.data, own.data));
    if (twin === undefined) all.add(own);
    else if (twin !== own) {
      for (const other of benches) if (other.values.get(value) === own) other.values.set(value, twin);
      pool.give(own.data);
    }
  }
}

function sameArray(a: CodeArray, b: CodeArray): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Takes a value from all devices; arrays of steps can be used again. */
function forget(benches: readonly Bench[], name: string, { plan, pool }: Machine): void {
  const held = new Set(benches.map(({ values }) => values.get(name)));
  for (const { values } of benches) values.delete(name);
  if (plan.steps.some((step) => targetOf(step)?.value === name))
    for (const tensor of held) if (tensor !== undefined) pool.give((tensor as Codes).data);
}

async function runFloat(machine: Machine, { values }: Bench, step: FloatStep): Promise<void> {
  const inputs = step.inputs.map((name) => [name, tensorOf(machine, values, name)] as const);
  const key = inputs.map(([, { type, dims }]) => `${type} ${dims.length}`).join();
  const graph = graphFor(machine, step, key, () => {
    const wanted = inputs.map(([name, tensor]) => declared(name, tensor));
    return partOf(machine.model, step.nodes, wanted, step.outputs);
  });
  const results = await machine.computer.compute(graph, Object.fromEntries(inputs));
  for (const name of step.outputs) values.set(name, given(results[name], name));
}
