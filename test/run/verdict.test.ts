import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { MetricResult } from '../../src/metrics/metric.ts';
import type { Measurement, StageReport } from '../../src/run/report.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { alreadyQuantized, brokenOutputs, figureWarnings, wasGated } from '../../src/run/verdict.ts';
import { smallConvNet } from '../helpers/models.ts';
import { images, quantized } from './support.ts';

const float = makeModel({
  inputs: [makeValue('x', 'float32', ['N', 10])],
  outputs: [makeValue('y', 'float32', ['N', 10])],
  nodes: [makeNode('Relu', ['x'], ['y'])],
  initializers: [],
});
const top1 = (value: number, reference: number): MetricResult => ({
  name: 'top1',
  value,
  unit: '%',
  higherIsBetter: true,
  samples: 1000,
  reference,
  drop: reference - value,
  interval: 2,
  dropInterval: 1,
});
const measured = (...metrics: MetricResult[]): Measurement => ({ metrics, bytes: 1, zeros: 0, latency: [] });
const stage = (gate: object | undefined): StageReport =>
  ({ index: 1, instance: 'q', gate, attempts: [{ strength: '', passed: true, measurement: measured(top1(90, 90)) }] }) as unknown as StageReport; // prettier-ignore

const warned = (before: number, after: number, stages = [stage(undefined)]) =>
  figureWarnings({
    float,
    metrics: [{ name: 'top1' }, { name: 'agreement', perfect: 100 }],
    baseline: measured(top1(before, before)),
    result: measured(top1(after, before), { ...top1(50, 100), name: 'agreement' }),
    stages,
    kept: [1],
  });

describe('brokenOutputs', () => {
  const distance = (value: number): MetricResult => ({ ...top1(value, 1), name: 'cosine', perOutput: { y: value, z: 1 } }); // prettier-ignore
  const broken = (model: typeof float, ...metrics: MetricResult[]) =>
    brokenOutputs(model, measured(...metrics), [{ name: 'top1' }, { name: 'cosine', perfect: 1 }]);

  it('are those of a float model that is no number beside itself', () => {
    expect(broken(float, distance(1), top1(NaN, NaN))).toBeUndefined();
    expect(broken(float, distance(NaN))).toMatch(/^the float model's own outputs \("y"\) hold NaN or infinity: .*no gate can hold.*preprocessing/); // prettier-ignore
  });

  it('are blamed on the weight that holds NaN, not on a mask of infinities', () => {
    const stored = (name: string, value: number) => makeTensor(name, 'float32', [2], Float32Array.of(0, value));
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [2])],
      outputs: [makeValue('y', 'float32', [2])],
      nodes: [makeNode('Add', ['x', 'mask'], ['h']), makeNode('Add', ['h', 'w'], ['y'])],
      initializers: [stored('mask', -Infinity), stored('w', NaN)],
    });
    expect(broken(model, distance(NaN))).toMatch(/its weight "w" holds NaN at element 1 of 2$/);
  });
});

describe('alreadyQuantized', () => {
  const stages = (section: string) => [{ pass: { section } }] as never;

  it('warns of a quantizer on a model whose layers are quantized', async () => {
    const { model } = await quantized(staticQuantizer, smallConvNet(), images);
    expect(alreadyQuantized(model, stages('quantizers'))).toEqual([
      expect.stringMatching(/^the model is quantized already \(conv1, conv2, dw and 1 more\): begin from the float/),
    ]);
    expect(alreadyQuantized(model, stages('extensions'))).toEqual([]);
    expect(alreadyQuantized(smallConvNet(), stages('quantizers'))).toEqual([]);
  });
});

describe('figureWarnings', () => {
  it('say nothing of a drop that its interval holds, or that a gate judged', () => {
    expect(warned(90, 89.5)).toEqual([]);
    expect(warned(90, 80, [stage({ metric: 'top1' })])).toEqual([]);
    expect(warned(90, 80, [])).toEqual([]);
  });

  it('say what no gate judged, of accuracies alone', () => {
    expect(warned(90, 80)).toEqual([expect.stringMatching(/^top1 fell by 10\.00 points \(±1\.00\), and no gate/)]);
  });

  it('say first that a model guesses: one of ten classes', () => {
    expect(warned(90, 11.5)).toEqual([expect.stringMatching(/^the result is at chance: 11\.50 % .* 10\.00 %$/)]);
    expect(warned(90, 12.5)).toEqual([expect.stringMatching(/^top1 fell/)]);
    expect(warned(9, 9)).toEqual([expect.stringMatching(/^the float model itself is at chance/)]);
  });
});

