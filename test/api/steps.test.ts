import { openModelData } from '../../src/api/data.ts';
import { inspect } from '../../src/api/inspect.ts';
import { batches } from '../../src/data/batch.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { mse } from '../../src/metrics/mse.ts';
import { measure } from '../../src/runtime/measure.ts';
import { collect } from '../../src/runtime/collect.ts';
import { failure } from '../data/support.ts';
import type { AnyFold } from '../../src/numerics/fold.ts';
import type { Tensor } from '../../src/data/types.ts';

/** hn = keep · h + x, y = 3 hn: what is left of all steps before. */
const leaky = (keep: number) =>
  makeModel({
    inputs: [makeValue('x', 'float32', ['N', 2]), makeValue('h', 'float32', [1, 'N', 2])],
    outputs: [makeValue('y', 'float32', [1, 'N', 2]), makeValue('hn', 'float32', [1, 'N', 2])],
    nodes: [makeNode('Mul', ['h', 'keep'], ['kept']), makeNode('Add', ['kept', 'x'], ['hn']), makeNode('Mul', ['hn', 'three'], ['y'])], // prettier-ignore
    initializers: [makeTensor('keep', 'float32', [], Float32Array.of(keep)), makeTensor('three', 'float32', [], Float32Array.of(3))], // prettier-ignore
  });
const [float, other] = [leaky(0.5), leaky(0.25)];
const config = { data: { kind: 'random', samples: 3, dims: { steps: 5 } }, state: { h: 'hn' } };
const open = (given: object = config) => openModelData(float, given as Record<string, unknown>, {});
type Given = Awaited<ReturnType<typeof open>>;
const steps = ({ validation }: Given, limit?: number) => batches(validation, { batchSize: 8, limit });

/** x of each sequence and step. */
async function inputsOf(data: Given): Promise<number[][][]> {
  const sequences: number[][][] = [];
  for await (const { feeds, step } of steps(data)) {
    if (step?.first) sequences.push([]);
    sequences.at(-1)!.push([...(feeds['x']!.data as Float32Array)]);
  }
  return sequences;
}

/** The states that a model with `keep` gives by itself, from zero in each sequence. */
const states = (xs: number[][], keep: number): number[][] => {
  let h = [0, 0];
  return xs.map((x) => (h = h.map((v, i) => Math.fround(Math.fround(keep * v) + x[i]!))));
};

describe('sequences of steps', () => {
  it('feed the state of the step before, zeros at first', async () => {
    const data = await open();
    const all = await inputsOf(data);
    expect(all.map((one) => one.length)).toEqual([5, 5, 5]);
    const fed: number[][] = [];
    for await (const { feeds } of steps(data)) fed.push([...(feeds['h']!.data as Float32Array)]);
    expect(fed).toEqual(all.flatMap((xs) => [[0, 0], ...states(xs, 0.5).slice(0, -1)]));
    let limited = 0;
    for await (const _ of steps(data, 2)) limited += 1;
    expect(limited).toBe(10);
  });

  it('measure each model with its own states', async () => {
    const data = await open();
    const all = await inputsOf(data);
    // Were the states of the float model fed to both, the error would not add up over the steps.
    const errors = all.flatMap((xs) => {
      const [a, b] = [states(xs, 0.5), states(xs, 0.25)];
      return a.flatMap((v, s) => v.map((_, i) => (Math.fround(3 * a[s]![i]!) - Math.fround(3 * b[s]![i]!)) ** 2));
    });
    const wanted = errors.reduce((sum, v) => sum + v, 0) / errors.length;
    const [result] = await measure(other, float, steps(data), [mse({ output: 'y' })]);
    // The same float32 steps in JavaScript; the sum is in float64 in both.
    expect(result!.value).toBeCloseTo(wanted, 9);
    expect(result!.samples).toBe(15);
    expect((await measure(float, float, steps(data), [mse({ output: 'y' })]))[0]!.value).toBe(0);
  });

  it('calibrate on the states that occur', async () => {
    const data = await open();
    const all = await inputsOf(data);
    const largest: AnyFold<Tensor, number> = { name: 'largest', start: () => 0, add: (most, tensor) => Math.max(most as number, ...(tensor.data as Float32Array).map(Math.abs)), finish: (most) => most as number }; // prettier-ignore
    const found = await collect(float, () => steps(data), new Map([['hn', [largest]]]));
    const wanted = Math.max(...all.flatMap((xs) => states(xs, 0.5)).flat().map(Math.abs)); // prettier-ignore
    expect(found.get('hn')).toEqual([wanted]);
  });

  it('are what inspect looks at', async () => {
    const { inputs } = await inspect({ model: float, data: config });
    expect(inputs.map(({ name }) => name)).toEqual(['x', 'h']);
  });

  it.each([
    [{ state: { g: 'hn' } }, /no input "g"/],
    [{ state: { h: 'hm' } }, /no output "hm" \(did you mean "hn"\?\)/],
    [{ state: { h: { output: 'hn', dims: [1, 2] } } }, /the state "h" is \[1, N, 2\] in the model, not \[1, 2\]/],
    [{ state: { h: { output: 'hn', dims: [1, 1e9, 2] } } }, /the state "h" would have more than/],
    [{ state: { h: 'hn', x: 'y' } }, /every input is a state/],
    [{ state: { h: 'hn' }, split: { training: 0.5 } }, /sequences with states are not trained on/],
  ])('refuses %j', async (more, expected) => {
    expect(await failure(() => open({ ...config, ...more }))).toMatch(expected);
  });
});
