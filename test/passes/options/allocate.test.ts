import { jest } from '@jest/globals';
import { typeOf } from '../../../src/graph/tensor.ts';
import type { Plan } from '../../../src/passes/pass.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { everyOption, type Effect, type Fixture } from './table.ts';

const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));

/** A clock that goes on by one tick a reading, so that what is timed takes the same time in every run of a test. */
let ticks = 0;
beforeEach(() => {
  ticks = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => ticks++);
});
afterEach(() => jest.restoreAllMocks());

/** A metric of the run that says something else than the error of the outputs does. */
const metric = (value: number) => ({
  metrics: [{ name: 'harm', value, reference: 0, drop: value, unit: '', samples: 8, better: 'lower' } as never],
});
let measured = 0;
const measure = async () => metric(((measured++ * 7) % 5) + 1);
const net: Fixture = async () => {
  measured = 0;
  return { model: smallConvNet(), context: testContext({ calibration, measure }) };
};
const bad: Plan = new Map(
  Object.entries({ conv1: 2, conv2: 8, dw: 3, fc: 2 }).map(([name, bits]) => [
    name,
    { weights: { kind: 'int', bits, signed: true, symmetric: true, narrow: true } as const },
  ]),
);
const planned: Fixture = async () => ({ ...(await net()), context: testContext({ calibration, plan: bad, measure }) });
/** Integer kernels take a tenth of the time of others. */
const timed: Fixture = async () => {
  const { model, context } = await net();
  const compute: typeof context.compute = (graph, feeds) => {
    ticks += graph.graph.initializer.some((tensor) => typeOf(tensor) === 'int8') ? 1 : 10;
    return context.compute(graph, feeds);
  };
  return { model, context: testContext({ calibration, compute }) };
};

const layers: Readonly<Record<string, Effect>> = {
  widths: [null, [2, 8]],
  first: [null, 8],
  last: [null, 2],
  most_bits: [8, 3],
  'limits.*.min': [2, 4],
  'limits.*.max': [8, 5],
  together: [[], ['/conv|fc/']],
  rounding: ['nearest', 'descent'],
  samples: [8, 16],
};
const cost = (target_sqnr: number): Effect => [
  'parameters',
  'macs',
  { with: { budget: undefined, target_sqnr, scales: 'coded' } },
];
const whole: Readonly<Record<string, Effect>> = {
  ...layers,
  'budget.weights': [3, 6, { with: { budget: {} } }],
  'budget.bytes': [7200, 7500, { with: { budget: {} } }],
  'budget.bit_operations': ['40%', '80%', { with: { budget: {} } }],
  target_sqnr: [10, 30, { with: { budget: undefined } }],
  quantizer: ['PostTrainLinearQuantizer', 'WeightOnlyQuantizer'],
  formats: [['int4'], ['int3', 'nf4'], { with: { quantizer: 'FormatQuantizer', budget: undefined, target_sqnr: 12 } }],
  scales: ['mse', 'minmax'],
};

describe('every option of allocators changes what they make', () => {
  everyOption(/^allocate\//, {
    'allocate/sqnr': {
      base: { budget: { weights: 4 } },
      on: net,
      options: {
        ...whole,
        cost: cost(20),
        samples: [8, 16, { says: true }],
        gains: ['measured', 'equal'],
        kappa: [20, 1, { with: { budget: undefined, target_sqnr: 30, scales: 'coded' } }],
        probe_bits: [4, 2],
      },
    },
    'allocate/sensitivity': {
      base: { budget: { weights: 4 } },
      on: net,
      options: { ...whole, cost: cost(30), damage: ['output', 'harm'] },
    },
    'allocate/latency': {
      base: { budget: { weights: 4 }, latency: 2, float: false },
      on: timed,
      options: {
        ...layers,
        'budget.weights': [3, 6],
        latency: [undefined, 2, { with: { float: true, budget: undefined } }],
        float: [true, false, { with: { budget: undefined } }],
        seconds: 'allocate.md: changes how steady the measured times are',
        damage: 'allocate.md: `damage` is always `output`',
        scales: ['mse', 'minmax'],
      },
    },
    'allocate/repair': {
      base: {},
      on: planned,
      options: { ...layers, metric: ['output', 'harm'], seconds: [1e-3, 1e6], scales: ['mse', 'minmax'] },
    },
  });
});
