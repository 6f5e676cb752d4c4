import { bitsFor, exactSums, lookAtSums, noSums } from '../../../src/analyze/integer/accumulators.ts';
import { openMachine } from '../../../src/analyze/integer/execute.ts';
import type { Codes, ProductStep, Sums } from '../../../src/analyze/integer/steps.ts';
import { makeNode } from '../../../src/graph/build.ts';
import { openComputer } from '../../../src/runtime/compute.ts';
import { network } from './network.ts';

const computer = openComputer(500);
afterAll(() => computer.close());

it('sees sums that leave int32 as they are', async () => {
  const graph: Pick<ProductStep, 'node' | 'as'> = { node: makeNode('MatMul', ['x', 'w'], ['y']), as: 'MatMul' };
  const step = {
    ...graph,
    weights: { dims: [4, 1], data: Int32Array.of(30000, 30000, 30000, 30000), raw: { type: 'int16', zeroPoint: [0] } },
    ...{ bias: Int32Array.of(-7), worst: 4 * 30000 * 65535 + 7, scales: [1] },
    data: { value: 'x', stored: undefined, code: { type: 'uint16', scale: 1, zeroPoint: 5 } },
  } as unknown as ProductStep;
  const data: Codes = { type: 'uint16', dims: [1, 4], data: Uint16Array.of(60005, 50005, 5, 65535) };
  const machine = await openMachine(network(), computer);
  const exact = 30000 * (60000 + 50000 + 65530) - 7;
  const wrapped: Sums = { dims: [1, 1], data: Int32Array.of(exact | 0) };
  const sums = await exactSums(step, wrapped, data, machine);
  expect(Array.from(sums)).toEqual([exact]);
  const facts = noSums();
  lookAtSums(facts, sums, undefined);
  expect([bitsFor(0, facts.high), facts.outside]).toEqual([34, 1]);
});