describe('guessing', () => {
  const net = (...outputs: (readonly (number | string)[] | undefined)[]) =>
    makeModel({
      inputs: [makeValue('x', 'float32', ['N', 10])],
      outputs: outputs.map((dims, i) => makeValue(`y${i}`, 'float32', dims)),
      nodes: outputs.map((_, i) => makeNode('Relu', ['x'], [`y${i}`])),
      initializers: [],
    });
  const judged = (model: typeof float, before: MetricResult[], after: MetricResult[], gated = false) =>
    figureWarnings({
      float: model,
      metrics: [{ name: 'top1' }, { name: 'map' }, { name: 'loss' }, { name: 'agreement', perfect: 100 }],
      baseline: measured(...before),
      result: measured(...after),
      stages: [stage(gated ? {} : undefined)],
      kept: [1],
    });
  const chance = /at chance/;

  it('is known of a single output of several classes', () => {
    const of = (...outputs: (readonly (number | string)[] | undefined)[]) =>
      chance.test(judged(net(...outputs), [top1(50, 50)], [top1(1, 50)]).join());
    expect([of(['N', 10]), of([10]), of([3, 'N', 2])]).toEqual([true, true, true]);
    expect([of(['N', 'C']), of(['N', 1]), of(undefined), of([]), of(['N', 10], ['N', 10]), of([2, 'N'])]).toEqual(Array(6).fill(false)); // prettier-ignore
  });

  it('is what top1 is held against, with its interval', () => {
    const classes = net(['N', 10]);
    // 12 ± 2 reaches 10.
    expect(judged(classes, [top1(50, 50)], [top1(12, 50)])[0]).toMatch(chance);
    expect(judged(classes, [top1(50, 50)], [top1(12.1, 50)])[0]).not.toMatch(chance);
    const { interval: _, ...exact } = top1(10.1, 50);
    expect(judged(classes, [top1(50, 50)], [exact])[0]).not.toMatch(chance);
    // A gate does not make it better.
    expect(judged(classes, [top1(50, 50)], [top1(12, 50)], true)[0]).toMatch(chance);
    const map = { ...top1(5, 5), name: 'map' };
    expect(judged(classes, [map, top1(50, 50)], [map, top1(50, 50)])).toEqual([]);
    expect(judged(classes, [top1(5, 5)], [])).toEqual([]);
    expect(judged(classes, [], [top1(50, 50)])).toEqual([]);
  });
});

it('a fall is told where it is beyond its interval, of what is in percent', () => {
  const fell = (result: MetricResult) =>
    figureWarnings({ float, metrics: [{ name: 'top1' }, { name: 'loss' }], baseline: measured(), result: measured(result), stages: [stage(undefined)], kept: [1] }); // prettier-ignore
  const { dropInterval: _, ...unsure } = top1(50, 90);
  expect([fell(top1(89, 90)), fell(unsure), fell({ ...top1(50, 90), name: 'loss', unit: '' })]).toEqual([[], [], []]);
  expect(fell(top1(88.9, 90))).toHaveLength(1);
});

it('one gate is enough, and one attempt that was measured', () => {
  const twice = { ...stage({ metric: 'top1' }), attempts: [{ strength: '', passed: false, measurement: undefined }, ...stage({}).attempts] }; // prettier-ignore
  const of = (...stages: StageReport[]) => wasGated(stages, [1]);
  expect([of(stage(undefined), stage({})), of(twice), of()]).toEqual([true, true, false]);
  // Of a stage that was undone it says nothing.
  expect([wasGated([stage({})], [2]), wasGated([stage({})], [])]).toEqual([false, true]);
});

it('a stage that was not measured was not judged', () => {
  const unmeasured = {
    ...stage({ metric: 'top1' }),
    attempts: [{ strength: '', passed: true, measurement: undefined }],
  };
  // What --no-measure gives.
  const empty = { ...stage({ metric: 'top1' }), attempts: [{ strength: '', passed: true, measurement: measured() }] };
  const of = (one: StageReport) => wasGated([one], [1]);
  expect([of(stage(undefined)), of(stage({})), of(unmeasured), of(empty)]).toEqual([false, true, false, false]);
});

it('a gate that only warned, and outputs without labels that have nothing left, are told', () => {
  const sqnr = (value: number): MetricResult => ({ ...top1(value, 0), name: 'sqnr', unit: 'dB', reference: Infinity });
  const told = (value: number, of: StageReport) =>
    figureWarnings({ float, metrics: [{ name: 'sqnr', perfect: Infinity }], baseline: measured(), result: measured(sqnr(value)), stages: [of], kept: [1] }); // prettier-ignore
  expect(told(1.5, stage(undefined))).toEqual([expect.stringMatching(/^the outputs are at 1\.5 dB: little/)]);
  expect([told(10.1, stage(undefined)), told(1.5, stage({}))]).toEqual([[], []]);
  const warning = { ...stage({ metric: 'sqnr' }), verdict: 'warned', why: 'sqnr 1.5 dB < 9 dB' } as StageReport;
  expect(told(1.5, warning)).toEqual(['the gate of 1 q failed, and only warns: sqnr 1.5 dB < 9 dB']);
});
