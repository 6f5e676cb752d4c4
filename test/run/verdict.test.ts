import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { MetricResult } from '../../src/metrics/metric.ts';
import type { Measurement, StageReport } from '../../src/run/report.ts';
import { figureWarnings, wasGated } from '../../src/run/verdict.ts';

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
  ({ gate, attempts: [{ strength: '', passed: true, measurement: measured() }] }) as unknown as StageReport;

const warned = (before: number, after: number, stages = [stage(undefined)]) =>
  figureWarnings({
    float,
    metrics: [{ name: 'top1' }, { name: 'agreement', perfect: 100 }],
    baseline: measured(top1(before, before)),
    result: measured(top1(after, before), { ...top1(50, 100), name: 'agreement' }),
    stages,
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

it('a stage that was not measured was not judged', () => {
  const unmeasured = {
    ...stage({ metric: 'top1' }),
    attempts: [{ strength: '', passed: true, measurement: undefined }],
  };
  expect([wasGated([stage(undefined)]), wasGated([stage({})]), wasGated([unmeasured])]).toEqual([false, true, false]);
});
