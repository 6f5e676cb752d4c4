import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import type { Add, Factor, Rescale } from '../../numerics/requantize/scheme.ts';
import { given } from '../../util/must.ts';
import { runCarrier, runMove } from './carriers.ts';
import { constantsOf, partOf } from './constants.ts';
import { declared } from './graphs.ts';
import { graphFor, Refused, tensorOf, type Bench, type Device, type Executed, type Machine, type Ready } from './machine.ts'; // prettier-ignore
import { integerPlan } from './plan.ts';
import { qdqForm } from './qdq_form.ts';
import { runProduct } from './run_product.ts';
import type { FloatStep, IntegerStep, PairStep } from './steps.ts';

/** Readies a quantized model, in QDQ form or of QLinear operators, for devices. `computer` must keep the sessions of all its layers. */
export async function openMachine(given: Model, computer: Machine['computer']): Promise<Machine> {
  const model = qdqForm(given);
  const constants = constantsOf(model, computer);
  const plan = await integerPlan(model, constants);
  return { model, plan, constants, computer, graphs: new Map(), tables: new Map() };
}

/** Readies a device for a model. @throws Refused. */
export function openDevice(machine: Machine, device: Device): { run(feeds: Feeds): Promise<Executed> } {
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
      const made = adds.get(step) ?? scheme.adder({ a: step.a.code, b: step.b.code, sum: step.out.code });
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
  return {
    run: (feeds) =>
      runSteps({ machine, device, ready, values: { codes: new Map(), tensors: new Map(Object.entries(feeds)) } }),
  };
}

async function runSteps(bench: Bench): Promise<Executed> {
  const { machine, values } = bench;
  const { plan, model } = machine;
  for (const step of plan.steps) {
    if (step.kind === 'float') await runFloat(bench, step);
    else if (step.kind === 'product') await runProduct(bench, step);
    else if (step.kind === 'move') await runMove(bench, step);
    else await runCarrier(bench, step);
  }
  const outputs = model.graph.output.map(({ name }) => [name, tensorOf(bench, name)] as const);
  return { codes: values.codes, outputs: Object.fromEntries(outputs) };
}

async function runFloat(bench: Bench, step: FloatStep): Promise<void> {
  const { machine, values } = bench;
  const inputs = step.inputs.map((name) => [name, tensorOf(bench, name)] as const);
  const key = inputs.map(([, { type, dims }]) => `${type} ${dims.length}`).join();
  const graph = graphFor(machine, step, key, () => {
    const wanted = inputs.map(([name, tensor]) => declared(name, tensor));
    return partOf(machine.model, step.nodes, wanted, step.outputs);
  });
  const results = await machine.computer.compute(graph, Object.fromEntries(inputs));
  for (const name of step.outputs) values.tensors.set(name, given(results[name], name));
}
